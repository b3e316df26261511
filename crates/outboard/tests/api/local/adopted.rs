//! A server that adopts processes, as process 1 of a container does: what tasks leave
//! behind is reaped, and the server's own children are not.

use std::path::PathBuf;
use std::process::Command;

use outboard::Client;
use rustix::process::{getpid, set_child_subreaper};

use crate::support::process::{children, stat};
use crate::support::scratch::Scratch;
use crate::support::server::Server;
use crate::support::tasks::{hold_with_a_child, pid};
use crate::support::{eventually, run};

#[test]
fn adopted_processes_are_reaped_and_no_others() {
    run(async {
        let mut server = Server::start("adopts");
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
    client.shutdown().await;
    eventually("the worker is reaped", || children(std::process::id()).len() == 1).await;
    assert!(own.wait().unwrap().success(), "the server's own child is its own");
}
