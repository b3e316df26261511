//! A handler that blocks a thread of the runtime holds up no answers of workers:
//! the runtime's other threads take them.

use std::time::{Duration, Instant};

use outboard::{Status, as_completed};

use super::client;
use crate::support::scratch::Scratch;
use crate::support::tasks::hold;
use crate::support::{DEADLINE, run};

/// Blocks this thread until a condition holds.
fn block_until(what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < DEADLINE, "did not happen within {DEADLINE:?}: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn answers_are_taken_while_a_handler_blocks_its_thread() {
    run(async {
        let client = client(2).await;
        for _ in 0..20 {
            let client = client.clone();
            let handler = tokio::spawn(async move {
                // Answers stream, and the next thing that this thread does is to block.
                let tasks = (0..500).map(|x: u64| client.submit(|x: u64| x + 1, x));
                let mut tasks = as_completed(tasks.collect::<Vec<_>>());
                for _ in 0..100 {
                    tasks.next().await.unwrap().unwrap();
                }
                let scratch = Scratch::new();
                let held = [(); 2].map(|()| client.submit(hold, scratch.path()));
                let running = || held.iter().all(|one| one.status() == Status::Running);
                block_until("both workers are held", running);
                scratch.release();
            });
            handler.await.unwrap();
        }
        client.shutdown().await;
    });
}
