//! Every way in which a task can take its worker down: that task alone fails,
//! and its error says how.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use outboard::error::{Cause, WorkerLoss};
use outboard::{Client, Error};
use rustix::process::Signal;

use super::{client, workers};
use crate::support::process::Process;
use crate::support::scratch::{Scratch, note, start};
use crate::support::server::Server;
use crate::support::tasks::{hold, hold_with_a_child, pid};
use crate::support::{DEADLINE, eventually, run};

/// One of two workers runs a task that takes it down, and the other one a
/// sibling, with more behind; only that task fails.
async fn crash(crash: impl AsyncFnOnce(&Client) -> Error) -> (Error, WorkerLoss) {
    let client = client(2).await;
    let sibling = Scratch::new();
    let held = client.submit(hold, sibling.path());
    sibling.started(1).await;
    let error = crash(&client).await;
    let behind = client.submit(pid, ());
    sibling.release();
    let (at, report) = held.with_report().await.unwrap();
    assert_eq!((report.attempt, sibling.starts(), at), (1, 1, sibling.pid()));
    let lost = error.worker_loss().unwrap_or_else(|| panic!("{error}")).clone();
    assert_ne!(behind.await.unwrap(), lost.pid);
    assert!((1..=2).contains(&lost.worker), "{lost:?}");
    assert!(lost.memory_bytes.is_some_and(|bytes| bytes > 100_000), "{lost:?}");
    eventually("it is replaced", || client.admin().snapshot().per_worker.len() == 2).await;
    assert_eq!(client.admin().snapshot().failed, 1);
    (error, lost)
}

/// The same, of a function that does it by itself.
async fn crash_in<M, F>(f: F) -> (Error, WorkerLoss)
where
    F: outboard::TaskFunction<M, Args = ()>,
    F::Output: std::fmt::Debug,
{
    crash(async |client: &Client| client.submit(f, ()).await.unwrap_err()).await
}

#[test]
fn an_abort_is_a_lost_worker_with_its_last_words() {
    run(async {
        let (error, lost) = crash_in(|| -> u8 {
            eprintln!("first words");
            eprint!("last words");
            std::process::abort()
        })
        .await;
        assert_eq!(lost.cause, Some(Cause::Signal(6)));
        assert_eq!(lost.stderr, ["first words", "last words"]);
        let text = error.to_string();
        assert!(text.contains("SIGABRT") && text.contains("last words"), "{text}");
        assert!(text.contains(&format!("pid {}", lost.pid)), "{text}");
    });
}

/// Reads where no memory is, without `unsafe`: a box whose address is written
/// over through a file.
pub(super) fn segfault() -> u64 {
    let mut on_the_heap = Box::new(7_u64);
    let address = std::ptr::from_mut(&mut on_the_heap) as u64;
    let memory = File::options().write(true).open("/proc/self/mem").unwrap();
    memory.write_all_at(&8_u64.to_ne_bytes(), address).unwrap();
    *std::hint::black_box(on_the_heap)
}

#[test]
fn a_segfault_is_a_lost_worker() {
    run(async {
        let (error, lost) = crash_in(segfault).await;
        assert_eq!(lost.cause, Some(Cause::Signal(11)));
        assert!(error.to_string().contains("SIGSEGV"), "{error}");
    });
}

/// Recurses without end, whatever the optimiser thinks of it.
fn overflow(depth: u64) -> u64 {
    let frame = std::hint::black_box([depth; 100]);
    if depth == u64::MAX { 0 } else { overflow(depth + 1) + frame[depth as usize % 100] }
}

#[test]
fn a_stack_overflow_is_a_lost_worker() {
    run(async {
        let (_, lost) = crash_in(|| overflow(0)).await;
        assert_eq!(lost.cause, Some(Cause::Signal(6)));
        let stderr = lost.stderr.join("\n");
        assert!(stderr.contains("overflowed its stack"), "{stderr}");
    });
}

#[test]
fn an_exit_is_a_lost_worker_with_its_code() {
    run(async {
        for code in [0, 3] {
            let (error, lost) = crash(async |client: &Client| {
                let exit = |code: i32| -> u8 { std::process::exit(code) };
                client.submit(exit, code).await.unwrap_err()
            })
            .await;
            assert_eq!(lost.cause, Some(Cause::Exited(code)));
            assert!(error.to_string().contains(&format!("exited with code {code}")), "{error}");
        }
    });
}

#[test]
fn a_kill_from_outside_is_a_lost_worker() {
    run(async {
        let scratch = Scratch::new();
        let (error, lost) = crash(async |client: &Client| {
            let running = client.submit(hold, scratch.path());
            scratch.started(1).await;
            Process::open(scratch.pid()).kill();
            running.await.unwrap_err()
        })
        .await;
        assert_eq!((lost.cause, lost.pid), (Some(Cause::Signal(9)), scratch.pid()));
        assert!(lost.stderr.is_empty(), "{lost:?}");
        assert!(error.to_string().contains("SIGKILL"), "{error}");
    });
}

#[test]
fn what_a_task_says_last_is_one_line_of_a_log() {
    run(async {
        let client = client(1).await;
        let panics = || -> u8 { panic!("\x1b[2J line one\nERROR a forged line\u{2028}") };
        let aborts = || -> u8 {
            eprintln!("\x1b]0;a new title\x07\r[worker 9] all is well");
            std::process::abort()
        };
        for error in [client.submit(panics, ()).await, client.submit(aborts, ()).await] {
            let error = error.unwrap_err();
            let mut texts = vec![error.to_string()];
            texts.extend(error.panic().map(ToString::to_string));
            texts.extend(error.worker_loss().map(ToString::to_string));
            assert_eq!(texts.len(), 2);
            for text in texts {
                assert!(!text.contains(|it: char| it.is_control() || it == '\u{2028}'), "{text:?}");
                assert!(text.contains("\\u{1b}"), "{text:?}");
            }
        }
        client.shutdown().await;
    });
}

#[test]
fn a_worker_stopped_for_a_second_is_lost() {
    run(async {
        let scratch = Scratch::new();
        let (error, lost) = crash(async |client: &Client| {
            let running = client.submit(hold, scratch.path());
            scratch.started(1).await;
            Process::open(scratch.pid()).signal(Signal::STOP);
            running.await.unwrap_err()
        })
        .await;
        assert_eq!(lost.cause, Some(Cause::Stopped));
        assert!(error.to_string().contains("a signal stopped it for 1 s"), "{error}");
    });
}

#[test]
fn a_worker_whose_task_ended_its_thread_is_lost() {
    run(async {
        let client = super::client(1).await;
        // The other threads of the process live on.
        let task = || crate::support::raw::call(libc::SYS_exit, [0; 5]).is_ok();
        let error = client.submit(task, ()).await.unwrap_err();
        assert_eq!(error.worker_loss().unwrap().cause, Some(Cause::Protocol), "{error}");
        assert!(client.submit(|| true, ()).await.unwrap());
    });
}

#[test]
fn a_worker_stopped_for_less_than_a_second_lives_on() {
    run(async {
        let client = client(1).await;
        let scratch = Scratch::new();
        let running = client.submit(hold, scratch.path());
        scratch.started(1).await;
        let worker = Process::open(scratch.pid());
        // Together more than a second, each less; the durations are the test.
        for _ in 0..3 {
            worker.signal(Signal::STOP);
            tokio::time::sleep(Duration::from_millis(400)).await;
            worker.signal(Signal::CONT);
            tokio::time::sleep(Duration::from_millis(300)).await;
        }
        scratch.release();
        assert_eq!(running.await.unwrap(), worker.pid);
    });
}

#[test]
fn a_panic_leaves_its_worker_alive() {
    run(async {
        let client = client(1).await;
        let before = client.submit(pid, ()).await.unwrap();
        let divide = |a: u64, b: u64| a / b;
        let error = client.submit(divide, (1, 0)).await.unwrap_err();
        let panic = error.panic().unwrap();
        assert_eq!(panic.message, "attempt to divide by zero");
        assert!(panic.location.contains("crash.rs:"), "{}", panic.location);
        assert!(panic.backtrace.contains("crash"), "{}", panic.backtrace);
        assert_eq!(client.submit(pid, ()).await.unwrap(), before);
    });
}

#[test]
fn stderr_of_earlier_tasks_is_not_put_down_to_a_later_one() {
    run(async {
        let client = client(1).await;
        let exit = |line: String| -> u8 {
            eprintln!("{line}");
            std::process::exit(1)
        };
        let start = Instant::now();
        loop {
            client.submit(|| eprintln!("words of another task"), ()).await.unwrap();
            let error = client.submit(exit, "own words".into()).await.unwrap_err();
            let said = &error.worker_loss().unwrap().stderr;
            assert_eq!(said.last().unwrap(), "own words");
            // A line that is read late, when the next task runs, counts as its own.
            if said.len() == 1 {
                break;
            }
            assert!(start.elapsed() < DEADLINE, "{said:?}");
        }
    });
}

#[test]
fn last_words_are_kept_however_much_came_just_before_them() {
    run(async {
        // In a process of its own, whose output nobody reads.
        let mut server = Server::start("loud");
        server.succeeds().await;
    });
}

/// Takes its worker down, but leaves behind a process that has its stderr.
#[outboard::task]
fn abort_with_a_child(at: PathBuf) {
    let mut sleep = Command::new("sleep");
    sleep.arg("1000").stdin(Stdio::null()).stdout(Stdio::null()).process_group(0);
    note(&at, "children", &sleep.spawn().unwrap().id().to_string());
    start(&at);
    std::process::abort();
}

#[test]
fn a_grandchild_that_holds_stderr_open_does_not_delay_the_error() {
    run(async {
        let scratch = Scratch::new();
        let (_, lost) = crash(async |client: &Client| {
            client.submit(abort_with_a_child, scratch.path()).await.unwrap_err()
        })
        .await;
        assert_eq!(lost.cause, Some(Cause::Signal(6)));
        let grandchild = Process::open(scratch.notes("children")[0].parse().unwrap());
        assert!(!grandchild.has_ended(), "it has a group of its own");
        grandchild.kill();
    });
}

#[test]
fn what_a_task_started_ends_with_it() {
    run(async {
        let client = client(1).await;
        for how in ["drop", "kill"] {
            let scratch = Scratch::new();
            let running = client.submit(hold_with_a_child, scratch.path());
            scratch.started(1).await;
            let child = Process::open(scratch.notes("children")[0].parse().unwrap());
            let worker = Process::open(scratch.pid());
            match how {
                "drop" => drop(running),
                _ => {
                    worker.kill();
                    assert!(running.await.unwrap_err().is_worker_lost());
                }
            }
            child.ends().await;
            worker.ends().await;
        }
    });
}

#[test]
fn a_lost_workers_memory_is_what_it_had() {
    run(async {
        let mut server = Server::start("memory");
        server.succeeds().await;
        assert_eq!(server.says("memory").await.len(), 1);
    });
}

#[test]
fn dropping_a_running_task_ends_its_process_and_no_other() {
    run(async {
        let client = client(2).await;
        let (dropped, kept) = (Scratch::new(), Scratch::new());
        let first = client.submit(crate::support::tasks::spin, dropped.path());
        let second = client.submit(hold, kept.path());
        dropped.started(1).await;
        kept.started(1).await;
        let both = workers(&client);
        drop(first);
        for worker in &both {
            if worker.pid == dropped.pid() {
                worker.ends().await;
                eventually("it is reaped", || worker.is_reaped()).await;
            }
        }
        kept.release();
        assert_eq!(second.await.unwrap(), kept.pid());
    });
}

/// Keeps a core busy for so long, and ends the worker.
#[outboard::task(name = "tests::burn")]
fn burn(ms: u64, _padding: Vec<u8>) -> u8 {
    let start = std::time::Instant::now();
    while start.elapsed() < Duration::from_millis(ms) {
        std::hint::black_box(ms);
    }
    std::process::exit(1)
}

#[test]
fn a_lost_worker_tells_of_the_task_that_it_had() {
    run(async {
        let client = client(1).await;
        let report = async |padding: u8| {
            let args = (30, vec![padding; 100]);
            let error = client.retries(1).submit(burn, args).await.unwrap_err();
            error.worker_loss().unwrap().clone()
        };
        let (lost, same, other) = (report(1).await, report(1).await, report(2).await);
        assert_eq!((lost.task, lost.attempt), ("tests::burn", 2));
        assert!((100..120).contains(&lost.argument_bytes), "{lost:?}");
        assert_eq!(lost.argument_digest, same.argument_digest);
        assert_ne!(lost.argument_digest, other.argument_digest);
        let (run, cpu) = (lost.run_time.unwrap(), lost.cpu_time.unwrap());
        assert!(run >= Duration::from_millis(30), "{run:?}");
        assert!(
            cpu > Duration::ZERO && cpu <= run + Duration::from_millis(20),
            "{cpu:?} of {run:?}"
        );
    });
}
