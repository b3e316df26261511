//! A pointer to a function and a closure with captures are refused where they are submitted.

use outboard::{Client, Error};

fn double(n: u64) -> u64 {
    2 * n
}

#[outboard::main]
async fn main() -> Result<(), Error> {
    let client = Client::from_env().await?;
    let pointer: fn(u64) -> u64 = double;
    client.submit(pointer, 1).await?;
    let factor = client.submit(double, 1).await?;
    client.submit(move |n: u64| factor * n, 1).await?;
    client.map(move |n: u64| factor * n, 0..4).gather().await?;
    Ok(())
}
