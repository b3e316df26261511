//! A model that is loaded once in each worker, before the first request needs it.

use std::sync::OnceLock;

use outboard::{Client, Error};

/// What a real one would read from a file: the weights of y = 2x + 1.
static MODEL: OnceLock<Vec<f64>> = OnceLock::new();

#[outboard::on_start]
fn load() -> Result<(), std::num::ParseFloatError> {
    let text = std::env::var("MODEL").unwrap_or_else(|_| "2.0 1.0".into());
    let weights = text.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    println!("loaded");
    MODEL.get_or_init(|| weights);
    Ok(())
}

#[outboard::task]
fn predict(x: f64) -> f64 {
    let weights = MODEL.get().expect("`load` runs before the first task");
    weights.iter().fold(0.0, |sum, weight| sum * x + weight)
}

/// The same for several callers at once: what waits while the worker is busy is one call.
#[outboard::task(batch(max = 16))]
fn predict_all(xs: Vec<f64>) -> Vec<f64> {
    xs.into_iter().map(predict).collect()
}

#[outboard::main]
async fn main() -> Result<(), Error> {
    // One that is killed has a successor that has loaded its model already.
    let client = Client::local().workers(1).spares(1).memory_limit(512 << 20).await?;
    for x in [0.0, 1.0, 20.5] {
        println!("f({x}) = {}", client.submit(predict, x).await?);
    }
    let in_batches = [1.0, 2.0, 3.0].map(|x| client.batched(predict_all, x));
    println!("in batches: {:?}", outboard::gather(in_batches).await?);
    client.shutdown().await;
    Ok(())
}
