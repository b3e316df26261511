//! Streams of worker processes: crashes and kills in the middle, and workers that break the
//! protocol.

use std::path::PathBuf;
use std::time::Duration;

use outboard::{Bytes, Client, SendError, Sender};

use crate::support::process::Process;
use crate::support::scratch::{Scratch, note, start};
use crate::support::tasks::same;
use crate::support::{eventually, raw, run};

/// Sends so many items, and takes its worker down.
#[outboard::task]
fn abort_after(items: u64, out: Sender<u64>) {
    (0..items).for_each(|n| out.send(n).unwrap());
    std::process::abort();
}

/// Sends items that have their number in each word, with no end.
#[outboard::task]
fn endless(at: PathBuf, words: usize, out: Sender<Vec<u64>>) -> Result<(), SendError> {
    start(&at);
    for n in 0.. {
        out.send(vec![n; words])?;
    }
    Ok(())
}

/// Leaves a thread behind that goes on sending.
#[outboard::task]
fn leave_a_thread(at: PathBuf, out: Sender<Bytes>) {
    let (ready, is_ready) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let mut sent = 0;
        while out.send(vec![0; 1000].into()).is_ok() {
            sent += 1;
            let _ = ready.send(());
        }
        note(&at, "refused", &sent.to_string());
    });
    is_ready.recv().unwrap();
}

/// Forks, and has the child send as well.
#[outboard::task]
fn fork_and_send(out: Sender<u32>) -> i32 {
    out.send(1).unwrap();
    let child = raw::fork();
    if child == 0 {
        let refused = out.send(2).is_err_and(|error| error.is_closed());
        raw::exit_at_once(if refused { 0 } else { 1 });
    }
    let status = raw::wait_for(child);
    out.send(3).unwrap();
    status
}

#[test]
fn a_crash_comes_after_all_items_that_were_sent_before_it() {
    run(async {
        let client = Client::local().workers(1).await.unwrap();
        for items in [0, 1, 1000] {
            let mut stream = client.retries(0).stream(abort_after, items);
            for n in 0..items {
                assert_eq!(stream.next().await.unwrap().unwrap(), n);
            }
            let error = stream.next().await.unwrap().unwrap_err();
            assert!(error.is_worker_lost(), "{error}");
            assert!(stream.next().await.is_none());
        }
        assert_eq!(client.submit(same, 7).await.unwrap(), 7);
    });
}

#[test]
fn a_worker_that_is_killed_in_mid_item_leaves_whole_items() {
    run(async {
        let client = Client::local().workers(1).await.unwrap();
        // Items of one piece, and of several.
        for (round, words) in [10, 1000, 50_000, 300_000, 10, 50_000].into_iter().enumerate() {
            let scratch = Scratch::new();
            let mut stream = client.stream(endless, (scratch.path(), words));
            for n in 0..5 * (round as u64 + 1) {
                assert_eq!(stream.next().await.unwrap().unwrap(), vec![n; words]);
            }
            Process::open(scratch.pid()).kill();
            let mut n = 5 * (round as u64 + 1);
            let error = loop {
                match stream.next().await.unwrap() {
                    Ok(item) => assert_eq!(item, vec![n; words]),
                    Err(error) => break error,
                }
                n += 1;
            };
            assert!(error.is_worker_lost(), "{error}");
        }
    });
}

#[test]
fn a_thread_that_a_task_leaves_behind_sends_no_more() {
    run(async {
        let client = Client::local().workers(1).spares(0).await.unwrap();
        let scratch = Scratch::new();
        let mut stream = client.stream(leave_a_thread, scratch.path());
        // Nobody reads, so that it waits for room.
        eventually("it is refused", || scratch.notes("refused").len() == 1).await;
        for _ in 0..10 {
            assert_eq!(client.submit(same, 7).await.unwrap(), 7);
        }
        let mut items = 0;
        while let Some(item) = stream.next().await {
            assert_eq!(item.unwrap().len(), 1000);
            items += 1;
        }
        assert_eq!(scratch.notes("refused"), [items.to_string()]);
        stream.output().await.unwrap();
    });
}

#[test]
fn a_child_that_a_task_forks_sends_nothing() {
    run(async {
        let client = Client::local().workers(1).await.unwrap();
        let mut stream = client.stream(fork_and_send, ());
        assert_eq!(stream.next().await.unwrap().unwrap(), 1);
        assert_eq!(stream.next().await.unwrap().unwrap(), 3);
        assert_eq!(stream.output().await.unwrap(), 0);
    });
}

#[test]
fn a_stopped_reader_does_not_delay_a_kill() {
    run(async {
        let client = Client::local().workers(1).await.unwrap();
        let hasty = client.timeout(Duration::from_millis(200));
        for _ in 0..5 {
            let scratch = Scratch::new();
            let stream = hasty.stream(endless, (scratch.path(), 100));
            scratch.started(1).await;
            // Its time ends while it waits for its reader, and the next one has a worker.
            assert_eq!(client.submit(same, 7).await.unwrap(), 7);
            let error = stream.output().await.unwrap_err();
            assert!(error.is_timed_out(), "{error}");
        }
    });
}
