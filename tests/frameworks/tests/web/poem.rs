/// The example, whose listener and errors are what is tested.
#[path = "../../examples/poem.rs"]
mod example;

use std::path::PathBuf;

use ::poem::web::Data;
use ::poem::{Body, EndpointExt, Route, Server as PoemServer, handler};
use outboard::Client;
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio_stream::StreamExt;

use crate::conformance::{Server, Setup, crash, hold, two};
use example::{Watching, problem};

#[handler]
async fn held(client: Data<&Client>, at: Data<&PathBuf>) -> ::poem::Result<String> {
    Ok(client.submit(hold, at.clone()).await.map_err(problem)?.to_string())
}

#[handler]
async fn crashes(client: Data<&Client>) -> ::poem::Result<()> {
    client.submit(crash, ()).await.map_err(problem)
}

#[handler]
fn stream(client: Data<&Client>, at: Data<&PathBuf>) -> Body {
    let items = client.stream(two, at.clone());
    Body::from_bytes_stream(items.map(|item| item.map_err(std::io::Error::other)))
}

#[handler]
fn quick() -> &'static str {
    "quick"
}

async fn start(setup: Setup) -> Server {
    assert!(!setup.half_close, "it has no such setting");
    let routes = Route::new().at("/held", held).at("/crash", crashes).at("/quick", quick);
    let routes = routes.at("/stream", stream);
    let app = routes.data(setup.client.clone()).data(setup.at);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (stop, stopped) = oneshot::channel::<()>();
    let server = PoemServer::new_with_acceptor(Watching(listener));
    let ended = tokio::spawn(async move {
        let stopped = async {
            // A test that has failed, or is done, stops no server.
            if stopped.await.is_err() {
                std::future::pending().await
            }
        };
        server.run_with_graceful_shutdown(app, stopped, None).await.unwrap();
        setup.client.shutdown().await;
    });
    Server { address, stop, ended }
}

// poem has no setting for half-closed connections.
crate::conformance::conformance!(start, half_close: [false]);
