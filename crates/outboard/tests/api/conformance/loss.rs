//! 4: a lost worker fails only what it was running; what only waited moves on.
//! 5: crashes are never retried unless asked, and attempts are numbered.

use std::time::{Duration, Instant};

use outboard::{ErrorKind, gather};

use super::{Engine, Promise, on_every_engine};
use crate::support::scratch::Scratch;
use crate::support::tasks::{aborts_before, hold, next, panics_before, pid};

on_every_engine! {
    a_lost_worker_fails_only_its_own_task,
    a_lost_worker_is_retried_only_if_asked,
    a_panic_is_retried_only_if_asked,
    retries_run_out_in_the_last_error,
    a_timeout_is_never_retried,
    a_timeout_spans_all_attempts,
    cancel_ends_all_retries,
    a_retry_comes_after_a_rest,
    a_task_that_rests_holds_no_worker,
    a_rest_that_outlasts_the_timeout_is_not_begun,
}

/// What an engine without processes does at a crash: all of it ends.
async fn a_crash_takes_all_along(engine: Engine) {
    #[cfg(target_os = "linux")]
    {
        use crate::support::server::{Server, binary};
        use std::os::unix::process::ExitStatusExt;

        let mut command = binary();
        command.env("OUTBOARD_URL", format!("{}://", engine.name));
        let mut server = Server::start_as("abort_in_a_task", command);
        assert_eq!(server.ends().await.signal(), Some(6), "{server}");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = engine;
}

async fn a_lost_worker_fails_only_its_own_task(engine: Engine) {
    if !engine.promises(Promise::SurvivesCrashes) {
        return a_crash_takes_all_along(engine).await;
    }
    let client = engine.client("workers=2").await;
    let (sibling, crash, last) = (Scratch::new(), Scratch::new(), Scratch::new());
    let held = client.submit(hold, sibling.path());
    sibling.started(1).await;
    let queued = |n: u64| client.submit(next, n);
    let lost = client.submit(aborts_before, (crash.path(), usize::MAX));
    let waiting: Vec<_> = (0..100).map(queued).collect();
    assert_eq!(lost.await.unwrap_err().kind(), ErrorKind::WorkerLost);
    for (n, future) in (0..).zip(waiting) {
        let (value, report) = future.with_report().await.unwrap();
        assert_eq!((value, report.attempt), (n + 1, 1));
    }
    sibling.release();
    let (_, report) = held.with_report().await.unwrap();
    assert_eq!((report.attempt, sibling.starts(), crash.starts()), (1, 1, 1));
    last.release();
    let both = gather([(); 2].map(|()| client.submit(hold, last.path()))).await.unwrap();
    assert_eq!(both.len(), 2, "the lost worker was replaced");
    assert_eq!(client.admin().snapshot().failed, 1);
}

async fn a_lost_worker_is_retried_only_if_asked(engine: Engine) {
    if !engine.promises(Promise::SurvivesCrashes) {
        return a_crash_takes_all_along(engine).await;
    }
    let client = engine.client("workers=1").await;
    let (unasked, asked) = (Scratch::new(), Scratch::new());
    let error = client.submit(aborts_before, (unasked.path(), 2)).await.unwrap_err();
    assert!(error.is_worker_lost(), "{error}");
    let future = client.retries(3).submit(aborts_before, (asked.path(), 2));
    let (starts, report) = future.with_report().await.unwrap();
    assert_eq!((starts, report.attempt), (3, 3));
    assert_eq!((unasked.starts(), asked.starts()), (1, 3));
}

async fn a_panic_is_retried_only_if_asked(engine: Engine) {
    let client = engine.client("workers=1").await;
    let (unasked, asked) = (Scratch::new(), Scratch::new());
    let error = client.submit(panics_before, (unasked.path(), 2)).await.unwrap_err();
    assert!(error.is_panicked(), "{error}");
    let future = client.retries(3).submit(panics_before, (asked.path(), 2));
    let (starts, report) = future.with_report().await.unwrap();
    assert_eq!((starts, report.attempt), (3, 3));
    assert_eq!((unasked.starts(), asked.starts()), (1, 3));
}

async fn retries_run_out_in_the_last_error(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let endless = client.retries(2).submit(panics_before, (scratch.path(), 100));
    let error = endless.await.unwrap_err();
    assert_eq!(error.panic().unwrap().message, "start 3 of 100 that panic");
    assert_eq!(scratch.starts(), 3);
    assert_eq!(client.admin().snapshot().failed, 1, "one task, however many attempts");
}

async fn a_timeout_is_never_retried(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let patient = client.retries(5).timeout(Duration::from_secs(1));
    let held = patient.submit(hold, scratch.path());
    scratch.started(1).await;
    assert!(held.await.unwrap_err().is_timed_out());
    scratch.release();
    client.submit(pid, ()).await.unwrap();
    client.drain().await;
    assert_eq!(scratch.starts(), 1);
}

async fn a_timeout_spans_all_attempts(engine: Engine) {
    let client = engine.client("workers=1").await;
    // Longer where an attempt takes long; without end, if each had its own.
    for timeout_ms in [300, 3_000, 30_000] {
        let scratch = Scratch::new();
        let patient = client.retries(u32::MAX).timeout(Duration::from_millis(timeout_ms));
        let error = patient.submit(panics_before, (scratch.path(), usize::MAX)).await.unwrap_err();
        assert!(error.is_timed_out(), "{error}");
        if scratch.starts() > 1 {
            return;
        }
    }
    panic!("it is not tried again");
}

async fn cancel_ends_all_retries(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let endless = client.retries(u32::MAX).submit(panics_before, (scratch.path(), usize::MAX));
    scratch.started(3).await;
    endless.cancel();
    assert!(endless.await.unwrap_err().is_cancelled());
    client.drain().await;
    let starts = scratch.starts();
    client.shutdown().await;
    // One attempt may have been at its start, where nothing can stop it.
    let last = usize::from(!engine.promises(Promise::StopsWhatRuns));
    assert!(scratch.starts() <= starts + last);
}

async fn a_retry_comes_after_a_rest(engine: Engine) {
    let client = engine.client("workers=1").await;
    let (scratch, least) = (Scratch::new(), Duration::from_millis(50));
    let begun = Instant::now();
    let patient = client.retries(2).backoff(least..4 * least);
    let (starts, report) =
        patient.submit(panics_before, (scratch.path(), 2)).with_report().await.unwrap();
    assert_eq!((starts, report.attempt), (3, 3));
    assert!(begun.elapsed() >= 2 * least, "two rests took {:?}", begun.elapsed());
}

async fn a_task_that_rests_holds_no_worker(engine: Engine) {
    let client = engine.client("workers=1").await;
    let (scratch, hour) = (Scratch::new(), Duration::from_secs(3600));
    let resting =
        client.retries(1).backoff(hour..hour).submit(panics_before, (scratch.path(), usize::MAX));
    scratch.started(1).await;
    assert_eq!(client.submit(next, 1).await.unwrap(), 2);
    let now = client.admin().snapshot();
    assert_eq!((now.queued, now.running, scratch.starts()), (1, 0, 1));
    resting.cancel();
    assert!(resting.await.unwrap_err().is_cancelled());
    assert_eq!(client.admin().snapshot().queued, 0);
}

async fn a_rest_that_outlasts_the_timeout_is_not_begun(engine: Engine) {
    let client = engine.client("workers=1").await;
    let (scratch, hour) = (Scratch::new(), Duration::from_secs(3600));
    let hurried = client.retries(1).backoff(hour..hour).timeout(hour);
    let error = hurried.submit(panics_before, (scratch.path(), 1)).await.unwrap_err();
    assert!(error.is_panicked(), "{error}");
    assert_eq!(scratch.starts(), 1);
}
