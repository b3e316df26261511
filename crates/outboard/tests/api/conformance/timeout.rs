//! 3: a timeout ends the task wherever it is, and frees what it held.

use std::time::Duration;

use outboard::ErrorKind;
use outboard::error::Stage;

use super::{Engine, Promise, on_every_engine};
use crate::support::eventually;
use crate::support::scratch::Scratch;
use crate::support::tasks::{hold, same, same_byte, spin, write};

const SHORT: Duration = Duration::from_millis(50);

on_every_engine! {
    a_timeout_while_running_says_so,
    a_timeout_frees_the_worker_though_nobody_polls,
    a_timeout_of_zero_is_over_at_once,
    a_timeout_longer_than_the_clock_is_none,
    timeouts_end_in_their_own_order,
    a_timeout_in_the_queue_says_so,
}

async fn a_timeout_in_the_queue_says_so(engine: Engine) {
    let client = engine.client("workers=1&window=1").await;
    let (running, scratch) = (Scratch::new(), Scratch::new());
    let first = client.submit(hold, running.path());
    running.started(1).await;
    let late = client.timeout(SHORT).submit(write, (scratch.path(), "late".into()));
    let error = late.await.unwrap_err();
    assert_eq!((error.kind(), error.timed_out_in()), (ErrorKind::TimedOut, Some(Stage::Queued)));
    assert_eq!(error.to_string(), "timed out in the queue after 50ms");
    running.release();
    first.await.unwrap();
    client.drain().await;
    assert!(scratch.notes("lines").is_empty(), "it never starts");
    assert_eq!(client.admin().snapshot().timed_out, 1);
}

async fn a_timeout_while_running_says_so(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    // Longer after each try that did not start in time.
    for timeout_ms in [100, 1_000, 10_000] {
        let timeout = Duration::from_millis(timeout_ms);
        let error = client.timeout(timeout).submit(hold, scratch.path()).await.unwrap_err();
        assert!(error.is_timed_out(), "{error}");
        if error.timed_out_in() == Some(Stage::Running) {
            assert!(scratch.starts() > 0);
            assert_eq!(
                error.to_string(),
                format!("timed out while running, {timeout:?} after submit")
            );
            return;
        }
    }
    panic!("it does not start within ten seconds");
}

async fn a_timeout_frees_the_worker_though_nobody_polls(engine: Engine) {
    let client = engine.client("workers=1").await;
    let (busy, scratch) = (Scratch::new(), Scratch::new());
    let running = client.timeout(Duration::from_secs(1)).submit(spin, busy.path());
    let next = client.submit(write, (scratch.path(), "next".into()));
    if engine.promises(Promise::StopsWhatRuns) {
        next.await.unwrap();
        assert!(running.is_finished());
        let ticks = busy.notes("ticks").len();
        client.submit(write, (scratch.path(), "and one more".into())).await.unwrap();
        assert_eq!(busy.notes("ticks").len(), ticks, "it goes on");
    } else {
        eventually("its caller is released", || running.is_finished()).await;
        let ticks = busy.notes("ticks").len();
        eventually("it goes on", || busy.notes("ticks").len() > ticks).await;
        busy.release();
        next.await.unwrap();
    }
    assert!(running.await.unwrap_err().is_timed_out());
}

async fn a_timeout_of_zero_is_over_at_once(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let error = client.timeout(Duration::ZERO).submit(hold, scratch.path()).await.unwrap_err();
    assert!(error.is_timed_out(), "{error}");
    scratch.release();
    assert_eq!(client.submit(same_byte, 1).await.unwrap(), 1);
}

async fn a_timeout_longer_than_the_clock_is_none(engine: Engine) {
    let client = engine.client("workers=1").await;
    assert_eq!(client.timeout(Duration::MAX).submit(same_byte, 1).await.unwrap(), 1);
}

async fn timeouts_end_in_their_own_order(engine: Engine) {
    let client = engine.client("workers=1").await;
    let running = Scratch::new();
    let first = client.submit(hold, running.path());
    running.started(1).await;
    let after = |ms| client.timeout(Duration::from_millis(ms)).submit(same, ms);
    let (long, short, none) = (after(60_000), after(20), client.submit(same, 0));
    assert!(short.await.unwrap_err().is_timed_out());
    assert!(!long.is_finished() && !none.is_finished());
    running.release();
    first.await.unwrap();
    assert_eq!((long.await.unwrap(), none.await.unwrap()), (60_000, 0));
}
