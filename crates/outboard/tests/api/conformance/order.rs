//! Priorities, and map: what comes first.

use std::path::PathBuf;

use outboard::{ErrorKind, gather};

use super::{Engine, named, on_every_engine};
use crate::support::scratch::Scratch;
use crate::support::tasks::{add, hold, next, next_but_one, same, write};

on_every_engine! {
    tasks_start_in_the_order_of_their_submits,
    a_map_waits_for_room_instead_of_failing,
    a_map_has_at_most_a_window_under_way,
    a_map_submits_nothing_before_it_is_polled,
    a_map_of_a_closed_client_ends,
    a_map_gives_results_in_the_order_of_its_arguments,
    a_map_passes_errors_on_and_goes_on,
    gathering_a_map_ends_at_the_first_error,
    dropping_a_map_cancels_the_rest,
    a_higher_priority_starts_first,
}

async fn tasks_start_in_the_order_of_their_submits(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let line = |n: u64| client.submit(write, (scratch.path(), n.to_string()));
    gather((0..200).map(line)).await.unwrap();
    let expected: Vec<_> = (0..200).map(|n| n.to_string()).collect();
    assert_eq!(scratch.notes("lines"), expected);
}

async fn a_higher_priority_starts_first(engine: Engine) {
    let client = engine.client("workers=1&window=1").await;
    let (running, scratch) = (Scratch::new(), Scratch::new());
    let held = client.submit(hold, running.path());
    running.started(1).await;
    let priorities = [0, -5, 7, 0, i32::MAX, i32::MIN, 7];
    let futures = (priorities.iter().enumerate()).map(|(index, priority)| {
        let line = format!("{priority} {index}");
        client.priority(*priority).submit(write, (scratch.path(), line))
    });
    let futures: Vec<_> = futures.collect();
    running.release();
    held.await.unwrap();
    gather(futures).await.unwrap();
    let order = ["2147483647 4", "7 2", "7 6", "0 0", "0 3", "-5 1", "-2147483648 5"];
    assert_eq!(scratch.notes("lines"), order);
}

async fn a_map_gives_results_in_the_order_of_its_arguments(engine: Engine) {
    let client = engine.client("workers=3").await;
    // More than its window, the early ones the slowest.
    let slow_first = named!("contract.33", |n: u64| -> u64 {
        std::thread::sleep(std::time::Duration::from_millis(5_u64.saturating_sub(n)));
        n * n
    });
    let squares = client.map(slow_first, 0..3_000).gather().await.unwrap();
    assert_eq!(squares, (0..3_000).map(|n| n * n).collect::<Vec<u64>>());
    let none: Vec<u64> = client.map(slow_first, []).gather().await.unwrap();
    assert!(none.is_empty());
    let sums = client.map(add, [(1, 2), (3, 4)]).gather().await.unwrap();
    assert_eq!(sums, [3, 7]);
}

async fn a_map_waits_for_room_instead_of_failing(engine: Engine) {
    let client = engine.client("workers=2&queue_tasks=2").await;
    let (one, other) =
        (client.map(next, 0..500).gather(), client.map(next_but_one, 0..500).gather());
    let (one, other) = tokio::join!(one, other);
    assert_eq!(one.unwrap(), (1..501).collect::<Vec<u64>>());
    assert_eq!(other.unwrap(), (2..502).collect::<Vec<u64>>());
    assert_eq!(client.admin().snapshot().refused, 0);
}

async fn a_map_has_at_most_a_window_under_way(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let mut map = client.map(hold, std::iter::repeat(scratch.path()));
    tokio::select! {
        biased;
        first = map.next() => panic!("{first:?} although it is held"),
        () = scratch.started(1) => {}
    }
    assert_eq!(client.admin().snapshot().submitted, 1_024);
    scratch.release();
    for _ in 0..10 {
        map.next().await.unwrap().unwrap();
    }
    let submitted = client.admin().snapshot().submitted;
    assert!((1_033..=1_034).contains(&submitted), "{submitted}");
}

async fn a_map_submits_nothing_before_it_is_polled(engine: Engine) {
    let client = engine.client("workers=1").await;
    let map = client.map(same, 0..10);
    assert_eq!(client.admin().snapshot().submitted, 0);
    assert_eq!(map.gather().await.unwrap().len(), 10);
}

#[outboard::task]
fn even(n: u64) -> u64 {
    assert!(n.is_multiple_of(2), "{n} is odd");
    n
}

async fn a_map_passes_errors_on_and_goes_on(engine: Engine) {
    let client = engine.client("workers=2").await;
    let mut map = client.map(even, 0..6);
    let mut seen = Vec::new();
    while let Some(result) = map.next().await {
        seen.push(result.map_err(|error| error.panic().unwrap().message.clone()));
    }
    let odd = |n: u64| Err(format!("{n} is odd"));
    assert_eq!(seen, [Ok(0), odd(1), Ok(2), odd(3), Ok(4), odd(5)]);
}

async fn gathering_a_map_ends_at_the_first_error(engine: Engine) {
    let client = engine.client("workers=1&window=1").await;
    let scratch = Scratch::new();
    let even_or_held = named!("contract.34", |at: PathBuf, n: u64| -> u64 {
        if n < 6 { even(n) } else { u64::from(hold(at)) }
    });
    let items = (2..).map(|n| (scratch.path(), n));
    let error = client.map(even_or_held, items).gather().await.unwrap_err();
    assert_eq!(error.panic().unwrap().message, "3 is odd");
    scratch.release();
    client.drain().await;
    let snapshot = client.admin().snapshot();
    assert!(scratch.starts() <= 1 && snapshot.cancelled > 1_000, "{snapshot:?}");
}

async fn dropping_a_map_cancels_the_rest(engine: Engine) {
    let client = engine.client("workers=1&window=1").await;
    let scratch = Scratch::new();
    let mut map = client.map(hold, (0..100).map(|_| scratch.path()));
    tokio::select! {
        biased;
        first = map.next() => panic!("{first:?} although it is held"),
        () = scratch.started(1) => {}
    }
    drop(map);
    scratch.release();
    client.drain().await;
    assert_eq!((scratch.starts(), client.admin().snapshot().cancelled), (1, 100));
}

async fn a_map_of_a_closed_client_ends(engine: Engine) {
    let client = engine.client("workers=1").await;
    let mut map = client.map(same, 0..10);
    client.shutdown().await;
    let error = map.next().await.unwrap().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Closed);
    assert!(map.next().await.is_none());
}
