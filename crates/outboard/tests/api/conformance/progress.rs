//! How far a task says that it is, for its caller and for snapshots.

use std::path::PathBuf;
use std::time::Duration;

use super::{Engine, on_every_engine};
use crate::support::scratch::{Scratch, is_held, start};
use crate::support::{eventually, found};

on_every_engine! {
    progress_is_seen_by_its_caller_and_in_snapshots,
    what_says_nothing_has_no_progress,
}

/// Says how far it is, and is held there.
#[outboard::task]
fn read_pages(at: PathBuf, pages: u64) {
    start(&at);
    for page in 1..=pages {
        outboard::progress(page, 10, &format!("reading page {page}"));
    }
    while is_held(&at) {
        std::thread::sleep(Duration::from_millis(1));
    }
}

async fn progress_is_seen_by_its_caller_and_in_snapshots(engine: Engine) {
    let client = engine.client("workers=1").await;
    let scratch = Scratch::new();
    let task = client.submit(read_pages, (scratch.path(), 7));
    let mut progress = task.progress();
    scratch.started(1).await;
    let last = loop {
        let seen = progress.next().await.expect("it runs");
        if seen.done == 7 {
            break seen;
        }
    };
    assert_eq!((last.done, last.total, last.text.as_str()), (7, 10, "reading page 7"));
    let shown = || {
        let snapshot = client.admin().snapshot();
        snapshot.per_worker.iter().find_map(|worker| worker.task.clone()?.progress)
    };
    assert_eq!(found("a snapshot has it", shown).await, last);
    scratch.release();
    task.await.unwrap();
    assert_eq!(progress.next().await, None, "it ends with the task");
    assert_eq!(progress.next().await, None);
}

async fn what_says_nothing_has_no_progress(engine: Engine) {
    let client = engine.client("workers=1").await;
    client.submit(read_pages, (PathBuf::from("/nowhere"), 7)).await.unwrap();
    let scratch = Scratch::new();
    let task = client.submit(read_pages, (scratch.path(), 0));
    scratch.started(1).await;
    let now = client.admin().snapshot();
    assert!(
        now.per_worker.iter().all(|row| row.task.as_ref().is_none_or(|t| t.progress.is_none()))
    );
    let mut progress = task.progress();
    drop(task);
    eventually("it is cancelled", || client.admin().snapshot().cancelled == 1).await;
    assert_eq!(progress.next().await, None);
    scratch.release();
}
