//! 7: when the server dies, no worker outlives it, nor what tasks started.

use rustix::process::Signal;

use crate::support::process::Process;
use crate::support::server::Server;
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
