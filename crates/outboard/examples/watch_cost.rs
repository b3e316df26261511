//! What watching costs: CPU time of the server for each task, without a watch
//! and with one, in turns so that both meet the same noise.

use std::time::Duration;

use outboard::Client;

#[outboard::task]
fn nothing(n: u64) -> u64 {
    n
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    outboard::init();
    measure()
}

#[tokio::main]
async fn measure() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let url = args.next().unwrap_or_else(|| "local://?workers=1".to_owned());
    let rounds = args.next().map_or(Ok(21), |rounds| rounds.parse())?;
    let client = Client::connect(&url).await?;
    let mut times = [Vec::new(), Vec::new()];
    round(&client).await?;
    for _ in 0..rounds {
        times[0].push(round(&client).await?);
        let mut watch = client.watch();
        let watching = tokio::spawn(async move { while watch.next().await.is_some() {} });
        times[1].push(round(&client).await?);
        watching.abort();
        let _ = watching.await;
    }
    let [plain, watched] = times.map(|mut times| {
        times.sort_unstable();
        times[times.len() / 2]
    });
    let ratio = watched.as_secs_f64() / plain.as_secs_f64();
    println!("{plain:?} for a task, {watched:?} with a watch: {:+.1} %", (ratio - 1.0) * 100.0);
    Ok(())
}

/// The CPU time of this process for one of many tasks.
async fn round(client: &Client) -> Result<Duration, outboard::Error> {
    const TASKS: u32 = 100_000;
    let before = cpu_time();
    client.map(nothing, 0..u64::from(TASKS)).gather().await?;
    Ok((cpu_time() - before) / TASKS)
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
