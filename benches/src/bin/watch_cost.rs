//! What watching costs at most, with tasks that do nothing and as many of them as
//! go through: CPU time of the server for each, without a watch and with one.

use std::time::Duration;

use benches::{cpu_time, nothing};
use outboard::Client;

#[outboard::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "local://?workers=1".to_owned());
    let rounds = args.next().map_or(Ok(41), |rounds| rounds.parse())?;
    let client = Client::connect(&url).await?;
    let mut pairs = Vec::new();
    for _ in 0..rounds {
        let plain = round(&client).await?;
        let mut watch = client.admin().watch();
        let watching = tokio::spawn(async move { while watch.next().await.is_some() {} });
        let watched = round(&client).await?;
        watching.abort();
        let _ = watching.await;
        // Between two without, so that what drifts meets both alike.
        let plain = (plain + round(&client).await?) / 2;
        pairs.push((watched.as_secs_f64() / plain.as_secs_f64(), plain, watched));
    }
    pairs.sort_unstable_by(|a, b| a.0.total_cmp(&b.0));
    let (ratio, plain, watched) = pairs[pairs.len() / 2];
    println!("{plain:?} for a task, {watched:?} with a watch: {:+.1} %", (ratio - 1.0) * 100.0);
    Ok(())
}

/// The CPU time of this process for one of many tasks, once it is warm.
async fn round(client: &Client) -> Result<Duration, outboard::Error> {
    const TASKS: u32 = 30_000;
    client.map(nothing, 0..u64::from(TASKS / 2)).gather().await?;
    let before = cpu_time();
    client.map(nothing, 0..u64::from(TASKS)).gather().await?;
    Ok((cpu_time() - before) / TASKS)
}
