//! What holds with every framework, of actix-web.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

/// What holds with every framework.
#[path = "../../../outboard-web/tests/frameworks/conformance.rs"]
mod conformance;

use std::path::PathBuf;

use actix_web::rt::net::TcpStream;
use actix_web::{App, web};
use outboard::Client;
use outboard_actix::Problem;
use tokio::sync::oneshot;

use conformance::{Server, Setup, crash, hold};

outboard::test_worker!();

async fn held(client: web::Data<Client>, at: web::Data<PathBuf>) -> Result<String, Problem> {
    Ok(client.submit(hold, at.get_ref().clone()).await?.to_string())
}

async fn crashes(client: web::Data<Client>) -> Result<&'static str, Problem> {
    client.submit(crash, ()).await?;
    Ok("")
}

async fn start(setup: Setup) -> Server {
    let data = (web::Data::new(setup.client.clone()), web::Data::new(setup.at));
    let app = move || {
        let (client, at) = data.clone();
        App::new()
            .app_data(client)
            .app_data(at)
            .route("/held", web::to(held))
            .route("/crash", web::to(crashes))
            .route("/quick", web::to(|| async { "quick" }))
    };
    let mut server = outboard_actix::server(app).workers(1).disable_signals();
    if setup.half_close {
        server = server.on_connect(|connection, extensions| {
            let stream = connection.downcast_ref::<TcpStream>().unwrap();
            outboard_actix::watch(stream, true, extensions);
        });
    }
    let server = server.bind(("127.0.0.1", 0)).unwrap();
    let address = server.addrs()[0];
    let server = server.run();
    let (stop, stopped) = oneshot::channel::<()>();
    let handle = server.handle();
    tokio::spawn(async move {
        if stopped.await.is_ok() {
            handle.stop(true).await;
        }
    });
    let ended = tokio::spawn(async move {
        server.await.unwrap();
        setup.client.shutdown().await;
    });
    Server { address, stop, ended }
}

conformance::conformance!(start);
