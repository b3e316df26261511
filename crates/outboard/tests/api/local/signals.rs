//! Requests to end that come to workers, and what workers and the programs that tasks
//! start do at signals.

use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Command;

use outboard::Client;
use rustix::process::Signal;

use super::{client, workers};
use crate::support::process::Process;
use crate::support::raw::{fork, pause, wait_for};
use crate::support::run;
use crate::support::scratch::{Scratch, note, start};
use crate::support::server::Server;
use crate::support::tasks::{hold, pid};

const REQUESTS: [Signal; 6] =
    [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];

#[test]
fn requests_to_end_do_not_end_workers() {
    run(async {
        let (client, scratch) = (client(2).await, Scratch::new());
        let busy = client.submit(hold, scratch.path());
        scratch.started(1).await;
        for signal in REQUESTS {
            workers(&client).iter().for_each(|worker| worker.signal(signal));
            // The idle one still answers.
            client.submit(pid, ()).await.unwrap();
        }
        scratch.release();
        assert_eq!(busy.await.unwrap(), scratch.pid());
        assert_eq!(client.admin().snapshot().restarts.all(), 0);
    });
}

#[test]
fn requests_that_come_at_once_do_not_end_workers() {
    run(async {
        let (client, scratch) = (client(2).await, Scratch::new());
        let busy = client.submit(hold, scratch.path());
        scratch.started(1).await;
        // What comes to a process that is stopped is delivered when it goes on, all of it.
        let signals = [Signal::STOP].into_iter().chain(REQUESTS).chain([Signal::CONT]);
        for signal in signals {
            workers(&client).iter().for_each(|worker| worker.signal(signal));
        }
        client.submit(pid, ()).await.unwrap();
        scratch.release();
        assert_eq!(busy.await.unwrap(), scratch.pid());
        assert_eq!(client.admin().snapshot().restarts.all(), 0);
    });
}

#[test]
fn programs_that_tasks_start_have_the_defaults() {
    run(async {
        let client = client(1).await;
        let end_by = |signal: String| {
            let script = format!("kill -{signal} $$; sleep 100");
            Command::new("sh").arg("-c").arg(script).status().unwrap().signal()
        };
        for (name, number) in [("TERM", 15), ("INT", 2), ("HUP", 1), ("QUIT", 3), ("USR1", 10)] {
            assert_eq!(client.submit(end_by, name.into()).await.unwrap(), Some(number));
        }
    });
}

#[test]
fn a_process_that_a_task_forks_ends_when_it_is_asked_to() {
    run(async {
        let (client, scratch) = (client(1).await, Scratch::new());
        let task = |at: PathBuf| match fork() {
            0 => {
                start(&at);
                loop {
                    pause();
                }
            }
            child => wait_for(child),
        };
        let running = client.submit(task, scratch.path());
        scratch.started(1).await;
        Process::open(scratch.pid()).signal(Signal::TERM);
        assert_eq!(running.await.unwrap(), -libc::SIGTERM);
        assert_eq!(client.admin().snapshot().restarts.all(), 0, "and its worker does not");
    });
}

#[test]
fn signals_that_the_server_ignores_are_not_ignored_in_workers() {
    run(async {
        let mut command = Command::new("env");
        command.arg("--ignore-signal=CHLD,TERM,USR1").arg(std::env::current_exe().unwrap());
        let mut server = Server::start_as("ignores_signals", command);
        server.succeeds().await;
        assert_eq!(server.says("status").await, ["Ok(Some(0))", "Ok(Some(-15))"], "{server}");
    });
}

/// The scenario: what becomes of programs in tasks of this server.
pub(crate) async fn play(at: PathBuf) {
    let client = Client::local().workers(1).spares(0).await.unwrap();
    for script in ["true", "kill -TERM $$; sleep 100"] {
        let program = |script: String| {
            let status = Command::new("sh").arg("-c").arg(script).status();
            let code = |signal: i32| -signal;
            status.map(|it| it.code().or(it.signal().map(code))).map_err(|it| it.to_string())
        };
        let status = client.submit(program, script.into()).await.unwrap();
        note(&at, "status", &format!("{status:?}"));
    }
    client.shutdown().await;
}
