//! `lab worker`: the demo's functions, for a Dask cluster.

use std::io::Write;

use outboard::dask::{ClusterEvent, ClusterWorker};

use crate::failure::Failure;

/// The arguments of `lab worker`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The cluster's scheduler: dask://host:port, with options such as ?workers=2
    #[arg(value_name = "URL")]
    url: String,
}

/// Works until the cluster, or a signal, ends it; says when it has joined.
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
    let worker =
        ClusterWorker::new(&args.url).map_err(|error| Failure::Usage(error.to_string()))?;
    worker.on_event(say).run().map_err(|error| Failure::Failed(error.into()))
}

/// Joining is news for stdout, trouble for stderr.
fn say(event: &ClusterEvent) {
    match event {
        ClusterEvent::Joined { .. } => {
            let mut out = std::io::stdout().lock();
            // Whoever does not read it is no reason to stop.
            let _ = writeln!(out, "{event}").and_then(|()| out.flush());
        }
        event => eprintln!("lab: {event}"),
    }
}
