//! 7: when the server dies, no worker outlives it, nor what tasks started.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::Command;

use outboard::Client;
use rustix::process::Signal;

use crate::support::process::Process;
use crate::support::raw::{block_all_signals, give_up_root};
use crate::support::scratch::note;
use crate::support::server::Server;
use crate::support::tasks::spin;
use crate::support::{eventually, run};

/// The workers of a server, and a process that a running task has started.
async fn family(server: &Server) -> Vec<Process> {
    let mut all = server.processes("workers").await;
    assert_eq!(all.len(), 2);
    server.scratch.started(1).await;
    all.extend(server.processes("children").await);
    all
}

#[test]
fn a_killed_server_leaves_no_process_behind() {
    run(async {
        let mut server = Server::start("held");
        let family = family(&server).await;
        server.kill();
        for process in family {
            process.ends().await;
        }
    });
}

#[test]
fn workers_that_are_stopped_end_with_their_server() {
    run(async {
        let mut server = Server::start("held");
        let family = family(&server).await;
        for process in &family {
            process.signal(Signal::STOP);
            eventually("it is stopped", || process.is_stopped()).await;
        }
        server.kill();
        for process in family {
            process.ends().await;
        }
    });
}

#[test]
fn a_server_that_ends_well_leaves_no_process_behind() {
    run(async {
        let mut server = Server::start("held");
        let family = family(&server).await;
        server.scratch.release();
        server.succeeds().await;
        for process in family {
            process.ends().await;
        }
    });
}

#[test]
fn a_server_that_is_asked_to_end_leaves_no_process_behind() {
    run(async {
        for signal in [Signal::TERM, Signal::INT, Signal::ABORT] {
            let mut server = Server::start("held");
            let family = family(&server).await;
            server.process().signal(signal);
            assert!(!server.ends().await.success());
            for process in family {
                process.ends().await;
            }
        }
    });
}

#[test]
fn workers_out_of_their_servers_reach_end_with_it() {
    run(async {
        let mut server = Server::start("out_of_reach");
        server.scratch.started(if rustix::process::geteuid().is_root() { 2 } else { 1 }).await;
        let workers = server.processes("starts").await;
        server.kill();
        for worker in workers {
            worker.ends().await;
        }
    });
}

/// The scenario: tasks that compute where the signal at their server's end does not reach
/// them, for it is blocked, or forgotten with the user.
pub(crate) async fn out_of_reach(at: PathBuf) {
    let client = Client::local().workers(2).spares(0).await.unwrap();
    let blocked = |at: PathBuf| {
        block_all_signals();
        spin(at);
    };
    let another_user = |at: PathBuf| {
        give_up_root();
        spin(at);
    };
    // Whoever it becomes may note its start.
    let open = std::fs::Permissions::from_mode(0o777);
    std::fs::set_permissions(&at, open.clone()).unwrap();
    let first = client.submit(blocked, at.clone());
    eventually("it starts", || at.join("starts").exists()).await;
    std::fs::set_permissions(at.join("starts"), open.clone()).unwrap();
    std::fs::File::create(at.join("ticks")).unwrap().set_permissions(open).unwrap();
    if rustix::process::geteuid().is_root() {
        client.submit(another_user, at.clone()).await.unwrap();
    }
    first.await.unwrap();
}

#[test]
fn what_idle_workers_have_left_ends_with_their_server() {
    run(async {
        for killed in [true, false, true, false, true, false] {
            let mut server = Server::start("leaves_a_child");
            let child = server.processes("children").await;
            if killed {
                server.kill();
            } else {
                server.scratch.release();
                server.succeeds().await;
            }
            for process in child {
                process.ends().await;
            }
        }
    });
}

/// The scenario: a task leaves a program, and nobody shuts the client down.
pub(crate) async fn leaves_a_child(at: PathBuf) {
    let client = Client::local().workers(1).spares(0).await.unwrap();
    #[expect(clippy::zombie_processes, reason = "it is to outlive the task")]
    let leave = |at: PathBuf| {
        let child = Command::new("sleep").arg("1000").spawn().unwrap();
        note(&at, "children", &child.id().to_string());
    };
    client.submit(leave, at.clone()).await.unwrap();
    eventually("it is to end", || at.join("released").exists()).await;
}
