//! Tries `local`, and uses `inline`.

use outboard::{Client, Error};

fn main() -> Result<(), Error> {
    outboard::init();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        for url in ["local://", "inline://"] {
            let name = url.trim_end_matches("://");
            match Client::connect(url).await {
                Ok(client) => {
                    println!("{name}: {}", client.submit(|a: u64, b: u64| a + b, (1, 2)).await?);
                }
                Err(error) => println!("{name}: {error}"),
            }
        }
        Ok(())
    })
}
