//! The desk that runs experiments: one at a time, in the order that they were
//! asked for, and on servers that have nothing else to do.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;

use super::Shared;
use super::board::{Run, Running, Ticket};
use super::usage::Meter;
use crate::tour::{self, Outcome};

/// How many cores servers and workers may use together, at most, before an
/// experiment: they have to be free of what visitors left there.
const QUIET_CORES: f64 = 0.2;

/// How long their use is looked at.
const WINDOW: Duration = Duration::from_millis(250);

/// How long they may take to become quiet; then it is measured as it is.
const PATIENCE: Duration = Duration::from_secs(20);

/// Runs what is in the queue, for ever.
pub(super) async fn serve(shared: Arc<Shared>) {
    loop {
        // No load is sent from here on: an experiment is running.
        let next = shared.change(|board| {
            let ticket = if board.is_loaded() { None } else { board.queue.pop_front() };
            board.running =
                ticket.map(|ticket| Running { ticket, now: "wait until all is quiet".to_owned() });
            ticket
        });
        match next {
            Some(ticket) => run(&shared, ticket).await,
            None => shared.moved.notified().await,
        }
    }
}

async fn run(shared: &Shared, ticket: Ticket) {
    settle(shared).await;
    let mut outcomes = Vec::new();
    let failure = measure(shared, ticket, &mut outcomes).await.err();
    let failure = failure.map(|error| format!("{error:#}"));
    shared.change(|board| {
        board.running = None;
        board.file(Run { ticket, outcomes, failure });
    });
}

async fn measure(
    shared: &Shared,
    ticket: Ticket,
    outcomes: &mut Vec<Outcome>,
) -> anyhow::Result<()> {
    tour::warm_up(&shared.places).await?;
    for step in tour::chosen(ticket.experiment, ticket.n, ticket.requests) {
        let now = step.to_string();
        shared.change(|board| board.running = Some(Running { ticket, now: now.clone() }));
        outcomes.extend(step.run(&shared.places).await.context(now)?);
    }
    Ok(())
}

/// Waits until servers and workers are there, and compute no more.
async fn settle(shared: &Shared) {
    let deadline = Instant::now() + PATIENCE;
    let mut meter = Meter::default();
    meter.cores(shared);
    while Instant::now() < deadline {
        tokio::time::sleep(WINDOW).await;
        let used: f64 = meter.cores(shared).iter().sum();
        let there = shared.pulses.iter().all(|pulse| pulse.pid().is_some());
        if there && used < QUIET_CORES {
            return;
        }
    }
}
