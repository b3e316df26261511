//! Its workers crash at their start for as long as a file is there.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use outboard::{Client, Error};

fn file() -> PathBuf {
    PathBuf::from(std::env::var_os("NOTES").unwrap()).join("crash")
}

fn main() -> std::process::ExitCode {
    programs::started();
    outboard::init_with(|| {
        if file().exists() {
            std::process::exit(7);
        }
    });
    programs::serve(serve())
}

async fn serve() -> Result<(), Error> {
    let client = Client::local().workers(1).spares(0).await?;
    std::fs::write(file(), "").unwrap();
    let lost = client.submit(|| -> u8 { std::process::abort() }, ()).await.unwrap_err();
    println!("{lost}");
    // What waits for a worker that never comes gets the error too.
    let error = client.submit(|x: u64| x + 1, 1).await.unwrap_err();
    println!("{error}");
    std::fs::remove_file(file()).unwrap();
    let start = Instant::now();
    while client.submit(|x: u64| x + 1, 1).await.is_err() {
        assert!(start.elapsed() < Duration::from_secs(30), "it never works again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("works again");
    client.shutdown().await;
    Ok(())
}
