//! Scattered values: the same in every task, and gone when nobody has them.

use std::collections::BTreeMap;

use outboard::{Bytes, ErrorKind, Scattered, gather};
use serde::{Deserialize, Serialize};

use super::{Engine, Promise, named, on_every_engine};
use crate::support::scratch::Scratch;
use crate::support::tasks::hold;

on_every_engine! {
    a_scattered_value_is_the_same_in_every_task,
    a_scattered_value_may_be_inside_of_something,
    scattered_bytes_of_every_size_arrive,
    a_task_that_waits_keeps_its_value,
    a_worker_that_is_started_later_has_it_too,
    a_scattered_value_is_for_tasks_of_its_own_client,
    there_is_room_again_when_a_value_is_dropped,
    nothing_is_scattered_after_shutdown,
}

type Table = BTreeMap<String, Vec<f64>>;

fn table() -> Table {
    (0..300).map(|n| (format!("row {n}"), (0..n).map(f64::from).collect())).collect()
}

#[outboard::task]
fn sum_of(table: Scattered<Table>, row: String) -> (f64, u32) {
    (table[&row].iter().sum(), std::process::id())
}

async fn a_scattered_value_is_the_same_in_every_task(engine: Engine) {
    let client = engine.client("workers=3").await;
    let table = client.scatter(table()).await.unwrap();
    let rows = (0..300).map(|n| client.submit(sum_of, (table.clone(), format!("row {n}"))));
    for (n, (sum, _)) in (0..).zip(gather(rows).await.unwrap()) {
        assert_eq!(sum, f64::from(n * (n - 1) / 2));
    }
    assert_eq!(table["row 3"], [0.0, 1.0, 2.0], "here too");
    let text = client.scatter("text".to_owned()).await.unwrap();
    let both = named!("tests.scatter.both", |table: Scattered<Table>,
                                             text: Scattered<String>,
                                             again: Scattered<String>|
     -> String {
        format!("{} {} {}", table.len(), *text, again.len())
    });
    let joined = client.submit(both, (table.clone(), text.clone(), text.clone())).await.unwrap();
    assert_eq!(joined, "300 text 4");
}

#[derive(Serialize, Deserialize)]
struct Query {
    at: usize,
    tables: Vec<Option<Scattered<Vec<u32>>>>,
}

async fn a_scattered_value_may_be_inside_of_something(engine: Engine) {
    let client = engine.client("workers=2").await;
    let one = client.scatter(vec![1, 2, 3]).await.unwrap();
    let two = client.scatter(vec![4, 5, 6]).await.unwrap();
    let look_up = named!("tests.scatter.look_up", |query: Query| -> Vec<u32> {
        query.tables.iter().flatten().map(|table| table[query.at]).collect()
    });
    let query = Query { at: 1, tables: vec![Some(one), None, Some(two)] };
    assert_eq!(client.submit(look_up, query).await.unwrap(), [2, 5]);
}

async fn scattered_bytes_of_every_size_arrive(engine: Engine) {
    let client = engine.client("workers=1").await;
    for bytes in [0, 1, 4096, 100_000, 50 << 20] {
        let sent = Bytes::from(vec![7_u8; bytes]);
        let scattered = client.scatter(sent.clone()).await.unwrap();
        let same = named!("tests.scatter.same", |x: Scattered<Bytes>, n: usize| -> bool {
            x.len() == n && x.iter().step_by(99).all(|b| *b == 7)
        });
        assert!(client.submit(same, (scattered.clone(), bytes)).await.unwrap(), "{bytes}");
        assert!(*scattered == sent);
        let vec = client.scatter(sent.to_vec()).await.unwrap();
        let length = named!("tests.scatter.length", |x: Scattered<Vec<u8>>| -> usize { x.len() });
        assert_eq!(client.submit(length, vec).await.unwrap(), bytes);
    }
}

async fn a_task_that_waits_keeps_its_value(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let held = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let table = client.scatter(vec![1_u8, 2, 3]).await.unwrap();
    let copy = named!("tests.scatter.copy", |x: Scattered<Vec<u8>>| -> Vec<u8> { x.to_vec() });
    let waiting = client.submit(copy, table.clone());
    drop(table);
    scratch.release();
    held.await.unwrap();
    assert_eq!(waiting.await.unwrap(), [1, 2, 3]);
}

async fn a_worker_that_is_started_later_has_it_too(engine: Engine) {
    if !engine.promises(Promise::SurvivesCrashes) {
        return;
    }
    let client = engine.client("workers=1&spares=0").await;
    let table = client.scatter(table()).await.unwrap();
    let mut seen = Vec::new();
    for _ in 0..3 {
        let args = (table.clone(), "row 3".to_owned());
        let (sum, pid) = client.submit(sum_of, args).await.unwrap();
        assert_eq!(sum, 3.0);
        assert!(!seen.contains(&pid), "it is another worker");
        seen.push(pid);
        let abort = named!("tests.scatter.abort", || -> u8 { std::process::abort() });
        assert!(client.submit(abort, ()).await.unwrap_err().worker_loss().is_some());
    }
    // And a task that is retried on another one.
    let scratch = Scratch::new();
    let crash_once = named!("tests.scatter.crash_once", |at: std::path::PathBuf,
                                                         x: Scattered<Table>|
     -> usize {
        crate::support::scratch::start(&at);
        let starts = std::fs::read_to_string(at.join("starts")).unwrap().lines().count();
        if starts < 2 {
            std::process::abort();
        }
        x.len()
    });
    let patient = client.retries(1);
    assert_eq!(patient.submit(crash_once, (scratch.path(), table)).await.unwrap(), 300);
}

async fn a_scattered_value_is_for_tasks_of_its_own_client(engine: Engine) {
    let (client, other) = (engine.client("workers=1").await, engine.client("workers=1").await);
    let table = client.scatter(vec![1_u8]).await.unwrap();
    let own = other.scatter(vec![2_u8]).await.unwrap();
    let first = named!("tests.scatter.first", |x: Scattered<Vec<u8>>| -> u8 { x[0] });
    for sent in [table.clone(), table.clone()] {
        let error = other.submit(first, sent).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Codec);
        let source = std::error::Error::source(&error).unwrap().to_string();
        assert!(source.contains("belongs to another client"), "{source}");
    }
    // Clones, and clients with other options, are the same client.
    let derived = client.clone().priority(3);
    assert_eq!(derived.submit(first, table.clone()).await.unwrap(), 1);
    assert_eq!(other.submit(first, own).await.unwrap(), 2);
    assert!(postcard::to_stdvec(&table).is_err(), "it is nothing outside of a task");
    let give_back =
        named!("tests.scatter.give_back", |x: Scattered<Vec<u8>>| -> Scattered<Vec<u8>> { x });
    let back = client.submit(give_back, table).await.unwrap_err();
    assert_eq!(back.kind(), ErrorKind::Codec, "nor is it a result");
}

#[outboard::task(name = "tests.scatter.number")]
fn number(x: Scattered<u8>) -> u8 {
    *x
}

async fn there_is_room_again_when_a_value_is_dropped(engine: Engine) {
    let client = engine.client("workers=1").await;
    let mut kept = Vec::new();
    let refused = loop {
        match client.scatter(Bytes::from_static(b"small")).await {
            Ok(one) => kept.push(one),
            Err(error) => break error,
        }
    };
    assert_eq!(refused.kind(), ErrorKind::TooLarge);
    assert_eq!(kept.len(), 256);
    drop(kept.split_off(100));
    let again = client.scatter(7_u8).await.unwrap();
    assert_eq!(client.submit(number, again).await.unwrap(), 7);
}

async fn nothing_is_scattered_after_shutdown(engine: Engine) {
    let client = engine.client("workers=1").await;
    let before = client.scatter(1_u8).await.unwrap();
    client.shutdown().await;
    assert_eq!(client.scatter(1_u8).await.unwrap_err().kind(), ErrorKind::Closed);
    let late = client.submit(number, before.clone()).await;
    assert_eq!(late.unwrap_err().kind(), ErrorKind::Closed);
    assert_eq!(*before, 1, "the value itself is still here");
}
