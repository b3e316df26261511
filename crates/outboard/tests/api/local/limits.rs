//! What one worker may use: memory, CPU time, stack, files, threads of libraries.

use std::fs::File;
use std::hint::black_box;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use outboard::error::{Cause, Shortage};
use outboard::{Bytes, Client, LocalBuilder};
use rustix::time::{ClockId, clock_gettime};

use crate::support::run;
use crate::support::scratch::{Scratch, note, start};
use crate::support::server::Server;
use crate::support::tasks::{hold, pid};

/// A limit that leaves a worker room, also one of a debug build.
const LIMIT: u64 = 128 << 20;

fn local() -> LocalBuilder {
    Client::local().workers(1).spares(0)
}

/// Fills so much memory.
pub(super) fn fill(bytes: u64) -> u64 {
    let mebibytes = (0..bytes >> 20).map(|_| black_box(vec![1_u8; 1 << 20]));
    mebibytes.collect::<Vec<_>>().len() as u64
}

/// Fills all memory the first so many times.
#[outboard::task(name = "tests::fills_before")]
fn fills_before(at: PathBuf, times: usize) -> usize {
    start(&at);
    let starts = std::fs::read_to_string(at.join("starts")).unwrap().lines().count();
    if starts <= times { fill(4 * LIMIT) as usize } else { starts }
}

#[test]
fn a_task_that_wants_too_much_memory_is_out_of_memory_and_no_other() {
    run(async {
        let client = Client::local().workers(2).memory_limit(LIMIT).await.unwrap();
        let (sibling, hungry) = (Scratch::new(), Scratch::new());
        let held = client.submit(hold, sibling.path());
        sibling.started(1).await;
        let lost = client.submit(fills_before, (hungry.path(), 9));
        let behind: Vec<_> = (0..20).map(|_| client.submit(pid, ())).collect();
        let error = lost.await.unwrap_err();
        assert!(error.is_out_of_memory() && !error.is_worker_lost(), "{error}");
        let lost = error.worker_loss().unwrap();
        assert_eq!(lost.pid, hungry.pid());
        match lost.shortage {
            Some(Shortage::Allocation { bytes }) => {
                assert!(bytes.is_some_and(|bytes| bytes >= 1 << 20), "{lost:?}");
                assert_eq!(lost.cause, Some(Cause::Signal(6)));
            }
            // Where workers have control groups, those may be quicker.
            Some(Shortage::Limit) => assert_eq!(lost.cause, Some(Cause::Signal(9))),
            _ => panic!("{lost:?}"),
        }
        assert!(lost.memory_bytes.is_some_and(|bytes| bytes < 2 * LIMIT), "{lost:?}");
        assert_eq!((lost.task, lost.attempt), ("tests::fills_before", 1));
        assert!(lost.argument_bytes > 0 && lost.run_time.is_some() && lost.cpu_time.is_some());
        assert!(
            error.to_string().contains("ran out of memory in `tests::fills_before`"),
            "{error}"
        );
        outboard::gather(behind).await.unwrap();
        sibling.release();
        assert_eq!(held.await.unwrap(), sibling.pid());
        assert_eq!(client.admin().snapshot().failed, 1);
    });
}

#[test]
fn want_of_memory_is_retried_like_other_crashes() {
    run(async {
        let client = local().memory_limit(LIMIT).await.unwrap();
        let scratch = Scratch::new();
        let future = client.retries(1).submit(fills_before, (scratch.path(), 1));
        let (starts, report) = future.with_report().await.unwrap();
        assert_eq!((starts, report.attempt), (2, 2));
    });
}

#[test]
fn an_allocation_that_no_machine_has_is_out_of_memory_without_a_limit() {
    run(async {
        let client = local().await.unwrap();
        let huge = || black_box(Vec::<u8>::with_capacity(1 << 60)).capacity();
        let error = client.submit(huge, ()).await.unwrap_err();
        assert!(error.is_out_of_memory(), "{error}");
        let shortage = error.worker_loss().unwrap().shortage;
        assert_eq!(shortage, Some(Shortage::Allocation { bytes: Some(1 << 60) }));
    });
}

#[test]
fn an_abort_after_other_words_is_a_lost_worker() {
    run(async {
        let client = local().memory_limit(LIMIT).await.unwrap();
        let abort = || -> u8 {
            eprintln!("memory allocation of 5 bytes failed");
            eprintln!("but it went on");
            std::process::abort()
        };
        let error = client.submit(abort, ()).await.unwrap_err();
        assert!(error.is_worker_lost(), "{error}");
        assert_eq!(error.worker_loss().unwrap().shortage, None);
    });
}

#[test]
fn a_task_that_asks_before_it_takes_lives_on() {
    run(async {
        let client = local().memory_limit(LIMIT).await.unwrap();
        let before = client.submit(pid, ()).await.unwrap();
        let ask = |bytes: u64| Vec::<u8>::new().try_reserve_exact(bytes as usize).is_ok();
        assert!(!client.submit(ask, LIMIT).await.unwrap());
        assert!(client.submit(ask, LIMIT / 2).await.unwrap());
        assert_eq!(client.submit(pid, ()).await.unwrap(), before);
    });
}

#[test]
fn a_report_has_the_memory_before_a_task_and_after_it() {
    run(async {
        let client = local().await.unwrap();
        let hoard = |bytes: usize| {
            Box::leak(vec![1_u8; bytes].into_boxed_slice());
            std::thread::sleep(Duration::from_millis(2));
        };
        let small = 1 << 20;
        for _ in 0..2 {
            let (_, report) = client.submit(hoard, 32 << 20).with_report().await.unwrap();
            let (before, after) = (report.memory_at_start_bytes, report.memory_bytes);
            let (before, after) = (before.unwrap(), after.unwrap());
            assert!(after >= before + (32 << 20) - small, "{before} -> {after}");
            let (_, next) = client.submit(hoard, 1).with_report().await.unwrap();
            assert_eq!(next.memory_at_start_bytes, Some(after));
        }
        let (_, short) = client.submit(|| (), ()).with_report().await.unwrap();
        assert_eq!(short.memory_at_start_bytes.is_some(), short.memory_bytes.is_some());
        let exit = || -> u8 { std::process::exit(1) };
        let error = client.submit(exit, ()).await.unwrap_err();
        assert!(
            error
                .worker_loss()
                .unwrap()
                .memory_at_start_bytes
                .is_some_and(|bytes| bytes > 64 << 20)
        );
    });
}

#[test]
fn a_peak_of_memory_is_that_of_the_task() {
    const TAKEN: usize = 64 << 20;
    run(async {
        let client = local().await.unwrap();
        let take = |bytes: usize| {
            std::hint::black_box(vec![1_u8; bytes]);
            std::thread::sleep(Duration::from_millis(2));
        };
        let peak = async |bytes: usize| {
            let (_, report) = client.submit(take, bytes).with_report().await.unwrap();
            let (peak, after) = (report.peak_memory_bytes.unwrap(), report.memory_bytes.unwrap());
            assert!(peak >= after, "{report:?}");
            (peak - after) as usize
        };
        let (much, little) = (peak(TAKEN).await, peak(1).await);
        assert!(much > TAKEN / 2, "{much} bytes more than at the end");
        assert!(little < TAKEN / 4, "{little} bytes of the task before");
        let figures = &client.admin().snapshot().per_function[0].figures;
        assert!(figures.peak_memory_bytes.is_some_and(|bytes| bytes as usize > TAKEN / 2));
        client.shutdown().await;
    });
}

#[test]
fn a_worker_with_half_of_its_memory_gone_starts_no_other_task() {
    run(async {
        let client = Client::local().workers(1).memory_limit(LIMIT).await.unwrap();
        let hoard = |bytes: usize| {
            Box::leak(vec![1_u8; bytes].into_boxed_slice());
            std::thread::sleep(Duration::from_millis(2));
            std::process::id()
        };
        let first = client.submit(hoard, 1 << 20).await.unwrap();
        assert_eq!(client.submit(pid, ()).await.unwrap(), first);
        assert_eq!(client.submit(hoard, 80 << 20).await.unwrap(), first);
        assert_ne!(client.submit(pid, ()).await.unwrap(), first);
        assert_eq!(client.admin().snapshot().failed, 0);
    });
}

/// Keeps a core busy for so much CPU time.
fn burn(ms: u64) -> u32 {
    let cpu = || {
        let time = clock_gettime(ClockId::ProcessCPUTime);
        Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
    };
    let end = cpu() + Duration::from_millis(ms);
    while cpu() < end {
        (0..10_000_u64).for_each(|n| {
            black_box(n);
        });
    }
    std::process::id()
}

#[test]
fn cpu_time_is_limited_for_each_task_and_not_for_a_workers_life() {
    run(async {
        let client = local().cpu_limit(Duration::from_millis(900)).await.unwrap();
        let first = client.submit(burn, 600).await.unwrap();
        for _ in 0..3 {
            assert_eq!(client.submit(burn, 600).await.unwrap(), first);
        }
        // Whoever sleeps uses none.
        client.submit(std::thread::sleep, Duration::from_millis(2_100)).await.unwrap();
        let error = client.submit(burn, 100_000).await.unwrap_err();
        assert!(error.is_worker_lost(), "{error}");
        let lost = error.worker_loss().unwrap();
        assert_eq!((lost.cause, lost.pid), (Some(Cause::Signal(24)), first));
        assert!(error.to_string().contains("at its limit of CPU time"), "{error}");
        let cpu = lost.cpu_time.unwrap();
        assert!((Duration::from_millis(900)..Duration::from_secs(3)).contains(&cpu), "{cpu:?}");
        assert_ne!(client.submit(burn, 1).await.unwrap(), first);
    });
}

/// Needs so many KiB of stack, whatever the optimiser thinks of it.
fn descend(kib: u64) -> u64 {
    let frame = black_box([kib as u8; 1024]);
    if kib == 0 { 0 } else { descend(kib - 1) + u64::from(frame[kib as usize % 1024] == kib as u8) }
}

#[test]
fn tasks_have_the_stack_that_was_asked_for() {
    run(async {
        let (deep, shallow) = (40 << 10, 1 << 10);
        let plain = local().await.unwrap();
        assert!(plain.submit(descend, deep).await.unwrap_err().is_worker_lost());
        let client = local().stack_size(128 << 20).await.unwrap();
        assert_eq!(client.submit(descend, deep).await.unwrap(), deep);
        let overflow = client.submit(descend, 10 * deep).await.unwrap_err();
        let lost = overflow.worker_loss().unwrap();
        assert!(matches!(lost.cause, Some(Cause::Signal(6 | 11))), "{lost:?}");
        assert!(lost.stderr.join("\n").contains("overflowed its stack"), "{lost:?}");
        // It counts beside the memory, and not as a part of it.
        let both = local().stack_size(2 * LIMIT as usize).memory_limit(LIMIT).await.unwrap();
        assert_eq!(both.submit(descend, deep).await.unwrap(), deep);
        let small = local().stack_size(512 << 10).await.unwrap();
        assert!(small.submit(descend, shallow).await.unwrap_err().is_worker_lost());
    });
}

#[test]
fn a_worker_with_a_stack_of_its_own_stops_and_ends_like_others() {
    run(async {
        let client = local().stack_size(1 << 20).await.unwrap();
        let scratch = Scratch::new();
        let running = client.submit(hold, scratch.path());
        scratch.started(1).await;
        let worker = crate::support::process::Process::open(scratch.pid());
        drop(running);
        worker.ends().await;
        let inside = async || {
            let inner = Client::from_env().await.map_err(|error| error.to_string())?;
            Ok::<_, String>(inner.admin().snapshot().engine.to_owned())
        };
        assert_eq!(client.submit(inside, ()).await.unwrap(), Ok("inline".into()));
        client.shutdown().await;
    });
}

/// Bytes that keep their thread busy, without a system call, when they are dropped: for
/// longer than a worker may sleep that owes an answer.
struct Slow([u8; 4]);

impl AsRef<[u8]> for Slow {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Slow {
    fn drop(&mut self) {
        let start = Instant::now();
        while start.elapsed() < Duration::from_secs(3) {
            black_box(start);
        }
    }
}

#[test]
fn a_worker_with_a_stack_of_its_own_may_be_long_in_answering() {
    run(async {
        let client = local().stack_size(1 << 20).await.unwrap();
        // The result is dropped after the task is done, and before it is answered.
        let slow = || Bytes::from_owner(Slow([1, 2, 3, 4]));
        assert_eq!(client.submit(slow, ()).await.unwrap(), [1, 2, 3, 4][..]);
    });
}

#[test]
fn a_worker_may_have_so_many_files_open() {
    run(async {
        let open_all = || {
            let mut files = Vec::new();
            loop {
                match File::open("/dev/null") {
                    Ok(file) if files.len() < 100_000 => files.push(file),
                    end => break (files.len(), end.err().and_then(|error| error.raw_os_error())),
                }
            }
        };
        let client = local().open_files(50).await.unwrap();
        let before = client.submit(pid, ()).await.unwrap();
        let (opened, error) = client.submit(open_all, ()).await.unwrap();
        assert!((30..50).contains(&opened), "{opened} of 50");
        assert_eq!(error, Some(rustix::io::Errno::MFILE.raw_os_error()));
        assert_eq!(client.submit(pid, ()).await.unwrap(), before, "it is the task's own error");
    });
}

/// What a variable says in the process of the task.
fn variable(name: String) -> Option<String> {
    std::env::var(name).ok()
}

const VARIABLES: [&str; 5] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
];

/// What a client's workers see of the variable that this scenario has set, and of
/// another one.
pub(crate) async fn note_variables(at: PathBuf) {
    let client = local().library_threads(3).await.unwrap();
    for name in ["OMP_NUM_THREADS", "RAYON_NUM_THREADS"] {
        let value = client.submit(variable, name.into()).await.unwrap();
        note(&at, "variables", &value.unwrap_or_default());
    }
    client.shutdown().await;
}

#[test]
fn libraries_are_told_how_many_threads_are_theirs() {
    run(async {
        let unset = VARIABLES.into_iter().filter(|name| std::env::var_os(name).is_none());
        let unset: Vec<_> = unset.collect();
        let cores = std::thread::available_parallelism().unwrap().get();
        for (builder, expected) in [
            (local(), Some(cores)),
            (local().workers(2 * cores), Some(1)),
            (local().library_threads(7), Some(7)),
            (local().library_threads(0), None),
        ] {
            let client = builder.await.unwrap();
            for name in &unset {
                let value = client.submit(variable, (*name).to_owned()).await.unwrap();
                assert_eq!(value, expected.map(|threads| threads.to_string()), "{name}");
            }
        }
    });
}

#[test]
fn what_the_user_told_libraries_stays() {
    run(async {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.env("OMP_NUM_THREADS", "11").env_remove("RAYON_NUM_THREADS");
        let mut server = Server::start_as("note_variables", command);
        server.succeeds().await;
        assert_eq!(server.scratch.notes("variables"), ["11", "3"]);
    });
}

#[test]
#[should_panic(expected = "`memory_limit` must be at least 16MiB, not 1MiB")]
fn too_little_memory_is_refused() {
    let _ = Client::local().memory_limit(1 << 20);
}

#[test]
#[should_panic(expected = "`cpu_limit` must be greater than 0, not 0s")]
fn no_cpu_time_is_refused() {
    let _ = Client::local().cpu_limit(Duration::ZERO);
}
