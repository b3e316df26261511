//! Workers that are Python: what becomes of them when a task is dropped, crashes or takes too
//! much, as it does with those that are Rust.

use std::path::PathBuf;
use std::time::Duration;

use outboard::error::Cause;
use outboard::{Client, ErrorKind, gather, python};
use rustix::process::Signal;

use super::{builder, client, interpreter};
use crate::support::log::note_log;
use crate::support::process::Process;
use crate::support::scratch::Scratch;
use crate::support::server::Server;
use crate::support::tasks::pid as pid_of_rust;
use crate::support::{eventually, run};

type Pid = outboard::PythonFunction<(), u32>;

fn pid() -> Pid {
    python("trouble:pid")
}

fn held() -> outboard::PythonFunction<(PathBuf,), u32> {
    python("trouble:hold")
}

#[test]
fn python_runs_beside_rust_in_processes_of_its_own() {
    run(async {
        let client = client().await;
        let (rust, python) = (client.submit(pid_of_rust, ()), client.submit(pid(), ()));
        let (rust, python) = (rust.await.unwrap(), python.await.unwrap());
        assert!(rust != python && rust != std::process::id() && python != std::process::id());
        assert_eq!(client.submit(pid(), ()).await.unwrap(), python, "it is kept");
        assert_eq!(client.pool("python").submit(pid(), ()).await.unwrap(), python);
        let negate = outboard::python::<(i64,), i64>("operator:neg");
        let many = gather((0..500).map(|n| client.submit(negate, n)));
        assert_eq!(many.await.unwrap(), (0..500).map(|n: i64| -n).collect::<Vec<_>>());
        client.shutdown().await;
    });
}

#[test]
fn a_url_has_the_same_options() {
    run(async {
        let modules = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/api/python/modules");
        let program = interpreter();
        let url = format!(
            "local://?workers=1&spares=0&python={}&python.path={modules}&python.preload=trouble,json\
             &python.workers=2&pool.python.recycle_after_tasks=1",
            program.display(),
        );
        let client = Client::connect(&url).await.unwrap();
        let first = client.submit(pid(), ()).await.unwrap();
        assert_eq!(client.admin().snapshot().workers, 3);
        eventually("its worker is replaced", || Process::find(first).is_none()).await;
        client.shutdown().await;
    });
}

#[test]
fn a_drop_and_a_timeout_kill_the_whole_group() {
    run(async {
        let client = client().await;
        for times_out in [false, true] {
            let scratch = Scratch::new();
            let hold = python::<(PathBuf,), u32>("trouble:hold_with_a_child");
            let limited = client.timeout(Duration::from_secs(if times_out { 2 } else { 3600 }));
            let future = limited.submit(hold, scratch.path());
            scratch.started(1).await;
            let child = scratch.notes("children")[0].parse().unwrap();
            let family = [scratch.pid(), child].map(Process::open);
            match times_out {
                true => assert!(future.await.unwrap_err().is_timed_out()),
                false => drop(future),
            }
            for process in family {
                process.ends().await;
            }
        }
        // Another has its place.
        client.submit(pid(), ()).await.unwrap();
        client.shutdown().await;
    });
}

#[test]
fn a_loop_of_python_is_killed_in_the_middle() {
    run(async {
        let client = client().await;
        let before = client.submit(pid(), ()).await.unwrap();
        let spin = client.submit(python::<(), ()>("trouble:spin"), ());
        eventually("it runs", || client.admin().snapshot().running == 1).await;
        drop(spin);
        assert_ne!(client.submit(pid(), ()).await.unwrap(), before);
        client.shutdown().await;
    });
}

#[test]
fn a_task_that_asks_is_told_that_nobody_waits() {
    run(async {
        let (client, scratch) = (client().await, Scratch::new());
        let listen = python::<(PathBuf,), ()>("trouble:listen");
        let before = client.submit(pid(), ()).await.unwrap();
        let future = client.grace(Duration::from_secs(60)).submit(listen, scratch.path());
        scratch.started(1).await;
        drop(future);
        eventually("it stops", || !scratch.notes("stopped").is_empty()).await;
        assert_eq!(client.submit(pid(), ()).await.unwrap(), before, "it lives");
        client.shutdown().await;
    });
}

#[test]
fn a_crash_costs_one_task_and_is_told_with_what_python_says() {
    run(async {
        let client = client().await;
        let leave = python::<(i32,), ()>("trouble:leave");
        let error = client.submit(leave, 7).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::WorkerLost);
        let lost = error.worker_loss().unwrap();
        assert_eq!(lost.cause, Some(Cause::Exited(7)));
        assert_eq!(lost.stderr, ["about to leave"]);
        assert_eq!(lost.task, "trouble:leave");
        let error = client.submit(python::<(), ()>("trouble:fault"), ()).await.unwrap_err();
        let lost = error.worker_loss().unwrap();
        assert_eq!(lost.cause, Some(Cause::Signal(11)));
        assert!(lost.stderr.iter().any(|line| line.contains("Segmentation fault")), "{lost:?}");
        assert!(lost.stderr.iter().any(|line| line.contains("in fault")), "{lost:?}");
        assert!(error.to_string().ends_with(" in string_at"), "{error}");
        client.submit(pid(), ()).await.unwrap();
        client.shutdown().await;
    });
}

#[test]
fn a_limit_of_memory_is_an_exception_and_one_of_cpu_time_a_loss() {
    run(async {
        let limited = |pool: outboard::LocalBuilder| {
            pool.memory_limit(256 << 20).cpu_limit(Duration::from_secs(1))
        };
        let client = builder(|python| python).pool("python", limited).await.unwrap();
        let grow = python::<(usize,), usize>("trouble:grow");
        assert_eq!(client.submit(grow, 1).await.unwrap(), 1 << 20);
        let error = client.submit(grow, 1_000).await.unwrap_err();
        assert_eq!(error.exception().unwrap().class, "MemoryError", "{error}");
        let error = client.submit(python::<(), ()>("trouble:spin"), ()).await.unwrap_err();
        assert_eq!(error.worker_loss().unwrap().cause, Some(Cause::Signal(24)), "{error}");
        client.shutdown().await;
    });
}

#[test]
fn a_spare_takes_the_place_of_a_worker_that_is_killed() {
    run(async {
        let client =
            builder(|python| python.preload("trouble")).pool("python", |pool| pool.spares(1));
        let client = client.await.unwrap();
        let spare = || {
            let rows = client.admin().snapshot().per_worker;
            rows.iter().find(|row| row.standby).map(|row| row.pid)
        };
        let spare = crate::support::found("a spare stands by", spare).await;
        let scratch = Scratch::new();
        let running = client.submit(held(), scratch.path());
        scratch.started(1).await;
        drop(running);
        assert_eq!(client.submit(pid(), ()).await.unwrap(), spare);
        client.shutdown().await;
    });
}

#[test]
fn progress_is_seen_by_its_caller() {
    run(async {
        let (client, scratch) = (client().await, Scratch::new());
        let task = client.submit(python::<(PathBuf,), u32>("trouble:advance"), scratch.path());
        let mut progress = task.progress();
        let seen = progress.next().await.expect("it runs");
        assert_eq!((seen.done, seen.total, seen.text.as_str()), (3, 10, "reading"));
        scratch.release();
        task.await.unwrap();
        client.shutdown().await;
    });
}

#[test]
fn a_process_that_a_task_forks_does_not_answer() {
    run(async {
        let client = client().await;
        let fork = python::<(), i32>("trouble:fork");
        for _ in 0..3 {
            assert_eq!(client.submit(fork, ()).await.unwrap(), 0);
        }
        assert_eq!(client.admin().snapshot().restarts.all(), 0);
        client.shutdown().await;
    });
}

#[test]
fn requests_to_end_do_not_end_workers() {
    run(async {
        let (client, scratch) = (client().await, Scratch::new());
        let busy = client.submit(held(), scratch.path());
        scratch.started(1).await;
        let worker = Process::open(scratch.pid());
        for signal in [Signal::INT, Signal::TERM, Signal::HUP, Signal::QUIT, Signal::USR1] {
            worker.signal(signal);
        }
        scratch.release();
        assert_eq!(busy.await.unwrap(), scratch.pid());
        client.shutdown().await;
    });
}

#[test]
fn a_report_has_the_times_of_its_task() {
    run(async {
        let client = client().await;
        let sleep = python::<(f64,), ()>("time:sleep");
        let ((), report) = client.submit(sleep, 0.05).with_report().await.unwrap();
        assert!(report.run_time >= Duration::from_millis(50), "{report:?}");
        assert!(report.cpu_time.unwrap() < report.run_time, "{report:?}");
        // Systems tell it in ways of their own, of which that build has none here.
        let known = report.memory_bytes.map_or(cfg!(outboard_portable), |bytes| bytes > 1 << 20);
        assert!(known, "{report:?}");
        client.shutdown().await;
    });
}

/// A server whose workers print, log and wait.
pub(crate) async fn play(at: PathBuf) {
    note_log(at.clone());
    let client = client().await;
    client.submit(python::<(String,), ()>("trouble:say"), "said".to_owned()).await.unwrap();
    client.submit(python::<(String,), ()>("trouble:log"), "logged".to_owned()).await.unwrap();
    let _ = client.submit(held(), at).await;
}

#[test]
fn what_is_printed_and_logged_is_shown_and_a_killed_server_leaves_no_worker() {
    run(async {
        let mut server = Server::start("python");
        server.scratch.started(1).await;
        let worker = Process::open(server.scratch.pid());
        let has = |name: &str, words: &[&str]| {
            let lines = server.scratch.notes(name);
            lines.iter().any(|line| words.iter().all(|word| line.contains(word)))
        };
        eventually("it is printed", || has("stderr", &["[worker ", "] said"])).await;
        eventually("it is logged", || has("log", &["WARN", "logged"])).await;
        server.kill();
        worker.ends().await;
    });
}
