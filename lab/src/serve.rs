//! `lab serve`: the demo servers, until a signal ends them.

use std::io::{self, Write};
use std::time::Duration;

use anyhow::anyhow;
use outboard::Client;

use crate::engine::EngineArgs;
use crate::failure::Failure;
use crate::live::Live;
use crate::signals::Signals;
use crate::site::{self, Apart, More, Places, Role, Server};
use crate::{figure, limits};

/// The memory that a worker may have, in bytes, unless a URL says otherwise.
const MEMORY_BYTES: u64 = 512 << 20;

/// The arguments of `lab serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Port of `before`, which computes in the handler (0 takes any free port)
    #[arg(long, value_name = "PORT", default_value_t = 8000)]
    before_port: u16,
    /// Port of `threads`, which computes on spawn_blocking threads
    #[arg(long, value_name = "PORT", default_value_t = 8001)]
    threads_port: u16,
    /// Port of `after`, which submits the computation to the engine
    #[arg(long, value_name = "PORT", default_value_t = 9000)]
    after_port: u16,
    /// How long a computation of `after` may take, queue included (30s, 500ms)
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = figure::parse_time)]
    timeout: Duration,
    #[command(flatten)]
    engine: EngineArgs,
}

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
pub(crate) fn run(args: &Args) -> Result<(), Failure> {
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
    fn start(args: &Args) -> Result<Self, Failure> {
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
                let computing = site::harmful().merge(live.computing());
                let more = More { computing, other: live.router() };
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
    eprintln!("lab: finishing what runs; a second signal ends it at once");
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
                eprintln!("lab: {cut}");
            }
            return Ok(());
        }
        () = signals.next() => {}
    }
    // What the two others compute, nothing can stop but the end of their processes.
    after.cut();
    if let Some(cut) = after.ended().await {
        eprintln!("lab: {cut}");
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
    writeln!(out, "see it live at {page}, or try {fast} and {}", demo.after.url("/fib/42"))?;
    out.flush()
}
