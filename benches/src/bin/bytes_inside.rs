//! Measures whether bytes inside of something travel as quickly as bytes alone:
//! `cargo run -p benches --profile dist --bin bytes_inside`.
//!
//! By turns, so that what else the machine does meets all of them.

use std::time::{Duration, Instant};

use outboard::{Bytes, Client, Error, TaskFunction};

/// How often each is asked for.
const TURNS: usize = 200;

#[outboard::task]
fn echo(image: Bytes) -> Bytes {
    image
}

#[outboard::task]
fn thumbnail(image: Bytes, width: u32) -> Result<Bytes, String> {
    if width > 0 { Ok(image) } else { Err("it has no width".into()) }
}

#[outboard::task]
fn echo_vec(image: Vec<u8>) -> Vec<u8> {
    image
}

#[outboard::task]
fn thumbnail_vec(image: Vec<u8>, width: u32) -> Result<Vec<u8>, String> {
    if width > 0 { Ok(image) } else { Err("it has no width".into()) }
}

#[outboard::main(flavor = "current_thread")]
async fn main() -> Result<(), Error> {
    let client = Client::local().workers(1).spares(0).await?;
    println!("{:>10} {:>12} {:>12} {:>12} {:>12}", "bytes", "Bytes", "inside", "Vec", "inside");
    for size in [16 << 10, 64 << 10, 1 << 20, 16 << 20] {
        let (image, turns) = (Bytes::from(vec![7; size]), TURNS.min((1 << 30) / size));
        let mut times = [(); 4].map(|()| Vec::new());
        for _ in 0..turns {
            times[0].push(timed(&client, echo, image.clone()).await?);
            times[1].push(timed(&client, thumbnail, (image.clone(), 7)).await?);
            times[2].push(timed(&client, echo_vec, image.to_vec()).await?);
            times[3].push(timed(&client, thumbnail_vec, (image.to_vec(), 7)).await?);
        }
        let [alone, inside, vec, vec_inside] = times.map(median);
        println!("{size:>10} {alone:>12.1?} {inside:>12.1?} {vec:>12.1?} {vec_inside:>12.1?}");
    }
    client.shutdown().await;
    Ok(())
}

async fn timed<F: TaskFunction<M>, M>(
    client: &Client,
    function: F,
    args: F::Args,
) -> Result<Duration, Error> {
    let start = Instant::now();
    let task = client.submit(function, args);
    // What dropping the result costs is the caller's.
    let result = task.await?;
    let took = start.elapsed();
    drop(result);
    Ok(took)
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}
