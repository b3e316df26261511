//! A server by actix-web: `cargo run -p outboard-actix --example actix`.

use std::time::Duration;

use actix_web::{App, HttpResponse, web};
use outboard::Client;
use outboard_actix::Problem;

#[outboard::task]
fn fib(n: u64) -> u64 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

/// Is stopped when its browser leaves.
async fn page(client: web::Data<Client>, n: web::Path<u64>) -> Result<String, Problem> {
    Ok(client.submit(fib, n.into_inner()).await?.to_string())
}

/// Goes on when its browser leaves, for what it does is a task of its own.
async fn kept(client: web::Data<Client>, n: web::Path<u64>) -> Result<String, Problem> {
    let work = async move { client.submit(fib, n.into_inner()).await };
    let result = actix_web::rt::spawn(work).await.expect("it neither panics nor is aborted");
    Ok(result?.to_string())
}

/// Whether more requests should come, for an orchestrator.
async fn readyz(client: web::Data<Client>) -> HttpResponse {
    match client.admin().snapshot().open {
        true => HttpResponse::Ok().body("ready"),
        false => HttpResponse::ServiceUnavailable().body("it takes no tasks"),
    }
}

#[outboard::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let client = Client::from_env().await?; // OUTBOARD_URL, or worker processes on this machine
    let data = web::Data::new(client.timeout(Duration::from_secs(30)));
    let app = move || {
        App::new()
            .app_data(data.clone())
            .route("/fib/{n}", web::get().to(page))
            .route("/kept/fib/{n}", web::get().to(kept))
            .route("/readyz", web::get().to(readyz))
    };
    let port = std::env::args().nth(1).map_or(Ok(9000), |port| port.parse())?;
    let server = outboard_actix::server(app).bind(("127.0.0.1", port))?;
    println!("listening on http://{}", server.addrs()[0]);
    server.run().await?; // until SIGTERM or SIGINT, and until what runs has ended
    client.shutdown().await;
    Ok(())
}
