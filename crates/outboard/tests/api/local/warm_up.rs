//! What runs once in each worker before its first task.

use std::path::PathBuf;
use std::process::Command;
use std::sync::Mutex;
use std::time::Duration;

use outboard::{Client, gather};

use crate::support::run;
use crate::support::scratch::{Scratch, note};
use crate::support::server::{Server, binary};
use crate::support::tasks::hold;

/// Says how the start is to go: of a server in a process of its own.
const VARIABLE: &str = "OUTBOARD_TEST_START";

/// What has run in this process, in order.
static RAN: Mutex<Vec<&str>> = Mutex::new(Vec::new());

#[outboard::on_start(order = 1)]
fn a_late_one() {
    RAN.lock().unwrap().push("a_late_one");
}

#[outboard::on_start]
fn then_this() -> Result<(), String> {
    RAN.lock().unwrap().push("then_this");
    match std::env::var(VARIABLE).as_deref() {
        Ok("err") => Err("no such\nmodel".into()),
        Ok("panic") => panic!("the model is broken"),
        Ok("abort") => std::process::abort(),
        Ok("hang") => loop {
            std::thread::park();
        },
        Ok("hungry") => {
            drop(std::hint::black_box(Vec::<u8>::with_capacity(1 << 60)));
            Ok(())
        }
        _ => Ok(()),
    }
}

#[outboard::on_start]
fn by_name() -> Result<(), std::fmt::Error> {
    RAN.lock().unwrap().push("by_name");
    Ok(())
}

#[outboard::on_start(order = -1)]
fn the_first() {
    RAN.lock().unwrap().push("the_first");
    // One that opens no descriptors, which other tests count.
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    // An engine that it uses itself does not wait for what is running.
    let inline = runtime.block_on(Client::connect("inline://?workers=1")).unwrap();
    assert_eq!(runtime.block_on(inline.submit(|| 7_u8, ())).unwrap(), 7);
}

const ORDER: [&str; 4] = ["the_first", "by_name", "then_this", "a_late_one"];

fn ran() -> Vec<String> {
    RAN.lock().unwrap().iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn it_runs_in_order_and_once_in_each_worker() {
    run(async {
        let client = Client::local().workers(2).spares(0).await.unwrap();
        let scratch = Scratch::new();
        let both = |at: PathBuf| (hold(at), ran());
        let held = [(); 2].map(|()| client.submit(both, scratch.path()));
        scratch.started(2).await;
        scratch.release();
        let [(one, first), (other, second)] = gather(held).await.unwrap().try_into().unwrap();
        assert_ne!(one, other);
        assert_eq!(
            (first.as_slice(), second.as_slice()),
            (&ORDER.map(String::from)[..], &first[..])
        );
        for _ in 0..3 {
            assert_eq!(client.submit(ran, ()).await.unwrap(), ORDER);
        }
        let inside = async || {
            let inline = Client::from_env().await.map_err(|error| error.to_string())?;
            inline.submit(ran, ()).await.map_err(|error| error.to_string())
        };
        assert_eq!(client.submit(inside, ()).await.unwrap().unwrap(), ORDER);
    });
}

#[test]
fn on_a_stack_of_its_own_it_runs_there_too() {
    run(async {
        let client = Client::local().workers(1).stack_size(4 << 20).await.unwrap();
        assert_eq!(client.submit(ran, ()).await.unwrap(), ORDER);
    });
}

/// A client of this engine that cannot start; notes what it says.
pub(crate) async fn fails_to_start(at: PathBuf) {
    let error = match std::env::var("OUTBOARD_URL") {
        Ok(url) => Client::connect(&url).await.unwrap_err(),
        Err(_) => {
            let local = Client::local().workers(1).spares(0);
            local.warm_up_timeout(Duration::from_secs(1)).await.unwrap_err()
        }
    };
    assert!(error.is_unavailable(), "{error}");
    note(&at, "error", &error.to_string());
    assert!(crate::support::process::children(std::process::id()).is_empty());
}

/// What a server says whose start goes so.
async fn said(how: &str, url: Option<&str>) -> String {
    let mut command: Command = binary();
    command.env(VARIABLE, how).env_remove("OUTBOARD_URL");
    command.envs(url.map(|url| ("OUTBOARD_URL", url)));
    let mut server = Server::start_as("fails_to_start", command);
    server.succeeds().await;
    server.scratch.notes("error").join("\n")
}

#[test]
fn a_start_that_fails_says_what_failed_and_why() {
    run(async {
        for (how, says) in [
            ("err", "::then_this` failed on start: no such model"),
            ("panic", "::then_this` panicked on start: the model is broken"),
            ("abort", "killed by SIGABRT"),
            ("hungry", "ran out of memory: an allocation of 1152921504606846976 bytes failed"),
            ("hang", "its warm-up did not end in time"),
        ] {
            let text = said(how, None).await;
            assert!(text.contains("3 workers in a row failed at their start"), "{text}");
            assert!(text.contains(says), "{how}: {text}");
        }
    });
}

#[test]
fn on_inline_it_runs_in_the_server() {
    run(async {
        let text = said("err", Some("inline://")).await;
        assert!(text.contains("::then_this` failed on start: no such"), "{text}");
        let client = Client::connect("inline://?workers=2").await.unwrap();
        let other = Client::connect("inline://?workers=2").await.unwrap();
        for client in [&client, &other] {
            assert_eq!(client.submit(ran, ()).await.unwrap(), ORDER, "once in the process");
        }
    });
}
