//! What a scripted client promises, on a clock that is paused.

use std::time::Duration;

use tokio::task::yield_now;
use tokio::time::{Instant, advance};

use crate::error::{Cause, ErrorKind, Stage};
use crate::{Client, Scripted, Sender, gather};

fn fib(n: u64) -> u64 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

fn join(words: Vec<String>, by: String) -> String {
    words.join(&by)
}

fn count(to: u64, out: Sender<u64>) -> u64 {
    (0..to).filter(|n| out.send(*n).is_ok()).count() as u64
}

fn blocks(bytes: usize) -> impl Iterator<Item = Vec<u8>> {
    std::iter::repeat_n(vec![0; bytes], 3)
}

const SECOND: Duration = Duration::from_secs(1);

fn seconds(since: Instant) -> u64 {
    since.elapsed().as_secs()
}

/// Waits, without letting time pass, until nothing runs.
async fn idle(scripted: &Scripted) {
    while scripted.client().admin().snapshot().running > 0 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_is_answered_and_its_arguments_are_noted() {
    let scripted = Client::scripted();
    let client = scripted.client();
    scripted.on(fib).returns(8);
    scripted.on(join).computes(|(words, by)| join(words, by));
    assert_eq!(client.submit(fib, 1_000_000).await.unwrap(), 8, "it does not run");
    assert_eq!(client.submit(fib, 7).await.unwrap(), 8);
    let words = vec!["a".to_owned(), "b".to_owned()];
    assert_eq!(client.submit(join, (words.clone(), "-".to_owned())).await.unwrap(), "a-b");
    assert_eq!(scripted.on(fib).calls(), [1_000_000, 7]);
    assert_eq!(scripted.on(join).calls(), [(words, "-".to_owned())]);
    scripted.on(fib).returns(9);
    assert_eq!(client.submit(fib, 0).await.unwrap(), 9, "the last answer counts");
}

#[tokio::test(start_paused = true)]
async fn answers_for_one_call_come_first_and_in_their_order() {
    let scripted = Client::scripted();
    let (client, script) = (scripted.client(), scripted.on(fib));
    script.returns(0);
    script.once().returns(1);
    script.once().overloaded(SECOND);
    script.once().returns(2);
    assert_eq!(client.submit(fib, 0).await.unwrap(), 1);
    assert!(client.submit(fib, 0).await.unwrap_err().is_overloaded());
    for expected in [2, 0, 0] {
        assert_eq!(client.submit(fib, 0).await.unwrap(), expected);
    }
    assert_eq!(script.calls().len(), 4, "what is refused is no call");
}

#[tokio::test(start_paused = true)]
async fn each_way_to_fail_is_that_of_production() {
    let scripted = Client::scripted();
    let (client, script) = (scripted.client().timeout(60 * SECOND), scripted.on(fib));
    let error = async || client.submit(fib, 0).await.unwrap_err();
    script.panics("too deep");
    assert_eq!(error().await.panic().unwrap().message, "too deep");
    script.raises("ValueError", "no");
    assert_eq!(error().await.exception().unwrap().class, "ValueError");
    script.lost();
    let lost = error().await;
    assert_eq!(lost.worker_loss().unwrap().cause, Some(Cause::Signal(9)));
    assert!(lost.worker_loss().unwrap().task.ends_with("fib"), "{lost}");
    script.runs_out_of_memory();
    assert_eq!(error().await.kind(), ErrorKind::OutOfMemory);
    script.times_out();
    let begin = Instant::now();
    let timed = error().await;
    assert_eq!((timed.timed_out_in(), seconds(begin)), (Some(Stage::Running), 0));
    assert!(timed.to_string().contains("60s"), "{timed}");
    script.overloaded(7 * SECOND);
    assert_eq!(error().await.retry_after(), Some(7 * SECOND));
    idle(&scripted).await;
    let now = client.admin().snapshot();
    assert_eq!((now.failed, now.timed_out, now.refused, now.submitted), (4, 1, 1, 5));
    assert_eq!((now.panics.len(), now.crashes.len()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn a_call_without_an_answer_is_an_error_that_names_it() {
    let scripted = Client::scripted();
    let error = scripted.client().submit(fib, 3).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::UnknownTask);
    let said = error.to_string();
    assert!(said.contains("tests::fib") && said.contains("scripted.on(f)"), "{said}");
    assert_eq!(scripted.on(fib).calls(), [3]);
    scripted.on(fib).once().returns(2);
    scripted.client().submit(fib, 3).await.unwrap();
    scripted.client().submit(fib, 3).await.expect_err("that was for one call");
}

#[tokio::test(start_paused = true)]
async fn timeouts_and_delays_go_by_tokios_clock() {
    let scripted = Client::scripted();
    let client = scripted.client().timeout(30 * SECOND);
    scripted.on(fib).after(10 * SECOND).returns(8);
    let begin = Instant::now();
    let (value, report) = client.submit(fib, 0).with_report().await.unwrap();
    assert_eq!((value, report.run_time.as_secs(), seconds(begin)), (8, 10, 10));
    scripted.on(fib).after(3_600 * SECOND).returns(8);
    let begin = Instant::now();
    let error = client.submit(fib, 0).await.unwrap_err();
    assert_eq!((error.timed_out_in(), seconds(begin)), (Some(Stage::Running), 30));
    assert_eq!(client.admin().snapshot().uptime.as_secs(), 40);
}

#[tokio::test(start_paused = true)]
async fn another_attempt_is_another_call_after_its_rest() {
    let scripted = Client::scripted();
    let script = scripted.on(fib);
    script.once().panics("first");
    script.once().lost();
    script.once().overloaded(SECOND);
    script.returns(8);
    let patient = scripted.client().retries(2).backoff(10 * SECOND..10 * SECOND);
    // The refusal is for a submit, and no attempt is one.
    let begin = Instant::now();
    let (value, report) = patient.submit(fib, 6).with_report().await.unwrap();
    assert_eq!((value, report.attempt, seconds(begin)), (8, 3, 20));
    assert_eq!(script.calls(), [6, 6, 6]);
    assert!(patient.submit(fib, 6).await.unwrap_err().is_overloaded());
}

#[tokio::test(start_paused = true)]
async fn what_is_held_waits_for_its_release_and_can_be_dropped() {
    let scripted = Client::scripted();
    let (client, script) = (scripted.client(), scripted.on(fib));
    script.held().returns(8);
    let (first, second) = (client.submit(fib, 1), client.submit(fib, 2));
    script.called(2).await;
    advance(3_600 * SECOND).await;
    assert!(!first.is_finished() && client.admin().snapshot().running == 2);
    drop(second);
    idle_but_one(&scripted).await;
    assert_eq!(client.admin().snapshot().cancelled, 1);
    script.release();
    assert_eq!(first.await.unwrap(), 8);
    // A release is for the calls that have begun.
    let third = client.submit(fib, 3);
    tokio::time::timeout(SECOND, third).await.expect_err("it is held");
}

async fn idle_but_one(scripted: &Scripted) {
    while scripted.client().admin().snapshot().running > 1 {
        yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_has_its_items_and_then_an_end() {
    let scripted = Client::scripted();
    let (client, script) = (scripted.client(), scripted.on_stream(count));
    script.yields([1, 2]).after(5 * SECOND).yields([3]).returns(9);
    let (begin, mut stream) = (Instant::now(), client.stream(count, 7));
    let mut seen = Vec::new();
    while let Some(item) = stream.next().await {
        seen.push((item.unwrap(), seconds(begin)));
    }
    assert_eq!(seen, [(1, 0), (2, 0), (3, 5)]);
    assert_eq!(stream.output().await.unwrap(), 9);
    assert_eq!(script.calls(), [7]);

    script.yields([1]).lost();
    let mut stream = client.retries(3).stream(count, 7);
    assert_eq!(stream.next().await.unwrap().unwrap(), 1);
    assert!(stream.next().await.unwrap().unwrap_err().is_worker_lost(), "no retry after an item");

    script.yields([1]).held().returns(0);
    let mut stream = client.idle_timeout(20 * SECOND).stream(count, 7);
    assert_eq!(stream.next().await.unwrap().unwrap(), 1);
    let begin = Instant::now();
    assert!(stream.next().await.unwrap().unwrap_err().is_timed_out());
    assert_eq!(seconds(begin), 20);
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_is_behind_gets_all_items() {
    let scripted = Client::scripted();
    let block = vec![7; 200_000];
    scripted.on_stream(blocks).yields([block.clone(), block.clone(), block.clone()]).returns(());
    let client = scripted.client().timeout(60 * SECOND);
    let mut stream = client.stream(blocks, 1);
    advance(SECOND).await;
    for _ in 0..3 {
        assert_eq!(stream.next().await.unwrap().unwrap(), block);
    }
    assert!(stream.next().await.is_none());
    let stream = client.stream(blocks, 1);
    stream.detach();
    idle(&scripted).await;
    assert_eq!(client.admin().snapshot().done, 2);
}

#[tokio::test(start_paused = true)]
async fn many_calls_are_answered_in_the_order_of_their_arguments() {
    let scripted = Client::scripted();
    let (client, script) = (scripted.client(), scripted.on(fib));
    script.computes(|n| n + 1);
    let results = client.map(fib, 0..2_000).gather().await.unwrap();
    assert_eq!(results, (1..=2_000).collect::<Vec<_>>());
    assert_eq!(script.calls(), (0..2_000).collect::<Vec<_>>());
    script.held().returns(1);
    let held: Vec<_> = (0..300).map(|n| client.submit(fib, n)).collect();
    script.called(2_256).await;
    let now = client.admin().snapshot();
    assert_eq!((now.running, now.queued), (256, 44));
    script.returns(1);
    script.release();
    assert_eq!(gather(held).await.unwrap().len(), 300);
}

#[tokio::test(start_paused = true)]
async fn values_of_any_size_arrive_before_the_clock_runs_on() {
    let scripted = Client::scripted();
    let client = scripted.client().timeout(SECOND);
    let words = vec!["a word".to_owned(); 100_000];
    scripted.on(join).computes(|(words, by)| words.join(&by));
    let joined = tokio::time::timeout(SECOND, client.submit(join, (words.clone(), " ".into())));
    assert_eq!(joined.await.unwrap().unwrap().len(), 700_000 - 1);
    assert_eq!(scripted.on(join).calls()[0].0, words);
}

#[tokio::test(start_paused = true)]
async fn options_mean_what_they_mean_in_production() {
    let scripted = Client::scripted();
    let (client, script) = (scripted.client(), scripted.on(fib));
    script.held().returns(8);
    let same = client.key("same").tenant("ann");
    let shared = [same.submit(fib, 1), same.submit(fib, 2)];
    let apart = client.pool("gpu").priority(3).submit(fib, 3);
    script.called(2).await;
    script.release();
    assert_eq!(gather(shared).await.unwrap(), [8, 8]);
    assert_eq!(apart.await.unwrap(), 8);
    assert_eq!(script.calls(), [1, 3]);
    client.pool("gpu").ready().await.unwrap();
    let now = client.admin().snapshot();
    assert_eq!((now.coalesced, now.engine), (1, "scripted"));
    let tenants: Vec<_> = now.per_tenant.iter().map(|row| row.tenant.as_deref()).collect();
    assert!(tenants.contains(&Some("ann")), "{tenants:?}");
}

#[tokio::test(start_paused = true)]
async fn what_happened_is_told_as_in_production() {
    let scripted = Client::scripted();
    let client = scripted.client();
    client.admin().record(100);
    scripted.on(fib).after(2 * SECOND).panics("no");
    let future = client.submit(fib, 1);
    let id = future.id().unwrap();
    future.await.unwrap_err();
    let story = client.admin().story(id).unwrap();
    let times: Vec<_> = story.events.iter().map(|event| event.at.as_secs()).collect();
    assert!(story.whole && times.first() == Some(&0) && times.last() == Some(&2), "{story:?}");
}

#[tokio::test(start_paused = true)]
async fn a_closure_that_panics_is_a_task_that_panics() {
    let scripted = Client::scripted();
    scripted.on(fib).computes(|n| panic!("not {n}"));
    let error = scripted.client().submit(fib, 5).await.unwrap_err();
    let panic = error.panic().unwrap();
    assert_eq!(panic.message, "not 5");
    assert!(panic.location.contains("scripted"), "{panic:?}");
}

#[tokio::test(start_paused = true)]
async fn it_drains_and_ends() {
    let scripted = Client::scripted();
    let (client, script) = (scripted.client(), scripted.on(fib));
    script.after(5 * SECOND).returns(8);
    let (begin, future) = (Instant::now(), client.submit(fib, 1));
    client.drain().await;
    assert_eq!((future.await.unwrap(), seconds(begin)), (8, 5));
    assert!(client.submit(fib, 1).await.unwrap_err().is_closed());
    let other = Client::scripted();
    other.on(fib).held().returns(8);
    let held = other.client().submit(fib, 1);
    other.client().shutdown().await;
    assert!(held.await.unwrap_err().is_closed());
}

#[test]
fn it_ends_with_its_runtime_and_needs_one() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    let scripted = runtime.block_on(async { Client::scripted() });
    scripted.on(fib).returns(8);
    assert_eq!(scripted.client().submit(fib, 1).wait().unwrap(), 8);
    scripted.on(fib).held().returns(8);
    let held = scripted.client().timeout(60 * SECOND).submit(fib, 1);
    drop(runtime);
    assert!(held.wait().unwrap_err().is_closed());
    let refused = std::panic::catch_unwind(Client::scripted).unwrap_err();
    let said = refused.downcast_ref::<String>().unwrap();
    assert!(said.contains("inside a runtime"), "{said}");
}

#[cfg(feature = "dask")]
#[tokio::test(start_paused = true)]
async fn functions_of_python_are_answered_too() {
    use crate::dask::python;

    let scripted = Client::scripted();
    let client = scripted.client();
    let factorial = python::<(u64,), u64>("math:factorial");
    let now = python::<(), Option<String>>("clock:now");
    let pair = python::<(String, Option<u8>), Vec<u8>>("words:pair");
    scripted.on(factorial).once().returns(6);
    scripted.on(factorial).raises("ValueError", "negative");
    scripted.on(now).returns(Some("late".to_owned()));
    scripted.on(pair).computes(|(word, more)| [word.into_bytes(), vec![more.unwrap()]].concat());
    assert_eq!(client.submit(factorial, 3).await.unwrap(), 6);
    assert!(client.submit(factorial, 4).await.unwrap_err().is_raised());
    assert_eq!(client.submit(now, ()).await.unwrap().as_deref(), Some("late"));
    assert_eq!(client.submit(pair, ("a".to_owned(), Some(1))).await.unwrap(), [97, 1]);
    assert_eq!(scripted.on(factorial).calls(), [3, 4]);
    assert_eq!(scripted.on(now).calls(), [()]);
    assert_eq!(scripted.on(pair).calls(), [("a".to_owned(), Some(1))]);
}
