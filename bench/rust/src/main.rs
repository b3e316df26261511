//! Asks one Rust peer for one part, and prints one JSON object, as `bench/peers` does for Python.

mod cpu;
mod crash;
mod peer;
mod peers;
mod speed;
mod stop;
mod tasks;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::anyhow;
use clap::{Parser, ValueEnum};
use peer::{Outcome, Peer};
use peers::outboard::Outboard;
use peers::outboard_python::OutboardPython;
use peers::procspawn::Procspawn;
use peers::spawn_blocking::SpawnBlocking;
use serde_json::{Value, json};

#[derive(Clone, Parser)]
struct Sizes {
    #[arg(value_enum)]
    peer: Name,
    #[arg(value_enum)]
    part: Part,
    #[arg(long)]
    workers: usize,
    /// How long each of the measurements lasts.
    #[arg(long)]
    seconds: f64,
    /// How many tasks are submitted at once.
    #[arg(long)]
    batch: u64,
    /// How much CPU time each of 20 tasks takes.
    #[arg(long)]
    burn_seconds: f64,
    /// How long a task runs that nobody stops.
    #[arg(long)]
    task_seconds: f64,
    /// The interpreter of workers that are Python; their modules are in the working directory.
    #[arg(long, default_value = "python3")]
    python: PathBuf,
    /// A directory for what tasks note.
    #[arg(long)]
    scratch: PathBuf,
}

#[derive(Clone, Copy, ValueEnum)]
#[value(rename_all = "snake_case")]
enum Name {
    Outboard,
    OutboardPython,
    Procspawn,
    SpawnBlocking,
}

#[derive(Clone, Copy, ValueEnum)]
enum Part {
    Speed,
    Crash,
    Stop,
}

impl Sizes {
    fn length(&self) -> Duration {
        Duration::from_secs_f64(self.seconds)
    }
}

fn main() -> anyhow::Result<()> {
    // Both kinds of workers are this program, started again, and go no further.
    outboard::init();
    procspawn::init();
    let sizes = Sizes::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    // A spawned task, as a web server's handlers are.
    let asked = runtime.spawn(ask(sizes.clone()));
    let mut answer = runtime.block_on(asked)?.map_err(|error| anyhow!(error))?;
    answer["peer"] = json!(sizes.peer.to_possible_value().map(|name| name.get_name().to_owned()));
    answer["part"] = json!(sizes.part.to_possible_value().map(|name| name.get_name().to_owned()));
    println!("{answer}");
    // Threads that nobody could stop may still run.
    runtime.shutdown_background();
    Ok(())
}

async fn ask(sizes: Sizes) -> Outcome<Value> {
    match sizes.peer {
        Name::Outboard => ask_peer::<Outboard>(sizes).await,
        Name::OutboardPython => ask_peer::<OutboardPython>(sizes).await,
        Name::Procspawn => ask_peer::<Procspawn>(sizes).await,
        Name::SpawnBlocking => ask_peer::<SpawnBlocking>(sizes).await,
    }
}

async fn ask_peer<P: Peer>(sizes: Sizes) -> Outcome<Value> {
    match sizes.part {
        Part::Speed => speed::speed::<P>(sizes).await,
        Part::Crash => crash::crash::<P>(sizes).await,
        Part::Stop => stop::stop::<P>(sizes).await,
    }
}
