//! `outboard serve`: the demo servers, until a signal ends them.

mod after;
mod before;
mod pages;
mod server;
mod site;
mod threads;

use std::io::{self, Write};

use anyhow::anyhow;

use crate::args::ServeArgs;
use crate::failure::Failure;
use crate::limits;
use crate::signals::Signals;

pub(crate) use after::TENANT_HEADER;
pub(crate) use pages::FAST;
pub(crate) use server::Server;
pub(crate) use site::{Ports, Site, start_after};

/// Serves until SIGTERM or Ctrl-C, then finishes what runs.
pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    limits::raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    let ports =
        Ports { before: args.before_port, threads: args.threads_port, after: args.after_port };
    let site = Site::start(&ports, &args.engine, args.timeout)?;
    announce(&site)?;
    runtime.block_on(end(site, signals))
}

/// Ends the servers in order when a signal comes; at a second one, at once.
async fn end(site: Site, mut signals: Signals) -> Result<(), Failure> {
    signals.next().await;
    eprintln!("outboard: finishing what runs; another signal ends it at once");
    let [mut before, mut threads, mut after] = site.stop();
    let all = async { tokio::join!(before.ended(), threads.ended(), after.ended()) };
    tokio::select! {
        (before, threads, after) = all => {
            for cut in [before, threads, after].into_iter().flatten() {
                eprintln!("outboard: {cut}");
            }
            return Ok(());
        }
        () = signals.next() => {}
    }
    // What the two others compute, nothing can stop but the end of this process.
    after.cut();
    if let Some(cut) = after.ended().await {
        eprintln!("outboard: {cut}");
    }
    Err(anyhow!("ended at once by a second signal").into())
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
