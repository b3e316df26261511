//! A model in Python, called from Rust: its answers, its tokens one by one, and its end when
//! nobody waits any more.

use std::time::Duration;

use outboard::{Client, Error, Python, python};
use serde::{Deserialize, Serialize};

/// What the model takes: a `dict` in Python.
#[derive(Serialize, Deserialize)]
struct Features {
    length: f64,
    width: f64,
}

#[derive(Debug, Serialize, Deserialize)]
struct Score {
    label: String,
    certainty: f64,
}

#[outboard::main]
async fn main() -> Result<(), Error> {
    let interpreter = std::env::var("PYTHON").unwrap_or_else(|_| "python3".into());
    let here = concat!(env!("CARGO_MANIFEST_DIR"), "/examples");
    let model = Python::new(interpreter).path(here).preload("python_model").workers(1);
    let client = Client::local().workers(1).python(model).await?;

    let predict = python::<(Features,), Score>("python_model:predict");
    let score = client.submit(predict, Features { length: 5.0, width: 2.0 }).await?;
    println!("{}, {:.2}", score.label, score.certainty);

    let tell = python::<(String,), u32>("python_model:tell").items::<String>();
    let mut words = client.stream(tell, "once upon a time".to_owned());
    while let Some(word) = words.next().await {
        println!("{}", word?);
    }
    println!("{} words", words.output().await?);

    // It computes for ever: after the timeout its process is killed, and another one serves.
    let endless = python::<(), ()>("python_model:endless");
    let limited = client.timeout(Duration::from_millis(200));
    if let Err(error) = limited.submit(endless, ()).await {
        println!("{error}");
    }
    if let Err(error) = client.submit(predict, Features { length: 0.0, width: 2.0 }).await {
        println!("{error}");
    }
    client.shutdown().await;
    Ok(())
}
