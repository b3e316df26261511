//! `outboard serve`: the demo servers, until a signal ends them.

mod after;
mod apart;
mod before;
mod harm;
mod pages;
mod server;
mod site;
mod threads;

use std::io::{self, Write};

use anyhow::anyhow;
use axum::middleware;
use outboard::Client;

use crate::args::ServeArgs;
use crate::failure::Failure;
use crate::limits;
use crate::live::Live;
use crate::signals::Signals;

use apart::Apart;
use site::More;

pub(crate) use after::TENANT_HEADER;
pub(crate) use apart::{Pulse, Role, run as be_apart};
pub(crate) use pages::FAST;
pub(crate) use server::Server;
pub(crate) use site::{Places, Ports, Site, start_after};

/// The memory that a worker may have, in bytes, unless a URL says otherwise.
const MEMORY_BYTES: u64 = 512 << 20;

/// What one of the live page's experiments, or a visitor, can look at.
#[derive(Debug)]
struct Demo {
    before: Apart,
    threads: Apart,
    after: Server,
    client: Client,
    live: Live,
}

/// Serves until SIGTERM or Ctrl-C, then finishes what runs.
pub(crate) fn run(args: &ServeArgs) -> Result<(), Failure> {
    limits::raise_open_files();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let signals = {
        let _inside = runtime.enter();
        Signals::new()?
    };
    let demo = Demo::start(args)?;
    announce(&demo)?;
    runtime.block_on(end(demo, signals))
}

impl Demo {
    /// Binds all ports, connects the client, then serves: `before` and `threads`
    /// in processes of their own, because they may crash.
    fn start(args: &ServeArgs) -> Result<Self, Failure> {
        let before = site::listen("before", args.before_port)?;
        let threads = site::listen("threads", args.threads_port)?;
        let after = site::listen("after", args.after_port)?;
        let address = after.local_addr()?;

        let mut others = None;
        let engine = args.engine.limited(MEMORY_BYTES);
        let (after, client) =
            site::serve_after(after, &engine, args.timeout, |client, runtime| {
                let before = Apart::start(Role::Before, before)?;
                let threads = Apart::start(Role::Threads, threads)?;
                let places = Places {
                    before: before.address(),
                    threads: threads.address(),
                    after: address,
                    client: client.clone(),
                    runtime: runtime.clone(),
                };
                let live = Live::start(places, [before.pulse(), threads.pulse()])?;
                let harmful = after::harmful().route_layer(middleware::from_fn(harm::no_browser));
                let more = More { computing: harmful, other: live.router() };
                others = Some((before, threads, live));
                Ok(more)
            })?;
        let (before, threads, live) = others.expect("they were started just before `after`");
        Ok(Self { before, threads, after, client, live })
    }
}

/// Ends the servers in order when a signal comes; at a second one, at once.
async fn end(demo: Demo, mut signals: Signals) -> Result<(), Failure> {
    signals.next().await;
    eprintln!("outboard: finishing what runs; another signal ends it at once");
    let Demo { mut before, mut threads, after, client: _, live } = demo;
    // Its streams have no end of their own.
    drop(live);
    before.stop();
    threads.stop();
    let mut after = after.stop();
    let all = async { tokio::join!(before.ended(), threads.ended(), after.ended()) };
    tokio::select! {
        ((), (), cut) = all => {
            if let Some(cut) = cut {
                eprintln!("outboard: {cut}");
            }
            return Ok(());
        }
        () = signals.next() => {}
    }
    // What the two others compute, nothing can stop but the end of their processes.
    after.cut();
    if let Some(cut) = after.ended().await {
        eprintln!("outboard: {cut}");
    }
    Err(anyhow!("ended at once by a second signal").into())
}

/// One line for each server, and one for the client, when all of them listen.
fn announce(demo: &Demo) -> io::Result<()> {
    let mut out = io::stdout().lock();
    for (name, address, does) in [
        (demo.before.name(), demo.before.address(), "computes in the handler, on its one thread"),
        (demo.threads.name(), demo.threads.address(), "computes on spawn_blocking threads"),
        (demo.after.name(), demo.after.address(), "submits the computation to the client below"),
    ] {
        writeln!(out, "{name:8} {:28} {does}", format!("http://{address}/"))?;
    }
    writeln!(out, "{}", demo.client)?;
    let (page, fast) = (demo.after.url("/"), demo.after.url("/fast"));
    writeln!(out, "see it live at {page}; or try {fast} and {}", demo.after.url("/fib/42"))?;
    out.flush()
}
