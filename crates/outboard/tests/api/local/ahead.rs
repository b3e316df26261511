//! Small tasks are sent to a worker ahead of time; those that have not started
//! when it dies move on unharmed, and the move is no attempt.

use std::time::{Duration, Instant};

use outboard::{Client, TaskFuture, gather};

use super::client;
use crate::support::process::Process;
use crate::support::scratch::Scratch;
use crate::support::tasks::{hold, write};
use crate::support::{DEADLINE, run};

/// A worker that runs one task and has been sent more ahead.
struct Ahead {
    scratch: Scratch,
    lines: Scratch,
    running: TaskFuture<u32>,
    sent: Vec<TaskFuture<u32>>,
}

const SENT: usize = 20;

/// How long tasks of microseconds may wait while a worker is there for them.
const PATIENCE: Duration = Duration::from_secs(5);

impl Ahead {
    /// Whether tasks are sent ahead depends on speed: tries until it happens.
    async fn of(client: &Client) -> Self {
        let start = Instant::now();
        loop {
            assert!(start.elapsed() < DEADLINE, "nothing is sent ahead");
            gather((0..500).map(|n: u64| client.submit(|x: u64| x, n))).await.unwrap();
            let (scratch, lines) = (Scratch::new(), Scratch::new());
            let line = |n: usize| client.submit(write, (lines.path(), n.to_string()));
            let running = client.submit(hold, scratch.path());
            let sent: Vec<_> = (0..SENT).map(line).collect();
            scratch.started(1).await;
            if client.admin().snapshot().running > 2 {
                return Self { scratch, lines, running, sent };
            }
            scratch.release();
            running.await.unwrap();
            gather(sent).await.unwrap();
        }
    }

    /// All that was sent ahead has run once, as its first attempt, elsewhere.
    async fn moved_on(self, lost: u32) {
        for future in self.sent {
            let (pid, report) = future.with_report().await.unwrap();
            assert_eq!(report.attempt, 1);
            assert_ne!(pid, lost);
        }
        let mut lines = self.lines.notes("lines");
        lines.sort_by_key(|line| line.parse::<usize>().unwrap());
        let expected: Vec<_> = (0..SENT).map(|n| n.to_string()).collect();
        assert_eq!(lines, expected, "each once");
        drop(self.running);
    }
}

#[test]
fn tasks_sent_ahead_move_on_when_their_worker_is_killed() {
    run(async {
        let client = client(1).await;
        let mut ahead = Ahead::of(&client).await;
        let lost = ahead.scratch.pid();
        Process::open(lost).kill();
        let error = (&mut ahead.running).await.unwrap_err();
        assert_eq!(error.worker_loss().unwrap().pid, lost);
        ahead.running = client.submit(|| 0, ());
        ahead.moved_on(lost).await;
        assert_eq!(client.admin().snapshot().failed, 1);
    });
}

#[test]
fn tasks_sent_ahead_move_on_when_the_running_one_is_dropped() {
    run(async {
        let client = client(1).await;
        let mut ahead = Ahead::of(&client).await;
        let lost = ahead.scratch.pid();
        drop(std::mem::replace(&mut ahead.running, client.submit(|| 0, ())));
        ahead.moved_on(lost).await;
    });
}

#[test]
fn a_task_sent_ahead_that_is_dropped_never_runs() {
    run(async {
        let client = client(1).await;
        let mut ahead = Ahead::of(&client).await;
        ahead.sent.truncate(SENT / 2);
        ahead.scratch.release();
        (&mut ahead.running).await.unwrap();
        gather(ahead.sent).await.unwrap();
        client.drain().await;
        assert_eq!(ahead.lines.notes("lines").len(), SENT / 2);
        assert_eq!(client.admin().snapshot().cancelled as usize, SENT - SENT / 2);
    });
}

#[test]
fn an_idle_worker_takes_over_what_was_sent_ahead_to_a_busy_one() {
    run(async {
        let client = client(2).await;
        let held = Scratch::new();
        let running = client.submit(hold, held.path());
        held.started(1).await;
        let ahead = Ahead::of(&client).await;
        let busy = ahead.scratch.pid();
        held.release();
        running.await.unwrap();
        ahead.moved_on(busy).await;
    });
}

#[test]
fn newer_tasks_do_not_starve_what_was_sent_ahead_to_a_busy_worker() {
    run(async {
        let client = client(2).await;
        let held = Scratch::new();
        let running = client.submit(hold, held.path());
        held.started(1).await;
        let ahead = Ahead::of(&client).await;
        // Keeps the other worker busy, and the queue from becoming empty.
        let newer = client.map(|n: u64| n, 0..);
        tokio::pin!(newer);
        held.release();
        running.await.unwrap();
        let start = Instant::now();
        while !ahead.sent.iter().all(TaskFuture::is_finished) {
            newer.next().await.unwrap().unwrap();
            assert!(start.elapsed() < PATIENCE, "they wait behind a task that does not end");
        }
        assert!(!ahead.running.is_finished());
    });
}
