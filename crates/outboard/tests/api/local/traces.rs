//! What a task changes of its process, the next one does not find; and a worker whose
//! thread goes on computing is replaced.

use std::path::PathBuf;

use outboard::Client;
use outboard::admin::{EventKind, RecycleReason, Watch};
use rustix::fs::fstat;
use rustix::process::{
    Resource, Rlimit, geteuid, getpriority_process, getrlimit, setpriority_process, setrlimit,
    umask,
};
use rustix::stdio::{dup2_stderr, dup2_stdout, stderr, stdout};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use serde::{Deserialize, Serialize};

use super::client;
use crate::support::raw;
use crate::support::scratch::{Scratch, is_held};
use crate::support::tasks::pid;
use crate::support::{eventually, run};

/// What a task finds.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Found {
    worker: u32,
    alarm: u32,
    profiled: bool,
    umask: u32,
    directory: PathBuf,
    variables: [Option<String>; 3],
    files: Option<u64>,
    blocks: bool,
    ignores: [bool; 3],
    cpus: u32,
    niceness: i32,
    /// The inodes of stdout and stderr.
    outputs: [u64; 2],
}

const IGNORED: [i32; 3] = [libc::SIGUSR1, libc::SIGCHLD, libc::SIGTERM];

fn look() -> Found {
    let variable = |name| std::env::var(name).ok();
    let mask = umask(rustix::fs::Mode::empty());
    umask(mask);
    Found {
        worker: std::process::id(),
        alarm: raw::alarm(0),
        profiled: raw::profile(0),
        umask: mask.bits(),
        directory: std::env::current_dir().unwrap(),
        variables: ["OUTBOARD_TEST_NEW", "PATH", "HOME"].map(variable),
        files: getrlimit(Resource::Nofile).current,
        blocks: raw::blocks_signals(),
        ignores: IGNORED.map(raw::ignores),
        cpus: sched_getaffinity(None).unwrap().count(),
        niceness: getpriority_process(None).unwrap(),
        outputs: [fstat(stdout()), fstat(stderr())].map(|stat| stat.map_or(0, |it| it.st_ino)),
    }
}

fn change() {
    raw::alarm(1_000);
    raw::profile(1_000);
    umask(rustix::fs::Mode::RWXU);
    std::env::set_current_dir("/proc").unwrap();
    raw::set_variable("OUTBOARD_TEST_NEW", "left");
    raw::set_variable("PATH", "/nowhere");
    raw::remove_variable("HOME");
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: Some(100), ..files }).unwrap();
    raw::block_all_signals();
    let _ = IGNORED.map(raw::ignore);
    let mut one = CpuSet::new();
    let all = sched_getaffinity(None).unwrap();
    one.set((0..CpuSet::MAX_CPU).find(|cpu| all.is_set(*cpu)).unwrap());
    sched_setaffinity(None, &one).unwrap();
    // Others may not raise their priority again, and are replaced.
    if geteuid().is_root() {
        setpriority_process(None, 19).unwrap();
    }
    let elsewhere = std::fs::File::open("/dev/zero").unwrap();
    dup2_stdout(&elsewhere).unwrap();
    dup2_stderr(&elsewhere).unwrap();
}

#[test]
fn the_next_task_finds_the_process_as_it_was() {
    run(async {
        let client = client(1).await;
        let before = client.submit(look, ()).await.unwrap();
        for _ in 0..20 {
            client.submit(change, ()).await.unwrap();
            assert_eq!(client.submit(look, ()).await.unwrap(), before);
        }
        assert_eq!(before.alarm, 0);
        assert!(before.variables[0].is_none() && before.variables[1].is_some(), "{before:?}");
    });
}

#[test]
fn what_is_cheap_to_undo_is_undone_between_tasks_that_are_sent_ahead() {
    run(async {
        let client = client(1).await;
        let before = client.submit(look, ()).await.unwrap();
        let tasks: Vec<_> =
            (0..30).map(|_| (client.submit(change, ()), client.submit(look, ()))).collect();
        for (changed, looked) in tasks {
            changed.await.unwrap();
            let Found { worker, alarm, umask, directory, variables, blocks, .. } =
                looked.await.unwrap();
            let found = (worker, alarm, umask, directory, variables, blocks);
            let Found { worker, alarm, umask, directory, variables, blocks, .. } = &before;
            let expected = (*worker, *alarm, *umask, directory.clone(), variables.clone(), *blocks);
            assert_eq!(found, expected);
        }
    });
}

/// Follows what happens until a worker wears, and gives why.
async fn worn(watch: &mut Watch) -> RecycleReason {
    loop {
        let batch = watch.next().await.expect("the engine lives");
        let why = batch.iter().find_map(|event| match event.kind {
            EventKind::WorkerWorn { why, .. } => Some(why),
            _ => None,
        });
        if let Some(why) = why {
            return why;
        }
    }
}

#[test]
fn a_worker_is_replaced_whose_process_a_task_has_changed_where_that_is_asked_for() {
    run(async {
        let client = Client::local().workers(1).spares(0).recycle_changed(true).await.unwrap();
        let mut watch = client.admin().watch();
        let before = client.submit(pid, ()).await.unwrap();
        assert_eq!(client.submit(pid, ()).await.unwrap(), before);
        client.submit(change, ()).await.unwrap();
        assert_eq!(worn(&mut watch).await, RecycleReason::Changed);
        eventually("another one serves", || {
            let workers = client.admin().snapshot().per_worker;
            workers.iter().all(|worker| worker.pid != before)
        })
        .await;
    });
}

#[test]
fn a_worker_that_is_another_user_now_is_replaced() {
    if !rustix::process::geteuid().is_root() {
        return println!("only root can become another user: not tried");
    }
    run(async {
        let client = client(1).await;
        let mut watch = client.admin().watch();
        client.submit(raw::give_up_root, ()).await.unwrap();
        assert_eq!(worn(&mut watch).await, RecycleReason::Changed);
        let user = || rustix::process::geteuid().as_raw();
        eventually("it has left", || client.admin().snapshot().restarts.recycled == 1).await;
        assert_eq!(client.submit(user, ()).await.unwrap(), 0);
    });
}

/// Leaves a thread that computes until it is released.
fn leave_a_thread(at: PathBuf) -> u32 {
    std::thread::spawn(move || {
        while is_held(&at) {
            (0..100_000).for_each(|n| {
                std::hint::black_box(n);
            });
        }
    });
    std::process::id()
}

#[test]
fn an_idle_worker_that_computes_is_replaced() {
    run(async {
        let (client, scratch) = (client(1).await, Scratch::new());
        let mut watch = client.admin().watch();
        let before = client.submit(leave_a_thread, scratch.path()).await.unwrap();
        assert_eq!(worn(&mut watch).await, RecycleReason::Computing);
        eventually("it has left", || client.admin().snapshot().restarts.recycled == 1).await;
        assert_ne!(client.submit(pid, ()).await.unwrap(), before);
    });
}

#[test]
fn payload_memory_is_left_out_of_dumps_and_forks() {
    run(async {
        let client = client(1).await;
        let flags = || {
            let maps = std::fs::read_to_string("/proc/self/smaps").unwrap();
            let arena = maps.split_once("outboard-arena").expect("it is mapped").1;
            let flags = arena.lines().find_map(|line| line.strip_prefix("VmFlags:"));
            flags.unwrap().split_ascii_whitespace().map(str::to_owned).collect::<Vec<_>>()
        };
        let has = |flags: &[String], flag: &str| flags.iter().any(|one| one == flag);
        let worker = client.submit(flags, ()).await.unwrap();
        assert!(has(&worker, "dd") && has(&worker, "dc"), "{worker:?}");
        assert!(has(&flags(), "dd"), "a server's dump is small, too");
    });
}
