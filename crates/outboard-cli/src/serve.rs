//! `outboard serve`: the demo servers, until a signal ends them.

mod after;
mod before;
mod pages;
mod server;
mod site;
mod threads;

use std::io::{self, Write};

use anyhow::{Context, anyhow};
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::args::ServeArgs;
use crate::failure::Failure;
use crate::limits;

pub(crate) use pages::FAST;
pub(crate) use server::Server;
pub(crate) use site::{Ports, Site};

/// Serves until SIGTERM or Ctrl-C, then finishes what runs.
pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    limits::raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    let ports =
        Ports { before: args.before_port, threads: args.threads_port, after: args.after_port };
    let site = Site::start(&ports, &args.engine, args.timeout)?;
    announce(&site)?;
    runtime.block_on(async {
        signals.next().await;
        eprintln!("outboard: finishing what runs; another signal ends it at once");
        tokio::select! {
            cut = site.stop() => report_cut(&cut),
            () = signals.next() => return Err(anyhow!("ended at once by a second signal").into()),
        }
        Ok(())
    })
}

/// The signals that ask a server to end.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn new() -> anyhow::Result<Self> {
        let listen = |kind| signal(kind).context("cannot listen for signals");
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

/// One line for each server, and one for the client, when all of them listen.
fn announce(site: &Site) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (server, does) in [
        (&site.before, "computes in the handler, on its one thread"),
        (&site.threads, "computes on spawn_blocking threads"),
        (&site.after, "submits the computation to the client below"),
    ] {
        writeln!(out, "{:8} {:28} {does}", server.name(), server.url("/"))?;
    }
    writeln!(out, "{}", site.client)?;
    writeln!(out, "try {} and {}", site.after.url("/fast"), site.after.url("/fib/42"))?;
    out.flush()
}

fn report_cut(cut: &[&'static str]) {
    if !cut.is_empty() {
        let seconds = server::GRACE.as_secs();
        eprintln!("outboard: {} still ran after {seconds} s and was cut off", cut.join(" and "));
    }
}
