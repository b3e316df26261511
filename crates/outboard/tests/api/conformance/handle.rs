//! The future as a handle: status, detach, report, blocking wait.

use std::panic::AssertUnwindSafe;
use std::time::{Duration, Instant};

use outboard::Status;

use super::{Engine, Promise, named, on_every_engine};
use crate::support::scratch::Scratch;
use crate::support::tasks::{fail, hold, next, same, write};
use crate::support::{eventually, runtime};

on_every_engine! {
    a_finished_future_waits_for_its_owner,
    awaiting_by_reference_loses_nothing,
    a_future_that_gave_its_result_cannot_be_polled,
    wait_blocks_a_plain_thread,
    futures_travel_between_threads,
    a_report_says_how_it_went,
    a_report_measures_tasks_that_run_for_a_while,
    wait_inside_a_runtime_panics_and_cancels,
    status_goes_from_queued_to_running_to_finished,
    a_detached_task_goes_on,
}

async fn status_goes_from_queued_to_running_to_finished(engine: Engine) {
    let client = engine.client("workers=1&window=1").await;
    let (first, second) = (Scratch::new(), Scratch::new());
    let running = client.submit(hold, first.path());
    let queued = client.submit(hold, second.path());
    first.started(1).await;
    assert_eq!((running.status(), queued.status()), (Status::Running, Status::Queued));
    assert!(!running.is_finished() && !queued.is_finished());
    assert!(format!("{queued:?}").contains("Queued"), "{queued:?}");
    first.release();
    second.started(1).await;
    assert_eq!((running.status(), queued.status()), (Status::Finished, Status::Running));
    second.release();
    eventually("the second ends", || queued.is_finished()).await;
    assert_eq!(queued.status(), Status::Finished);
    running.await.unwrap();
    queued.await.unwrap();
}

async fn a_finished_future_waits_for_its_owner(engine: Engine) {
    let client = engine.client("workers=1").await;
    let future = client.submit(same, 1);
    eventually("it ends", || future.is_finished()).await;
    client.shutdown().await;
    assert_eq!(future.await.unwrap(), 1);
}

async fn a_detached_task_goes_on(engine: Engine) {
    let client = engine.client("workers=1&window=1").await;
    let (first, second) = (Scratch::new(), Scratch::new());
    let running = client.submit(hold, first.path());
    first.started(1).await;
    client.submit(write, (second.path(), "queued".into())).detach();
    running.detach();
    assert_eq!(client.admin().snapshot().running, 1);
    first.release();
    eventually("the queued one is done", || second.notes("lines") == ["queued"]).await;
    client.drain().await;
    let snapshot = client.admin().snapshot();
    assert_eq!((snapshot.done, snapshot.cancelled), (2, 0));
}

async fn awaiting_by_reference_loses_nothing(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let mut future = client.submit(hold, scratch.path());
    scratch.started(1).await;
    for _ in 0..3 {
        let early = tokio::time::timeout(Duration::from_millis(2), &mut future).await;
        assert!(early.is_err(), "it is held");
    }
    scratch.release();
    (&mut future).await.unwrap();
    assert_eq!(scratch.starts(), 1);
}

async fn a_future_that_gave_its_result_cannot_be_polled(engine: Engine) {
    let client = engine.client("workers=1").await;
    let mut future = client.submit(same, 1);
    (&mut future).await.unwrap();
    let again = tokio::spawn(async move { (&mut future).await.map(drop) });
    let panic = again.await.unwrap_err().into_panic();
    let text = panic.downcast_ref::<&str>().unwrap();
    assert!(text.contains("polled after it gave its result"), "{text}");
}

async fn wait_blocks_a_plain_thread(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let (held, error) =
        (client.submit(hold, scratch.path()), client.submit(fail, "not this time".into()));
    let thread = std::thread::spawn(move || {
        let value = held.wait();
        (value, error.wait())
    });
    scratch.started(1).await;
    assert!(!thread.is_finished());
    scratch.release();
    let (value, error) = tokio::task::spawn_blocking(|| thread.join()).await.unwrap().unwrap();
    assert!(value.is_ok());
    assert_eq!(error.unwrap_err().panic().unwrap().message, "not this time");
}

async fn wait_inside_a_runtime_panics_and_cancels(engine: Engine) {
    let client = engine.client("workers=1&window=1").await;
    let (running, scratch) = (Scratch::new(), Scratch::new());
    let held = client.submit(hold, running.path());
    running.started(1).await;
    let queued = client.submit(write, (scratch.path(), "never".into()));
    let waiting = AssertUnwindSafe(|| queued.wait());
    let panic = std::panic::catch_unwind(waiting).unwrap_err();
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or(panic.downcast_ref::<&str>().copied()).unwrap();
    assert!(text.contains("block") && text.contains("runtime"), "{text}");
    running.release();
    held.await.unwrap();
    client.drain().await;
    assert!(scratch.notes("lines").is_empty());
}

async fn a_report_says_how_it_went(engine: Engine) {
    let client = engine.client("workers=1").await;
    let running = Scratch::new();
    let held = client.submit(hold, running.path());
    running.started(1).await;
    let held_since = Instant::now();
    let nap = named!("contract.35", |ms: u64| -> () {
        std::thread::sleep(Duration::from_millis(ms));
    });
    let submitted = Instant::now();
    let future = client.submit(nap, 20);
    tokio::time::sleep(Duration::from_millis(30)).await;
    running.release();
    let ((), report) = future.with_report().await.unwrap();
    let all = submitted.elapsed();
    assert_eq!(report.attempt, 1);
    assert!(report.worker >= 1, "workers are numbered from 1");
    assert!(report.queue_time >= Duration::from_millis(30), "{report:?}");
    assert!(report.run_time >= Duration::from_millis(20), "{report:?}");
    assert!(report.queue_time + report.run_time <= all, "{report:?} in {all:?}");
    let (_, report) = held.with_report().await.unwrap();
    assert!(report.run_time >= Duration::from_millis(30), "{report:?}");
    assert!(report.run_time <= held_since.elapsed() + report.run_time);
    let error = client.submit(fail, "no report".into()).with_report().await.unwrap_err();
    assert!(error.is_panicked(), "{error}");
}

#[outboard::task]
fn burn(cpu_ms: u64) -> usize {
    let (start, memory) = (Instant::now(), vec![1_u8; 32 << 20]);
    let mut sum = 0;
    while start.elapsed() < Duration::from_millis(cpu_ms) {
        sum += memory.iter().map(|byte| usize::from(*byte)).sum::<usize>();
    }
    sum
}

async fn a_report_measures_tasks_that_run_for_a_while(engine: Engine) {
    let client = engine.client("workers=1").await;
    let (_, burnt) = client.submit(burn, 100).with_report().await.unwrap();
    let nap = named!("contract.36", || -> () {
        std::thread::sleep(Duration::from_millis(100));
    });
    let ((), slept) = client.submit(nap, ()).with_report().await.unwrap();
    if engine.promises(Promise::Measures) {
        let (busy, idle) = (burnt.cpu_time.unwrap(), slept.cpu_time.unwrap());
        assert!(busy > Duration::ZERO && busy > 2 * idle, "{burnt:?} {slept:?}");
        assert!(idle < slept.run_time, "{slept:?}");
        // POSIX alone does not tell it.
        let told = |bytes: Option<u64>| bytes.map_or(cfg!(outboard_portable), |bytes| bytes > 0);
        assert!(told(burnt.memory_bytes) && told(slept.memory_bytes), "{burnt:?} {slept:?}");
    } else {
        assert_eq!((burnt.cpu_time, burnt.memory_bytes), (None, None));
    }
}

async fn futures_travel_between_threads(engine: Engine) {
    let client = engine.client("workers=1").await;
    let future = client.submit(next, 1);
    let value = std::thread::spawn(|| runtime().block_on(future)).join().unwrap();
    assert_eq!(value.unwrap(), 2);
    let submit = client.clone();
    let blocking = std::thread::spawn(move || submit.submit(next, 2).wait());
    let value = tokio::task::spawn_blocking(|| blocking.join()).await.unwrap().unwrap();
    assert_eq!(value.unwrap(), 3);
}
