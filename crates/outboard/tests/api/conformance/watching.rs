//! What happens can be watched, told afterwards, and steered by a task's name.

use std::time::Duration;

use outboard::admin::{Event, EventKind, Snapshot, Watch, WorkerState};
use outboard::{Client, ErrorKind, TaskId};

use super::{Engine, Promise, on_every_engine};
use crate::support::eventually;
use crate::support::scratch::Scratch;
use crate::support::tasks::{fail, hold, panics_before, pid, sleep};

on_every_engine! {
    a_tasks_life_is_told_in_order,
    what_waits_is_told_with_its_tenant_and_place,
    each_way_to_end_is_told_by_its_kind,
    a_retry_is_told_with_its_reason,
    a_refusal_is_told_with_its_error,
    sharing_and_leaving_are_told,
    a_slow_watch_is_told_how_much_it_lost,
    watches_do_not_disturb_each_other,
    a_watch_ends_with_its_engine,
    a_watch_keeps_no_engine_alive,
    without_a_watch_there_is_no_story,
    a_story_is_that_of_one_task,
    a_task_is_cancelled_by_its_name,
    a_refused_submit_has_no_name,
    a_snapshot_says_what_runs_and_what_waits,
    a_snapshot_has_times_of_each_function_and_the_last_panics,
}

/// Reads until an event is there, and gives all events up to the batch with it.
async fn until(watch: &mut Watch, is_last: impl Fn(&EventKind) -> bool) -> Vec<Event> {
    let mut events = Vec::new();
    loop {
        let batch = watch.next().await.expect("the engine lives");
        assert_eq!(batch.dropped(), 0);
        events.extend(batch.iter());
        if events.iter().any(|event| is_last(&event.kind)) {
            return events;
        }
    }
}

/// The events of one task, to its end.
async fn life(watch: &mut Watch, task: Option<TaskId>) -> Vec<EventKind> {
    let task = task.expect("it was taken");
    let ended = |kind: &EventKind| matches!(kind, EventKind::Ended { task: id, .. } if *id == task);
    let events = until(watch, ended).await.into_iter().map(|event| event.kind);
    events.filter(|kind| kind.task() == Some(task)).collect()
}

fn names(events: &[EventKind]) -> Vec<&'static str> {
    events.iter().map(EventKind::name).collect()
}

async fn a_tasks_life_is_told_in_order(engine: Engine) {
    let client = engine.client("workers=1").await;
    let mut watch = client.admin().watch();
    let future = client.submit(sleep, Duration::from_millis(20));
    let id = future.id();
    let ((), report) = future.with_report().await.unwrap();
    let events = life(&mut watch, id).await;
    assert_eq!(names(&events), ["taken", "started", "ended"]);
    let worker = report.worker;
    let started = |kind: &EventKind| matches!(kind, EventKind::Started { attempt: 1, .. });
    let same = events[1].worker() == Some(worker);
    assert!(started(&events[1]), "{events:?}");
    assert!(same || !engine.promises(Promise::KnowsProcesses), "{events:?}");
    let EventKind::Ended { error: None, run: Some(run), queue_time, function, .. } = &events[2]
    else {
        panic!("{events:?}")
    };
    assert!(function.contains("sleep"), "{function}");
    assert_eq!((run.run_time, run.worker), (report.run_time, worker));
    assert_eq!((run.cpu_time, run.memory_bytes), (report.cpu_time, report.memory_bytes));
    assert_eq!(run.cpu_time.is_some(), engine.promises(Promise::Measures));
    assert_eq!(*queue_time, report.queue_time);
}

async fn what_waits_is_told_with_its_tenant_and_place(engine: Engine) {
    let client = engine.client("workers=1&window=1").await;
    let (scratch, mut watch) = (Scratch::new(), client.admin().watch());
    let held = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let first = client.submit(pid, ());
    let second = client.tenant("ada").priority(3).submit(pid, ());
    let id = second.id();
    scratch.release();
    held.await.unwrap();
    first.await.unwrap();
    second.await.unwrap();
    let events = life(&mut watch, id).await;
    let EventKind::Taken { tenant, priority, waiting, argument_bytes, function, .. } = &events[0]
    else {
        panic!("{events:?}")
    };
    assert_eq!((tenant.as_deref(), *priority, *waiting), (Some("ada"), 3, 1));
    assert_eq!(*argument_bytes, 1, "`()` is encoded as nil");
    assert!(function.ends_with("pid"), "{function}");
}

async fn each_way_to_end_is_told_by_its_kind(engine: Engine) {
    let client = engine.client("workers=2").await;
    let (scratch, mut watch) = (Scratch::new(), client.admin().watch());
    let panicking = client.submit(fail, "no".to_owned());
    let timing_out = client.timeout(Duration::from_millis(30)).submit(hold, scratch.path());
    let (panicked, timed_out) = (panicking.id(), timing_out.id());
    panicking.await.unwrap_err();
    let events = life(&mut watch, panicked).await;
    let kind = |events: &[EventKind]| match events.last() {
        Some(EventKind::Ended { error: Some(error), run, .. }) => (error.kind(), run.is_some()),
        _ => panic!("{events:?}"),
    };
    assert_eq!(kind(&events), (ErrorKind::Panicked, true));
    timing_out.await.unwrap_err();
    let mut watch = client.admin().watch();
    let cancelling = client.submit(hold, scratch.path());
    let cancelled = cancelling.id();
    drop(cancelling);
    assert_eq!(kind(&life(&mut watch, cancelled).await), (ErrorKind::Cancelled, false));
    let story = client.admin().story(timed_out.unwrap()).expect("a watch is there");
    let events: Vec<_> = story.events.into_iter().map(|event| event.kind).collect();
    let ended = events.iter().position(|kind| kind.name() == "ended").expect("it ended");
    assert_eq!(kind(&events[..=ended]), (ErrorKind::TimedOut, false));
    scratch.release();
}

async fn a_retry_is_told_with_its_reason(engine: Engine) {
    let client = engine.client("workers=1").await;
    let (scratch, mut watch) = (Scratch::new(), client.admin().watch());
    let future = client.retries(1).submit(panics_before, (scratch.path(), 1));
    let id = future.id();
    assert_eq!(future.await.unwrap(), 2);
    let events = life(&mut watch, id).await;
    assert_eq!(names(&events), ["taken", "started", "retried", "started", "ended"]);
    let EventKind::Retried { attempt: 1, error, run: Some(_), .. } = &events[2] else {
        panic!("{events:?}")
    };
    assert!(error.is_panicked());
    assert!(matches!(events[3], EventKind::Started { attempt: 2, .. }), "{events:?}");
}

async fn a_refusal_is_told_with_its_error(engine: Engine) {
    let client = engine.client("workers=1&window=1&queue_tasks=1").await;
    let (scratch, mut watch) = (Scratch::new(), client.admin().watch());
    let held = [(); 2].map(|()| client.submit(hold, scratch.path()));
    let refused = client.tenant("ada").submit(pid, ());
    let error = refused.await.unwrap_err();
    let events = until(&mut watch, |kind| matches!(kind, EventKind::Refused { .. })).await;
    let refusal = events.into_iter().find_map(|event| match event.kind {
        EventKind::Refused { tenant, error, .. } => Some((tenant, error)),
        _ => None,
    });
    let (tenant, said) = refusal.expect("it is there");
    assert_eq!((tenant.as_deref(), said.retry_after()), (Some("ada"), error.retry_after()));
    drop(held);
    scratch.release();
}

async fn sharing_and_leaving_are_told(engine: Engine) {
    let client = engine.client("workers=1").await;
    let (scratch, mut watch) = (Scratch::new(), client.admin().watch());
    let keyed = client.key("one");
    let (first, second) = (keyed.submit(hold, scratch.path()), keyed.submit(hold, scratch.path()));
    let id = first.id();
    assert_eq!(second.id(), id, "futures that share a task name the same one");
    drop(first);
    scratch.release();
    second.await.unwrap();
    let events = life(&mut watch, id).await;
    assert_eq!(names(&events), ["taken", "started", "joined", "left", "ended"]);
}

async fn a_slow_watch_is_told_how_much_it_lost(engine: Engine) {
    let client = engine.client("workers=1&window=1&queue_tasks=0").await;
    let scratch = Scratch::new();
    let held = client.submit(hold, scratch.path());
    let mut watch = client.admin().watch();
    for _ in 0..40_000 {
        drop(client.submit(pid, ()));
    }
    let batch = watch.take();
    assert!(batch.dropped() > 0, "40,000 refusals are more than are kept");
    assert!(batch.len() > 30_000 && batch.len() < 34_000, "{}", batch.len());
    let all = batch.dropped() + batch.len() as u64;
    assert!(all >= 40_000, "{all}");
    assert_eq!((watch.take().dropped(), watch.take().len()), (0, 0), "said once");
    scratch.release();
    held.await.unwrap();
}

async fn watches_do_not_disturb_each_other(engine: Engine) {
    let client = engine.client("workers=1").await;
    let (mut first, mut second) = (client.admin().watch(), client.admin().watch());
    let ids: Vec<_> = futures(&client, 100).await;
    let mut taken = Vec::new();
    while taken.len() < 50 {
        taken.extend(tasks_taken(&first.next().await.unwrap()));
    }
    drop(first);
    let late = client.admin().watch().take();
    assert!(late.is_empty(), "a watch follows what happens from then on");
    assert_eq!(tasks_taken(&second.take()), ids);
}

async fn futures(client: &Client, count: usize) -> Vec<TaskId> {
    let futures: Vec<_> = (0..count).map(|_| client.submit(pid, ())).collect();
    let ids = futures.iter().filter_map(|future| future.id()).collect();
    outboard::gather(futures).await.unwrap();
    ids
}

fn tasks_taken(batch: &outboard::admin::Batch) -> Vec<TaskId> {
    let taken = batch.iter().filter(|event| matches!(event.kind, EventKind::Taken { .. }));
    taken.filter_map(|event| event.kind.task()).collect()
}

async fn a_watch_ends_with_its_engine(engine: Engine) {
    let client = engine.client("workers=1").await;
    let mut watch = client.admin().watch();
    client.submit(pid, ()).await.unwrap();
    client.shutdown().await;
    let mut events = 0;
    while let Some(batch) = watch.next().await {
        events += batch.len();
    }
    assert!(events >= 3, "what there was is still told: {events}");
}

async fn a_watch_keeps_no_engine_alive(engine: Engine) {
    let client = engine.client("workers=1").await;
    let mut watch = client.admin().watch();
    drop(client);
    while watch.next().await.is_some() {}
}

async fn without_a_watch_there_is_no_story(engine: Engine) {
    let client = engine.client("workers=1").await;
    let ids = futures(&client, 1).await;
    assert!(client.admin().story(ids[0]).is_none());
    let watch = client.admin().watch();
    let ids = futures(&client, 1).await;
    assert!(client.admin().story(ids[0]).is_some());
    drop(watch);
    assert!(client.admin().story(ids[0]).is_none(), "what nobody wants any more is not kept");
}

async fn a_story_is_that_of_one_task(engine: Engine) {
    let client = engine.client("workers=1").await;
    client.admin().record(1_000);
    let ids = futures(&client, 20).await;
    let story = client.admin().story(ids[7]).expect("it is kept");
    assert!(story.whole && story.task == ids[7]);
    assert!(story.events.iter().all(|event| event.kind.task() == Some(ids[7])));
    let text = story.to_string();
    assert!(text.starts_with(&format!("task {}\n", ids[7])), "{text}");
    assert!(text.contains("taken: ") && text.contains(" on worker "), "{text}");
    futures(&client, 3_000).await;
    assert!(client.admin().story(ids[7]).is_none(), "it is bounded, and was long ago");
    client.admin().record(0);
    let ids = futures(&client, 1).await;
    assert!(client.admin().story(ids[0]).is_none());
}

async fn a_task_is_cancelled_by_its_name(engine: Engine) {
    let client = engine.client("workers=1&window=1").await;
    let scratch = Scratch::new();
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let waiting = client.key("two").submit(hold, scratch.path());
    let sharing = client.key("two").submit(hold, scratch.path());
    let name = waiting.id().unwrap().to_string();
    assert!(client.admin().cancel_task(name.parse().unwrap()));
    assert!(waiting.await.unwrap_err().is_cancelled());
    assert!(sharing.await.unwrap_err().is_cancelled(), "for all who wait for it");
    let id = running.id().unwrap();
    assert!(client.admin().cancel_task(id));
    assert!(running.await.unwrap_err().is_cancelled());
    assert!(!client.admin().cancel_task(id), "it has ended");
    scratch.release();
    client.submit(pid, ()).await.unwrap();
    assert_eq!(scratch.starts(), 1, "what waited never starts");
}

async fn a_refused_submit_has_no_name(engine: Engine) {
    let client = engine.client("workers=1").await;
    client.shutdown().await;
    assert_eq!(client.submit(pid, ()).id(), None);
}

async fn a_snapshot_says_what_runs_and_what_waits(engine: Engine) {
    let client = engine.client("workers=1&window=1").await;
    let scratch = Scratch::new();
    let held = client.tenant("ada").submit(hold, scratch.path());
    scratch.started(1).await;
    let waiting: Vec<_> = (0..3).map(|_| client.priority(2).submit(pid, ())).collect();
    let other = client.tenant("bob").submit(pid, ());
    let now = client.admin().snapshot();
    if engine.promises(Promise::KnowsProcesses) {
        let worker = now.per_worker.iter().find(|worker| !worker.standby).unwrap();
        assert_eq!(worker.state, WorkerState::Busy);
        let task = worker.task.as_ref().expect("it has a task");
        assert_eq!((Some(task.task), task.attempt), (held.id(), 1));
        assert_eq!(task.tenant.as_deref(), Some("ada"));
        assert!(task.function.ends_with("hold"), "{}", task.function);
        assert!(task.since <= now.uptime && task.run_time <= now.uptime);
        let of = |now: &Snapshot| now.per_worker.iter().find_map(|worker| worker.task.clone());
        assert!(of(&client.admin().snapshot()).unwrap().run_time >= task.run_time);
    }
    let lines: Vec<_> = (now.queue.iter())
        .map(|line| (line.priority, line.tenant.as_deref(), line.queued))
        .collect();
    assert_eq!(lines, [(2, None, 3), (0, Some("bob"), 1)]);
    scratch.release();
    held.await.unwrap();
    outboard::gather(waiting).await.unwrap();
    other.await.unwrap();
    let idle = || client.admin().snapshot().per_worker.iter().all(|worker| worker.task.is_none());
    eventually("nothing runs", idle).await;
}

async fn a_snapshot_has_times_of_each_function_and_the_last_panics(engine: Engine) {
    let client = engine.client("workers=1").await;
    let time = Duration::from_millis(20);
    for _ in 0..3 {
        client.submit(sleep, time).await.unwrap();
    }
    for n in 0..20 {
        client.submit(fail, format!("number {n}")).await.unwrap_err();
    }
    let now = client.admin().snapshot();
    let of = |name: &str| now.per_function.iter().find(|row| row.function.contains(name)).unwrap();
    let (sleeps, fails) = (of("sleep"), of("fail"));
    assert_eq!((sleeps.run_times.count(), sleeps.queue_times.count()), (3, 3));
    assert!(sleeps.run_times.quantile(0.5).unwrap() >= time);
    assert_eq!((fails.figures.panicked, fails.figures.lost, fails.run_times.count()), (20, 0, 0));
    let panics: Vec<_> = now.panics.iter().map(|one| one.panic.message.as_str()).collect();
    assert_eq!(panics.len(), 16, "{panics:?}");
    assert_eq!((panics[0], panics[15]), ("number 4", "number 19"));
    assert!(now.panics[0].function.ends_with("fail") && now.panics[0].worker > 0);
}
