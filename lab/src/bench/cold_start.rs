//! The first result after `Client::local()`, in a fresh process each time.

use std::os::unix::net::UnixStream;
use std::time::Instant;

use anyhow::ensure;
use outboard::Client;
use tokio::runtime::Runtime;

use super::peer::{MESSAGE_BYTES, Peer, Role, end_with_parent, say, wait_for_the_end};
use super::plan::Plan;
use super::row::{Row, Unit};
use super::slices::{Subject, take_turns};

/// What the contract allows, in seconds.
const LIMIT: f64 = 0.005;

pub(super) fn measure(plan: Plan) -> anyhow::Result<Vec<Row>> {
    let [ours, bare] = take_turns(
        plan.time(),
        [
            Subject::single(|| Peer::start(Role::FirstResult, 0)?.hear()),
            Subject::single(bare_start),
        ],
    )?
    .map(|one| one.column(0));
    let name = "first result after Client::local()";
    let row = Row::within(name, Unit::Seconds, ours, LIMIT);
    Ok(vec![row.beside("first echo of a bare process", bare)])
}

/// A program that has just started.
pub(super) fn serve(mut socket: UnixStream) -> anyhow::Result<()> {
    end_with_parent(&socket)?;
    let runtime = Runtime::new()?;
    let start = Instant::now();
    let (client, result) = runtime.block_on(async {
        let client = Client::local().await?;
        let result = client.submit(|x: u64| x + 1, 10).await?;
        Ok::<_, outboard::Error>((client, result))
    })?;
    let seconds = start.elapsed().as_secs_f64();
    ensure!(result == 11, "x + 1 of 10 gave {result}");
    runtime.block_on(client.shutdown());
    say(&mut socket, &seconds)?;
    wait_for_the_end(socket);
    Ok(())
}

/// A second process from its start to its first answer.
fn bare_start() -> anyhow::Result<f64> {
    let start = Instant::now();
    let mut peer = Peer::start(Role::Echo, MESSAGE_BYTES as u64)?;
    peer.exchange(&[7; MESSAGE_BYTES], &mut [0; MESSAGE_BYTES])?;
    Ok(start.elapsed().as_secs_f64())
}
