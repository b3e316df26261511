//! The start of an engine, and what is left when it is over.

use std::pin::pin;
use std::process::Command;
use std::task::{Context, Poll, Waker};

use outboard::{Client, ErrorKind};

use super::{client, workers};
use crate::support::run;
use crate::support::server::Server;

#[test]
fn outside_a_runtime_a_client_says_what_it_needs() {
    let future = pin!(IntoFuture::into_future(Client::local().workers(1)));
    let Poll::Ready(result) = future.poll(&mut Context::from_waker(Waker::noop())) else {
        panic!("it says so at once")
    };
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unavailable);
    assert!(error.to_string().contains("tokio runtime"), "{error}");
}

#[test]
#[should_panic(
    expected = "`workers` wants a whole number, at least 1, or a range such as `0..=8`, not `0`"
)]
fn no_workers_are_none() {
    let _ = Client::local().workers(0);
}

#[test]
#[should_panic(expected = "`niceness` must be at most 19, not 20")]
fn niceness_has_an_end() {
    let _ = Client::local().niceness(20);
}

#[test]
fn dropping_the_last_handle_ends_the_workers() {
    run(async {
        let client = client(2).await;
        let workers = workers(&client);
        drop(client);
        for worker in workers {
            worker.ends().await;
        }
    });
}

#[test]
fn clients_that_come_and_go_leave_nothing_behind() {
    run(async {
        let mut server = Server::start("come_and_go");
        server.succeeds().await;
    });
}

#[test]
fn a_server_that_does_not_hear_of_its_children_works_all_the_same() {
    run(async {
        // Inherited: the system reaps the workers, and says nothing of their end.
        let mut deaf = Command::new("env");
        deaf.arg("--ignore-signal=CHLD").arg(std::env::current_exe().unwrap());
        let mut server = Server::start_as("deaf", deaf);
        server.succeeds().await;
    });
}
