//! Three ways to stop a task that would run for ever: drop its future, cancel
//! it, or give it a timeout. Each time the only worker is free again.

use std::hint::black_box;
use std::time::{Duration, Instant};

use outboard::error::Stage;
use outboard::{Client, Error, Status, TaskFuture};

/// Native code that looks at no flag and reaches no await.
#[outboard::task]
fn forever() {
    while black_box(true) {}
}

#[outboard::main]
async fn main() -> Result<(), Error> {
    let client = Client::local().workers(1).await?;
    next_task(&client, "at the start").await?;

    let future = client.submit(forever, ());
    until_it_runs(&future).await;
    drop(future);
    next_task(&client, "after a drop").await?;

    let future = client.submit(forever, ());
    until_it_runs(&future).await;
    future.cancel();
    let error = future.await.expect_err("it runs for ever");
    assert!(error.is_cancelled());
    println!("{error}");
    next_task(&client, "after a cancel").await?;

    let hurried = client.timeout(Duration::from_millis(200));
    let error = hurried.submit(forever, ()).await.expect_err("it runs for ever");
    assert_eq!(error.timed_out_in(), Some(Stage::Running));
    println!("{error}");
    next_task(&client, "after a timeout").await?;

    client.shutdown().await;
    Ok(())
}

async fn until_it_runs(future: &TaskFuture<()>) {
    while future.status() != Status::Running {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// Fails unless the only worker takes another task soon.
async fn next_task(client: &Client, when: &str) -> Result<(), Error> {
    let asked = Instant::now();
    let sum = client.timeout(Duration::from_secs(10)).submit(|x: u64| x + 1, 10).await?;
    assert_eq!(sum, 11);
    println!("{when}: 10 + 1 = {sum}, in {:.1?}", asked.elapsed());
    Ok(())
}
