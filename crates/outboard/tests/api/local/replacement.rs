//! Workers are replaced: after a kill while idle, after a deploy, after a
//! program that cannot start.

use std::fs;
use std::process::Command;

use rustix::process::Signal;

use super::{client, workers};
use crate::support::scratch::Scratch;
use crate::support::server::{Server, binary};
use crate::support::tasks::{hold, pid};
use crate::support::{eventually, run};

#[test]
fn workers_killed_while_idle_are_replaced() {
    run(async {
        for count in [1, 3, 5] {
            let client = client(count).await;
            let before = workers(&client);
            before.iter().for_each(|worker| worker.kill());
            let scratch = Scratch::new();
            let held: Vec<_> = (0..count).map(|_| client.submit(hold, scratch.path())).collect();
            scratch.started(count).await;
            scratch.release();
            for future in held {
                let at = future.await.unwrap();
                assert!(before.iter().all(|worker| worker.pid != at));
            }
        }
    });
}

#[test]
fn a_worker_killed_between_tasks_is_replaced() {
    run(async {
        let client = client(1).await;
        for _ in 0..20 {
            let at = client.submit(pid, ()).await.unwrap();
            for worker in workers(&client).iter().filter(|worker| worker.pid == at) {
                worker.kill();
                worker.ends().await;
            }
            assert_ne!(client.submit(pid, ()).await.unwrap(), at);
        }
        assert_eq!(client.admin().snapshot().failed, 0);
    });
}

#[test]
fn an_idle_worker_that_is_stopped_holds_up_no_task_for_ever() {
    run(async {
        let client = client(1).await;
        let worker = &workers(&client)[0];
        worker.signal(Signal::STOP);
        eventually("it is stopped", || worker.is_stopped()).await;
        let (at, report) = client.submit(pid, ()).with_report().await.unwrap();
        assert_ne!(at, worker.pid);
        assert_eq!(report.attempt, 1, "it had not started there");
    });
}

#[test]
fn a_binary_that_was_touched_is_still_the_same() {
    run(async {
        let place = Scratch::new();
        let copy = place.path().join("server");
        fs::copy(std::env::current_exe().unwrap(), &copy).unwrap();
        let mut server = Server::start_as("replaced", Command::new(&copy));
        let workers = server.processes("workers").await;
        let file = fs::File::open(&copy).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
        workers.iter().for_each(|worker| worker.kill());
        server.scratch.release();
        server.succeeds().await;
    });
}

#[test]
fn a_replacement_keeps_the_number_of_its_predecessor() {
    run(async {
        let client = client(2).await;
        for worker in workers(&client) {
            worker.kill();
            worker.ends().await;
        }
        eventually("both are replaced", || client.admin().snapshot().per_worker.len() == 2).await;
        let numbers: Vec<_> =
            client.admin().snapshot().per_worker.iter().map(|w| w.number).collect();
        assert_eq!(numbers, [1, 2]);
    });
}

#[test]
fn a_deploy_that_replaces_the_binary_does_not_stop_replacements() {
    run(async {
        let directory = Scratch::new();
        let binary = directory.path().join("server");
        // By another process: a worker that starts meanwhile would inherit the
        // descriptor, and a file that is open for writing cannot be executed.
        let own = std::env::current_exe().unwrap();
        assert!(Command::new("cp").arg(own).arg(&binary).status().unwrap().success());
        let mut server = Server::start_as("replaced", Command::new(&binary));
        let worker = &server.processes("workers").await[0];
        fs::remove_file(&binary).unwrap();
        fs::write(&binary, "not a program").unwrap();
        worker.kill();
        server.scratch.release();
        server.succeeds().await;
    });
}

#[test]
fn the_environment_chooses_the_engine() {
    run(async {
        let cases = [
            (None, "local"),
            (Some(""), "local"),
            (Some("inline://?workers=3"), "inline 3"),
            (Some("local://?workers=2"), "local 2"),
            (Some("dusk://host"), "InvalidUrl: invalid URL `dusk://host`: "),
        ];
        for (url, says) in cases {
            let mut command = binary();
            match url {
                Some(url) => command.env("OUTBOARD_URL", url),
                None => command.env_remove("OUTBOARD_URL"),
            };
            let mut server = Server::start_as("from_env", command);
            server.succeeds().await;
            let said = &server.says("client").await[0];
            assert!(said.starts_with(says), "{url:?} gave {said}");
        }
    });
}
