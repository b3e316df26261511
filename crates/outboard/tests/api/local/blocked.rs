//! What blocks threads of the runtime holds up no answers of workers: the runtime's
//! other threads take them, and Outboard's own copy what is large.

use std::sync::mpsc;
use std::time::{Duration, Instant};

use outboard::{Status, as_completed};

use super::client;
use crate::support::scratch::Scratch;
use crate::support::tasks::hold;
use crate::support::{DEADLINE, run, run_on};

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

#[test]
fn large_payloads_need_no_blocking_thread_of_the_runtime() {
    const BYTES: usize = 8 << 20;
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    let runtime = builder.worker_threads(2).max_blocking_threads(1).enable_all().build().unwrap();
    let (release, released) = mpsc::channel::<()>();
    let busy = runtime.spawn_blocking(move || drop(released.recv()));
    run_on(&runtime, async {
        let client = client(1).await;
        let made = client.submit(|bytes: usize| vec![7_u8; bytes], BYTES).await.unwrap();
        assert!(made == vec![7; BYTES]);
        let length = client.submit(|bytes: Vec<u8>| bytes.len(), made).await.unwrap();
        assert_eq!(length, BYTES);
        let kept = client.scatter(vec![7_u8; BYTES]).await.unwrap();
        let count = |kept: outboard::Scattered<Vec<u8>>| kept.len();
        assert_eq!(client.submit(count, kept).await.unwrap(), BYTES);
        assert!(!busy.is_finished(), "the only blocking thread is in use");
        drop(release);
        busy.await.unwrap();
        client.shutdown().await;
    });
}
