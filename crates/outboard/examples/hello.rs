//! The smallest program: a function runs in another process.

use outboard::{Client, Error};

#[outboard::task]
fn fib(n: u64) -> u64 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

#[outboard::main]
async fn main() -> Result<(), Error> {
    let client = Client::from_env().await?;
    println!("{client}");
    let (a, b) = (client.submit(fib, 30), client.submit(fib, 31));
    println!("fib(30) = {}, fib(31) = {}", a.await?, b.await?);
    let (value, report) = client.submit(|x: u64| x + 1, 10).with_report().await?;
    println!("10 + 1 = {value}, on worker {} after {:?}", report.worker, report.queue_time);
    client.shutdown().await;
    Ok(())
}
