//! Payloads through shared memory: what a worker may do to them, and what is
//! left of them.

use std::fs::{self, File};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use outboard::error::Cause;
use outboard::{Bytes, Client, Scattered, gather};
use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, ftruncate, memfd_create};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};
use serde::Serialize;

use super::client;
use super::hostile::{say, socket};
use crate::support::scratch::Scratch;
use crate::support::tasks::{hold, pid};
use crate::support::{eventually, run};

/// What a worker says of its first task, as `wire.rs` has it.
#[derive(Serialize)]
#[expect(dead_code, reason = "those that are not said have their numbers")]
enum Said {
    Hello,
    Ready,
    Done { seq: u64, usage: (u64, Option<u64>, Option<u64>), place: Place },
    Failed,
    Skipped,
    Beside,
}

#[derive(Clone, Copy, Debug, Serialize)]
enum Place {
    #[expect(dead_code, reason = "it has the first number")]
    Frame,
    Arena {
        offset: u64,
        bytes: u64,
    },
    File {
        bytes: u64,
    },
}

/// The size of one half of the arena, after which answers lie.
const HALF: u64 = 64 << 20;

fn answer(said: &Said) -> Vec<u8> {
    let message = postcard::to_stdvec(said).unwrap();
    let mut frame = (message.len() as u32).to_le_bytes().to_vec();
    frame.extend(message);
    frame
}

fn send(bytes: &[u8], files: &[BorrowedFd<'_>]) {
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !files.is_empty() {
        control.push(SendAncillaryMessage::ScmRights(files));
    }
    sendmsg(socket(), &[std::io::IoSlice::new(bytes)], &mut control, SendFlags::empty()).unwrap();
}

fn done(place: Place) -> Said {
    Said::Done { seq: 1, usage: (1, None, None), place }
}

/// Says that the result of the first task lies in a file beside this.
fn file_beside(bytes: u64, files: &[BorrowedFd<'_>]) {
    say(&answer(&Said::Beside));
    send(&answer(&done(Place::File { bytes })), files);
}

/// How many descriptors this process has of memory of that name.
fn open(name: &str) -> usize {
    let target = |entry: fs::DirEntry| fs::read_link(entry.path()).unwrap_or_default();
    let all = fs::read_dir("/proc/self/fd").unwrap().flatten().map(target);
    all.filter(|target| target.to_string_lossy().contains(&format!("memfd:{name}"))).count()
}

fn file(bytes: u64, seals: SealFlags) -> OwnedFd {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let fd = memfd_create(c"a lie", flags).unwrap();
    ftruncate(&fd, bytes).unwrap();
    fcntl_add_seals(&fd, seals).unwrap();
    fd
}

/// Tells one of many lies about where its result is, and waits for its end.
#[outboard::task]
fn lies(number: usize) -> Bytes {
    let all = SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE | SealFlags::SEAL;
    let arena = |offset, bytes| say(&answer(&done(Place::Arena { offset, bytes })));
    let sealed = file(100, all);
    match number {
        0 => arena(HALF - 10, 11),
        1 => arena(u64::MAX, 1),
        2 => arena(0, u64::MAX),
        3 => arena(HALF, HALF),
        4 => file_beside(100, &[]),
        5 => file_beside(101, &[sealed.as_fd()]),
        6 => file_beside(99, &[sealed.as_fd()]),
        7 => file_beside(100, &[file(100, SealFlags::SHRINK).as_fd()]),
        8 => file_beside(1 << 40, &[file(1 << 40, all).as_fd()]),
        9 => file_beside(0, &[File::open("/dev/zero").unwrap().as_fd()]),
        10 => file_beside(100, &[sealed.as_fd(), sealed.as_fd()]),
        11 => say(&answer(&done(Place::File { bytes: 100 }))),
        // Nothing is beside what says nothing of it.
        12 => send(&answer(&done(Place::Arena { offset: 0, bytes: 1 })), &[]),
        13 => send(&[0; 4], &[sealed.as_fd()]),
        // One may be owed.
        14 => send(&[0; 12], &[]),
        _ => panic!("there is no such lie"),
    }
    // The server is to be quicker with its judgement than this with an answer.
    std::thread::sleep(std::time::Duration::from_secs(1000));
    Bytes::new()
}

const LIES: usize = 15;

#[test]
fn a_lie_about_where_a_result_is_ends_its_worker_and_harms_nobody_else() {
    run(async {
        for number in 0..LIES {
            let client = client(1).await;
            let error = client.submit(lies, number).await.unwrap_err();
            let cause = error.worker_loss().unwrap_or_else(|| panic!("{number}: {error}")).cause;
            assert_eq!(cause, Some(Cause::Protocol), "{number}");
            client.submit(pid, ()).await.unwrap();
            client.shutdown().await;
        }
        assert_eq!(open("a lie"), 0, "no descriptor is left");
    });
}

/// How long an idle worker keeps the pages of its payloads.
const WARM: Duration = Duration::from_secs(5);

/// Resident memory that is shared, in bytes.
fn shared_bytes(pid: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("RssShmem:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
}

#[test]
fn an_idle_worker_gives_the_pages_of_its_payloads_back() {
    run(async {
        let client = client(1).await;
        let worker = client.submit(pid, ()).await.unwrap();
        let before = shared_bytes(worker);
        let mut last = Instant::now();
        for bytes in [20 << 20, 20 << 20, 1 << 20] {
            let sent = Bytes::from(vec![7; bytes]);
            last = Instant::now();
            assert!(client.submit(|x: Bytes| x, sent.clone()).await.unwrap() == sent);
        }
        assert!(shared_bytes(worker) > before + (20 << 20));
        eventually("they are given back", || shared_bytes(worker) <= before + (64 << 10)).await;
        assert!(last.elapsed() >= WARM, "they stay for whoever sends a large one now and then");
        let sent = Bytes::from(vec![9; 1 << 20]);
        assert!(client.submit(|x: Bytes| x, sent.clone()).await.unwrap() == sent);
    });
}

#[test]
fn what_waits_in_the_queue_holds_no_descriptor() {
    run(async {
        let client = client(1).await;
        let scratch = Scratch::new();
        let held = client.submit(hold, scratch.path());
        scratch.started(1).await;
        let sent = Bytes::from(vec![7; 66 << 20]);
        let waiting: Vec<_> =
            (0..3).map(|_| client.submit(|x: Bytes| x.len(), sent.clone())).collect();
        // Other tests of this process may have one for a moment.
        eventually("there is none", || open("outboard-payload") == 0).await;
        scratch.release();
        held.await.unwrap();
        assert_eq!(gather(waiting).await.unwrap(), [sent.len(); 3]);
        eventually("none is left", || open("outboard-payload") == 0).await;
    });
}

#[outboard::task]
fn hold_bytes(at: std::path::PathBuf, bytes: Bytes) -> usize {
    hold(at);
    bytes.len()
}

#[test]
fn a_killed_worker_costs_nobody_else_a_large_payload() {
    run(async {
        let client = Client::local().workers(2).spares(1).await.unwrap();
        let sent = Bytes::from(vec![7; 8 << 20]);
        for _ in 0..12 {
            let scratch = Scratch::new();
            let doomed = client.submit(hold_bytes, (scratch.path(), sent.clone()));
            scratch.started(1).await;
            drop(doomed);
            assert!(client.submit(|x: Bytes| x, sent.clone()).await.unwrap() == sent);
        }
    });
}

/// What tasks of one worker have kept.
static KEPT: Mutex<Vec<Bytes>> = Mutex::new(Vec::new());

fn kept() -> MutexGuard<'static, Vec<Bytes>> {
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Of what is kept, so much is given back, by the first byte.
const PIECES: [usize; 4] = [3, 100_000, 1 << 19, 0];

/// Keeps them, and gives a piece of the middle.
#[outboard::task]
fn keep(bytes: Bytes) -> Bytes {
    kept().push(bytes.clone());
    let middle = bytes.len() / 2;
    bytes.slice(middle..middle + PIECES[usize::from(bytes[0])])
}

#[outboard::task]
fn keep_and_fail(bytes: Bytes) -> usize {
    kept().push(bytes);
    panic!("after it was kept")
}

/// Whether all that was kept is still of one number each: which.
#[outboard::task]
fn what_was_kept() -> Vec<Option<u8>> {
    let of_one = |bytes: &Bytes| bytes.iter().all(|byte| *byte == bytes[0]).then(|| bytes[0]);
    kept().iter().map(of_one).collect()
}

#[test]
fn what_a_task_keeps_of_its_arguments_stays_as_it_was() {
    run(async {
        let client = client(1).await;
        let of = |number: u8| Bytes::from(vec![number; (1 << 20) + 5]);
        for (number, piece) in (0..).zip(PIECES) {
            let middle = client.submit(keep, of(number)).await.unwrap();
            assert!(middle == vec![number; piece]);
        }
        assert!(client.submit(keep_and_fail, of(4)).await.unwrap_err().is_panicked());
        let others: Vec<_> = (100..120).map(|it| client.submit(|x: Bytes| x, of(it))).collect();
        for (number, back) in (100..).zip(gather(others).await.unwrap()) {
            assert!(back == of(number));
        }
        let kept = client.submit(what_was_kept, ()).await.unwrap();
        assert_eq!(kept, [0, 1, 2, 3, 4].map(Some));
    });
}

#[test]
fn what_a_task_keeps_of_its_arguments_counts_as_its_memory() {
    run(async {
        let client = Client::local().workers(1).memory_limit(48 << 20).await.unwrap();
        let sent = Bytes::from(vec![1; 60 << 20]);
        let sum = |x: Bytes| x.iter().map(|byte| usize::from(*byte)).sum::<usize>();
        assert_eq!(client.submit(sum, sent.clone()).await.unwrap(), sent.len());
        let error = client.submit(keep, sent).await.unwrap_err();
        assert!(error.is_out_of_memory(), "{error}");
    });
}

#[test]
fn payloads_do_not_count_as_the_workers_own_memory() {
    run(async {
        let client = Client::local().workers(1).recycle_above(72 << 20).await.unwrap();
        let worker = client.submit(pid, ()).await.unwrap();
        let sent = Bytes::from(vec![7; 60 << 20]);
        let echo = |bytes: Bytes| {
            std::thread::sleep(Duration::from_millis(2));
            bytes
        };
        for _ in 0..3 {
            assert!(client.submit(echo, sent.clone()).await.unwrap() == sent);
            assert_eq!(client.submit(pid, ()).await.unwrap(), worker);
        }
    });
}

#[outboard::task]
fn where_it_lies(bytes: Scattered<Bytes>) -> (usize, usize) {
    let address = bytes.as_ptr() as usize;
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    let is_there = |line: &&str| {
        let range = line.split(' ').next().and_then(|range| range.split_once('-'));
        let ends = range.map(|(a, b)| [a, b].map(|at| usize::from_str_radix(at, 16).unwrap()));
        ends.is_some_and(|[start, end]| start <= address && address < end)
    };
    let line = maps.lines().find(is_there).unwrap();
    assert!(line.contains("memfd:") && line.contains(" r--s "), "{line}");
    (address, shared_maps())
}

/// How many payloads this process has mapped.
fn shared_maps() -> usize {
    let maps = fs::read_to_string("/proc/self/maps").unwrap();
    maps.lines().filter(|line| line.contains("memfd:outboard-payload")).count()
}

#[test]
fn scattered_bytes_are_mapped_once_and_forgotten_when_they_are_dropped() {
    run(async {
        let client = client(1).await;
        let scattered = client.scatter(Bytes::from(vec![7; 3 << 20])).await.unwrap();
        let first = client.submit(where_it_lies, scattered.clone()).await.unwrap();
        assert_eq!(first.1, 1);
        assert_eq!(client.submit(where_it_lies, scattered.clone()).await.unwrap(), first);
        drop(scattered);
        let mut maps = 1;
        for _ in 0..1000 {
            maps = client.submit(shared_maps, ()).await.unwrap();
            if maps == 0 {
                break;
            }
        }
        assert_eq!(maps, 0, "the worker has forgotten it");
    });
}
