//! What a server lacks is said, with what to do, and costs no worker: descriptors, sizes of
//! files, calls that the system refuses, the right to kill.

use std::fs::{File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use outboard::{Bytes, Client};
use rustix::process::{Resource, Rlimit, Signal, geteuid, setrlimit};

use super::client;
use crate::support::log::note_log;
use crate::support::process::Process;
use crate::support::scratch::{Scratch, note};
use crate::support::server::{Server, binary};
use crate::support::tasks::{hold, same};
use crate::support::{eventually, run};

#[test]
fn a_result_without_a_free_descriptor_says_so_and_costs_no_worker() {
    run(async {
        let mut server = Server::start_as("no_descriptor", with_limit("nofile=256"));
        server.succeeds().await;
    });
}

/// Results that come in files of their own, with and without a descriptor for them.
pub(crate) async fn no_descriptor() {
    // More than lies in shared memory.
    let large =
        |client: &Client| client.submit(|bytes: usize| Bytes::from(vec![7; bytes]), 65 << 20);
    let client = Client::local().workers(1).spares(0).quarantine(1, Duration::from_secs(60));
    let client = client.await.unwrap();
    assert_eq!(large(&client).await.unwrap().len(), 65 << 20);
    let pid = client.admin().snapshot().per_worker[0].pid;
    let open: Vec<_> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
    let errors = [large(&client).await, large(&client).await].map(|result| result.map(drop));
    drop(open);
    for error in errors {
        let error = error.unwrap_err();
        assert!(error.is_unavailable(), "{error}");
        assert!(error.to_string().contains("no free descriptor"), "{error}");
    }
    assert_eq!(large(&client).await.unwrap().len(), 65 << 20);
    assert_eq!(client.admin().snapshot().per_worker[0].pid, pid, "the worker lives");
    client.shutdown().await;
}

#[test]
fn so_many_workers_as_descriptors_are_there_for_are_told_and_come_up() {
    run(async {
        let mut server = Server::start_as("few_descriptors", with_limit("nofile=80"));
        server.succeeds().await;
    });
}

/// As many workers as there is room for, and more.
pub(crate) async fn few_descriptors() {
    let most = |error: outboard::Error| -> usize {
        assert!(error.is_unavailable(), "{error}");
        let text = error.to_string();
        let most = text.split_once("at most ").and_then(|(_, rest)| rest.split_once(" fit"));
        most.unwrap_or_else(|| panic!("no number: {text}")).0.parse().unwrap()
    };
    let fit = most(Client::local().workers(100).spares(1).await.unwrap_err());
    assert!(most(Client::local().workers(fit + 1).spares(1).await.unwrap_err()) == fit);
    let client = Client::local().workers(fit).spares(1).await.unwrap();
    eventually("all are up", || client.admin().snapshot().per_worker.len() == fit + 1).await;
    assert!(most(client.admin().scale(100).unwrap_err()) >= fit);
    client.admin().scale(1).unwrap();
    assert_eq!(client.submit(same, 7).await.unwrap(), 7);
    client.shutdown().await;
}

#[test]
fn a_limit_of_file_sizes_is_an_error_that_names_it() {
    run(async {
        for (scenario, limit) in [("small_files", 64 << 20), ("smaller_files", 140 << 20)] {
            let mut server = Server::start_as(scenario, with_limit(&format!("fsize={limit}")));
            server.succeeds().await;
        }
    });
}

/// Not even the memory that a worker and its server share.
pub(crate) async fn small_files() {
    let error = Client::local().workers(1).await.unwrap_err();
    assert!(error.is_unavailable() && error.to_string().contains("LimitFSIZE"), "{error}");
}

/// That, but no value that is larger.
pub(crate) async fn smaller_files() {
    let client = Client::local().workers(1).await.unwrap();
    let error = client.scatter(vec![1_u8; 160 << 20]).await.unwrap_err();
    assert!(error.to_string().contains("LimitFSIZE"), "{error}");
    assert_eq!(client.submit(same, 7).await.unwrap(), 7);
    client.shutdown().await;
}

#[test]
fn a_program_started_through_the_loader_says_so() {
    let loader = ["/lib64/ld-linux-x86-64.so.2", "/lib/ld-linux-aarch64.so.1"];
    let Some(loader) = loader.into_iter().map(PathBuf::from).find(|file| file.exists()) else {
        return eprintln!("skipped: there is no loader of a known name");
    };
    run(async {
        let mut command = Command::new(loader);
        command.arg(std::env::current_exe().unwrap());
        let mut server = Server::start_as("from_env", command);
        server.succeeds().await;
        let said = &server.says("client").await[0];
        assert!(said.contains("Unavailable") && said.contains("dynamic loader"), "{said}");
    });
}

#[test]
fn a_call_that_the_system_refuses_is_named() {
    if Command::new("python3").args(["-c", "import ctypes"]).status().is_err() {
        return eprintln!("skipped: there is no python3 to install a filter with");
    }
    run(async {
        for (name, number) in
            [("memfd_create", libc::SYS_memfd_create), ("pidfd_open", libc::SYS_pidfd_open)]
        {
            let mut command = Command::new("python3");
            command.args(["-c", REFUSES, &number.to_string(), &libc::EPERM.to_string()]);
            command.arg(std::env::current_exe().unwrap());
            let mut server = Server::start_as("from_env", command);
            server.succeeds().await;
            let said = &server.says("client").await[0];
            assert!(said.contains(name) && said.contains("seccomp"), "{said}");
        }
    });
}

/// Executes a program that the system refuses one call, by its number, with an error.
pub(super) const REFUSES: &str = r"
import ctypes, os, struct, sys
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, int(sys.argv[1])), (6, 0, 0, 0x50000 | int(sys.argv[2])), (6, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b''.join(struct.pack('HBBI', *rule) for rule in rules))
class Program(ctypes.Structure):
    _fields_ = [('length', ctypes.c_ushort), ('code', ctypes.c_void_p)]
program = Program(len(rules), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(program)) == 0
os.execv(sys.argv[3], sys.argv[3:])
";

#[test]
fn a_thread_that_the_system_refuses_is_named() {
    if !geteuid().is_root() {
        return eprintln!("skipped: only root can become somebody else");
    }
    run(async {
        let mut server = Server::start("no_thread");
        server.succeeds().await;
    });
}

/// A user with as many threads as it may have.
pub(crate) async fn no_thread() {
    become_nobody();
    setrlimit(Resource::Nproc, Rlimit { current: Some(1), maximum: Some(1) }).unwrap();
    let error = Client::local().workers(1).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    let text = error.to_string();
    assert!(text.contains("start a thread: ") && text.contains("TasksMax="), "{text}");
}

#[test]
fn memory_that_the_system_refuses_to_map_is_named() {
    run(async {
        let mut command = binary();
        // Else the C library takes room for each thread that allocates.
        command.env("MALLOC_ARENA_MAX", "1");
        let mut server = Server::start_as("no_address_space", command);
        server.succeeds().await;
    });
}

/// Less room than the memory takes that a worker and its server share.
pub(crate) async fn no_address_space() {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let pages: u64 = pages.split_whitespace().next().unwrap().parse().unwrap();
    let current = Some(pages * rustix::param::page_size() as u64 + (64 << 20));
    setrlimit(Resource::As, Rlimit { current, maximum: None }).unwrap();
    let error = Client::local().workers(1).await.unwrap_err();
    assert!(error.is_unavailable(), "{error}");
    let text = error.to_string();
    assert!(text.contains("mmap: ") && text.contains("LimitAS="), "{text}");
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let mounts = Command::new("unshare").args(["--mount", "true"]).status();
    if !geteuid().is_root() || !mounts.is_ok_and(|status| status.success()) {
        return eprintln!("skipped: only root can mount");
    }
    run(async {
        for (place, named) in [("/proc", "/proc/self/exe"), ("/dev", "/dev/null")] {
            let mut command = Command::new("unshare");
            let mounted = format!("mount -t tmpfs none {place} && exec \"$0\" \"$@\"");
            command.args(["--mount", "sh", "-c", &mounted]).arg(std::env::current_exe().unwrap());
            let mut server = Server::start_as("from_env", command);
            server.succeeds().await;
            let said = &server.says("client").await[0];
            assert!(said.contains("Unavailable") && said.contains(named), "{said}");
        }
    });
}

#[test]
fn a_server_that_gave_up_its_rights_still_stops_its_workers() {
    if !geteuid().is_root() {
        return eprintln!("skipped: only root can become somebody else");
    }
    run(async {
        let mut server = Server::start("rights");
        server.succeeds().await;
    });
}

/// Becomes another user when its worker is up, drops a task that runs, and ends.
pub(crate) async fn rights() {
    let (client, scratch) = (client(1).await, Scratch::new());
    become_nobody();
    let running = client.submit(spin, scratch.path());
    scratch.started(1).await;
    let worker = Process::open(scratch.pid());
    drop(running);
    worker.ends().await;
    assert_eq!(client.submit(same, 7).await.unwrap(), 7);
    client.shutdown().await;
    assert!(client.admin().snapshot().per_worker.is_empty());
}

#[test]
fn a_worker_that_cannot_be_ended_is_left_and_told() {
    if !geteuid().is_root() {
        return eprintln!("skipped: only root can become somebody else");
    }
    run(async {
        let mut server = Server::start("left");
        let left = &server.processes("left").await[0];
        assert!(!left.has_ended());
        left.kill();
        server.succeeds().await;
        let log = server.scratch.notes("log");
        let said = log.iter().filter(|line| line.contains("did not end although it was killed"));
        assert_eq!(said.count(), 1, "{log:?}");
    });
}

/// As `rights`, with a worker that a signal holds, so that it cannot end itself either.
pub(crate) async fn left(at: PathBuf) {
    let (client, scratch) = (client(1).await, Scratch::new());
    let running = client.submit(hold, scratch.path());
    scratch.started(1).await;
    let worker = Process::open(scratch.pid());
    worker.signal(Signal::STOP);
    eventually("it is stopped", || worker.is_stopped()).await;
    // Whoever it becomes has to tell the test.
    note_log(at.clone());
    note(&at, "log", "begins");
    std::fs::set_permissions(at.join("log"), Permissions::from_mode(0o666)).unwrap();
    std::fs::set_permissions(&at, Permissions::from_mode(0o777)).unwrap();
    become_nobody();
    client.shutdown().await;
    drop(running);
    let left: Vec<_> = client.admin().snapshot().per_worker.iter().map(|it| it.pid).collect();
    assert_eq!(left, [worker.pid]);
    note(&at, "left", &worker.pid.to_string());
    worker.ends().await;
    eventually("it is gone", || client.admin().snapshot().per_worker.is_empty()).await;
}

/// Computes until its server ends; nothing but that or a kill stops it.
#[outboard::task]
fn spin(at: PathBuf) {
    crate::support::scratch::start(&at);
    while crate::support::scratch::is_held(&at) {
        std::hint::spin_loop();
    }
}

#[expect(unsafe_code, reason = "the system call is of all threads at once")]
fn become_nobody() {
    const NOBODY: u32 = 65534;
    // SAFETY: both calls take an integer.
    let became = unsafe { [libc::setgid(NOBODY), libc::setuid(NOBODY)] };
    assert_eq!(became, [0, 0]);
}

/// This binary, with one of its limits set.
fn with_limit(limit: &str) -> Command {
    let mut command = Command::new("prlimit");
    command.arg(format!("--{limit}")).arg(std::env::current_exe().unwrap());
    command
}
