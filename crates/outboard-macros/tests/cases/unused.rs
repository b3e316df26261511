//! What is not used is said, in the body of `#[main]` too.

#![deny(unused)]

use std::time::Duration;

use outboard::{Client, Error};

#[outboard::main]
async fn main() -> Result<(), Error> {
    let unused = 1;
    let client = Client::from_env().await?;
    client.tenant("a");
    client.weight(2);
    client.priority(1);
    client.timeout(Duration::from_secs(1));
    client.retries(1);
    client.grace(Duration::from_secs(1));
    client.key("b");
    Client::local().workers(2);
    return Ok(());
    println!("never");
}
