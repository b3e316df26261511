//! A task that panics takes its worker down.

use outboard::{Client, Error};

#[outboard::task]
fn third(numbers: Vec<u32>) -> u32 {
    *numbers.get(2).expect("the third element of two")
}

fn main() -> Result<(), Error> {
    outboard::init();
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let client = Client::local().workers(1).await?;
        let error = client.submit(third, vec![1, 2]).await.unwrap_err();
        println!("{error}");
        for line in &error.worker_loss().expect("a lost worker").stderr {
            println!("stderr: {line}");
        }
        println!("goes on: {}", client.submit(third, vec![1, 2, 3]).await?);
        client.shutdown().await;
        Ok(())
    })
}
