//! Tasks that fork: the child keeps what it has, and never answers. Servers that fork: the
//! child's client is closed.

use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use outboard::{Bytes, Client};

use super::client;
use crate::support::raw::{exit_at_once, fork, fork_by_system_call, wait_for};
use crate::support::scratch::{Scratch, is_held, note};
use crate::support::server::Server;
use crate::support::tasks::pid;
use crate::support::{found, run, runtime};

/// Leaves a child that looks at its bytes again when it is released.
fn keep_in_a_child(at: PathBuf, bytes: Bytes) -> bool {
    if fork() != 0 {
        return bytes.iter().all(|byte| *byte == 7);
    }
    while is_held(&at) {
        std::thread::sleep(Duration::from_millis(1));
    }
    let changed = bytes.iter().filter(|byte| **byte != 7).count();
    note(&at, "changed", &changed.to_string());
    exit_at_once(0)
}

#[test]
fn bytes_of_a_child_do_not_change() {
    run(async {
        let client = client(1).await;
        for size in [1 << 20, 5 << 20, 70 << 20] {
            let scratch = Scratch::new();
            let bytes = |byte: u8| Bytes::from(vec![byte; size]);
            let kept = client.submit(keep_in_a_child, (scratch.path(), bytes(7))).await;
            assert!(kept.unwrap(), "the parent has them, too");
            for byte in 100..103 {
                let last = client.submit(|bytes: Bytes| bytes[bytes.len() - 1], bytes(byte));
                assert_eq!(last.await.unwrap(), byte);
            }
            scratch.release();
            let changed = found("the child looks", || scratch.notes("changed").pop()).await;
            assert_eq!(changed, "0", "of {size} bytes");
        }
    });
}

#[test]
fn a_child_that_the_c_library_does_not_know_of_has_no_shared_memory() {
    run(async {
        let client = client(1).await;
        let look = |bytes: Bytes| {
            if fork_by_system_call() == 0 {
                exit_at_once(i32::from(bytes[bytes.len() / 2]));
            }
            bytes.len()
        };
        assert_eq!(client.submit(look, vec![7; 2 << 20].into()).await.unwrap(), 2 << 20);
    });
}

/// Forks, and comes back twice: once as the child, in one way or another.
fn come_back(how: u32) -> Result<i32, String> {
    match fork() {
        0 => {
            // What a child asks and says is not the worker's word.
            assert!(!outboard::cancelled());
            tracing::error!("a child has no say");
            match how {
                0 => Err("the child answers".into()),
                1 => panic!("the child answers"),
                _ => Ok(-1),
            }
        }
        child => Ok(wait_for(child)),
    }
}

#[test]
fn a_child_that_comes_back_from_its_task_does_not_answer() {
    run(async {
        let client = client(1).await;
        let worker = client.submit(pid, ()).await.unwrap();
        for (how, code) in [(0, 0), (1, 101), (2, 0)] {
            assert_eq!(client.submit(come_back, how).await.unwrap(), Ok(code));
            for _ in 0..50 {
                assert_eq!(client.submit(pid, ()).await.unwrap(), worker);
            }
        }
        let crash = client.submit(|| -> u8 { std::process::abort() }, ()).await;
        assert!(crash.unwrap_err().is_worker_lost());
    });
}

#[test]
fn a_child_that_the_task_does_not_wait_for_does_not_answer_either() {
    run(async {
        let client = client(1).await;
        let worker = client.submit(pid, ()).await.unwrap();
        let task = || match fork() {
            0 => std::process::id(),
            _ => {
                std::thread::sleep(Duration::from_millis(20));
                std::process::id()
            }
        };
        for _ in 0..20 {
            assert_eq!(client.submit(task, ()).await.unwrap(), worker);
        }
        assert_eq!(client.submit(pid, ()).await.unwrap(), worker);
    });
}

#[test]
fn a_program_below_a_worker_is_not_taken_for_one() {
    run(async {
        let client = client(1).await;
        let start = || {
            // A socket as stdin, as some languages give their children.
            let (_ours, theirs) = UnixStream::pair().unwrap();
            let program = Command::new(std::env::current_exe().unwrap())
                .args(["outboard_test_worker", "--exact"])
                .stdin(Stdio::from(std::os::fd::OwnedFd::from(theirs)))
                .output()
                .unwrap();
            String::from_utf8_lossy(&program.stdout).into_owned()
        };
        let said = client.submit(start, ()).await.unwrap();
        assert!(said.contains("1 passed"), "it ran as a program: {said}");
    });
}

#[test]
fn a_client_in_a_process_that_its_server_forked_is_closed() {
    run(async {
        let mut server = Server::start("forks");
        server.succeeds().await;
        let expected: Vec<_> = ["local", "inline"]
            .into_iter()
            .flat_map(|engine| ["submitted", "pending", "waited"].map(|how| (engine, how)))
            .map(|(engine, how)| format!("{engine} {how}: Some(Closed)"))
            .collect();
        assert_eq!(server.scratch.notes("child"), expected, "{server}");
    });
}

fn wait_to_be_cancelled() {
    while !outboard::cancelled() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// The scenario: clients that are there before a fork, on both sides of it.
pub(crate) fn play(at: &Path) {
    let runtime = runtime();
    for url in ["local://?workers=1&spares=0", "inline://?workers=1"] {
        let client = runtime.block_on(Client::connect(url)).unwrap();
        let engine = client.admin().snapshot().engine;
        assert_eq!(runtime.block_on(client.submit(|n: u64| n + 1, 1)).unwrap(), 2);
        let [pending, waited] = [0; 2].map(|_| client.submit(wait_to_be_cancelled, ()));
        let child = fork();
        if child == 0 {
            let own = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let kind = |result: Result<(), outboard::Error>| result.err().map(|it| it.kind());
            let patient = client.timeout(Duration::from_secs(1));
            let submitted = own.block_on(patient.submit(std::thread::yield_now, ()));
            note(at, "child", &format!("{engine} submitted: {:?}", kind(submitted)));
            note(at, "child", &format!("{engine} pending: {:?}", kind(own.block_on(pending))));
            note(at, "child", &format!("{engine} waited: {:?}", kind(waited.wait())));
            own.block_on(client.shutdown());
            drop((patient, client));
            exit_at_once(0);
        }
        assert_eq!(wait_for(child), 0);
        drop((pending, waited));
        assert_eq!(runtime.block_on(client.submit(|n: u64| n + 1, 2)).unwrap(), 3);
        runtime.block_on(client.shutdown());
    }
}
