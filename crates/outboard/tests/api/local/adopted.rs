//! A server that adopts processes, as process 1 of a container does: what tasks leave
//! behind is reaped, and the server's own children are not.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use outboard::Client;
use rustix::process::{geteuid, getpid, set_child_subreaper};

use crate::support::process::{children, stat};
use crate::support::scratch::Scratch;
use crate::support::server::Server;
use crate::support::tasks::{hold, hold_with_a_child, pid};
use crate::support::{eventually, run};

#[test]
fn adopted_processes_are_reaped_and_no_others() {
    run(async {
        let mut server = Server::start("adopts");
        server.succeeds().await;
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc"]);
        let process_1 = Command::new("unshare").args(["--pid", "true"]).status();
        if !geteuid().is_root() || !process_1.is_ok_and(|status| status.success()) {
            return eprintln!("not tried as process 1: only root can start one");
        }
        command.arg(std::env::current_exe().unwrap());
        let mut server = Server::start_as("adopts", command);
        server.succeeds().await;
    });
}

/// How many children of this process wait to be reaped.
fn zombies() -> usize {
    let own = children(std::process::id()).into_iter();
    own.filter(|pid| stat(*pid).is_some_and(|fields| fields[0] == "Z")).count()
}

/// The scenario.
pub(crate) async fn play(_: PathBuf) {
    set_child_subreaper(Some(getpid())).unwrap();
    let mut own = Command::new("true").spawn().unwrap();
    eventually("the server's own child has ended", || zombies() == 1).await;
    let client = Client::local().workers(1).spares(0).await.unwrap();
    for _ in 0..5 {
        let scratch = Scratch::new();
        let running = client.submit(hold_with_a_child, scratch.path());
        scratch.started(1).await;
        drop(running);
        client.submit(pid, ()).await.unwrap();
    }
    eventually("children of killed tasks are reaped", || zombies() == 1).await;
    // Their shell ends at once, so they are adopted while their worker lives.
    let leave = || Command::new("sh").arg("-c").arg("sleep 0.05 & sleep 0.1 &").status().is_ok();
    let worker = client.submit(pid, ()).await.unwrap();
    for _ in 0..5 {
        assert!(client.submit(leave, ()).await.unwrap());
    }
    eventually("what ends is reaped while its worker lives", || {
        children(std::process::id()).len() == 2 && zombies() == 1
    })
    .await;
    assert_eq!(client.submit(pid, ()).await.unwrap(), worker);
    let started = Client::local().workers(1).spares(0).await.unwrap();
    reaps_what_left_its_group(&started).await;
    started.shutdown().await;
    client.shutdown().await;
    eventually("the worker is reaped", || children(std::process::id()).len() == 1).await;
    assert!(own.wait().unwrap().success(), "the server's own child is its own");
}

/// Daemons: one that has lost its parent while its worker lives, and one whose worker was
/// killed. Both have ended when nobody waits for them. The server has a child of its own
/// that looks the same, and a second client with a worker.
async fn reaps_what_left_its_group(client: &Client) {
    let mut own = daemon("true").spawn().unwrap();
    let (left, killed) = (Scratch::new(), Scratch::new());
    // Its parent ends at once.
    let leave = |at: PathBuf| {
        let mut parent = Command::new("sh");
        parent.args(["-c", "\"$@\" &", "sh"]);
        let daemon = daemon_at(&at);
        assert!(
            parent.arg(daemon.get_program()).args(daemon.get_args()).status().unwrap().success()
        );
        std::process::id()
    };
    let worker = client.submit(leave, left.path()).await.unwrap();
    let running = client.submit(hold_with_a_daemon, killed.path());
    killed.started(1).await;
    // Until they have left its group, they are killed with their worker.
    eventually("both are daemons", || {
        [&left, &killed].iter().all(|at| at.notes("daemon").len() == 1)
    })
    .await;
    drop(running);
    assert_ne!(client.submit(pid, ()).await.unwrap(), worker);
    let daemons = || {
        let all = [&left, &killed].into_iter().flat_map(|at| at.notes("daemon"));
        all.map(|pid| pid.parse().unwrap()).collect::<Vec<u32>>()
    };
    eventually("both are the server's", || {
        let children = children(std::process::id());
        daemons().len() == 2 && daemons().iter().all(|pid| children.contains(pid))
    })
    .await;
    left.release();
    killed.release();
    // It is looked while there is something to do.
    while daemons().iter().any(|pid| stat(*pid).is_some()) {
        client.submit(std::thread::sleep, Duration::from_millis(20)).await.unwrap();
    }
    assert!(own.wait().unwrap().success(), "the server's own child is its own");
}

/// A command in a session of its own, with nothing in its environment.
fn daemon(script: &str) -> Command {
    let mut command = Command::new("env");
    command.args(["-i", "setsid", "sh", "-c", script]);
    command
}

/// A daemon that notes its number, and ends when it is released.
fn daemon_at(at: &Path) -> Command {
    let at = at.display();
    daemon(&format!(
        "echo $$ > {at}/daemon; while [ -d {at} -a ! -e {at}/released ]; do sleep 0.02; done"
    ))
}

/// As `hold`, with a daemon that it has started.
#[outboard::task]
#[expect(clippy::zombie_processes, reason = "it is to outlive the task")]
fn hold_with_a_daemon(at: PathBuf) {
    daemon_at(&at).spawn().unwrap();
    hold(at);
}
