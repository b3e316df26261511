//! Workers that are Python, in a sandbox: it holds from their start, imports and threads included.

use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use outboard::{Client, ErrorKind, LocalBuilder, Sandbox, python};

use super::builder;
use crate::support::run;
use crate::support::scratch::Scratch;

/// A client whose Python has that sandbox, and imports what tries to break out.
fn confined(sandbox: Option<Sandbox>, outside: PathBuf) -> LocalBuilder {
    builder(|python| python.preload("confined")).pool("python", |pool| {
        let pool = pool.env(move |_| [("OUTSIDE", outside.clone())]);
        sandbox.into_iter().fold(pool, LocalBuilder::sandbox)
    })
}

#[test]
fn nothing_is_written_and_nobody_is_reached() {
    run(async {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let tries = python::<(PathBuf, u16), BTreeMap<String, String>>("confined:tries");
        for is_confined in [false, true] {
            let [outside, allowed] = [Scratch::new(), Scratch::new()];
            let sandbox = Sandbox::new().no_network().read_write([allowed.path()]);
            let sandbox = is_confined.then_some(sandbox);
            fs::write(outside.path().join("file"), "secret").unwrap();
            let expected = |name: &str| match (is_confined, name) {
                (false, _) | (_, "read" | "allowed") => "done",
                (_, "tcp" | "owner") => "EPERM",
                _ => "EACCES",
            };
            let client = confined(sandbox, outside.path()).await.unwrap();
            let tried = client.submit(tries, (allowed.path(), port)).await.unwrap();
            assert_eq!(tried.len(), 11);
            for (name, became) in &tried {
                assert_eq!(became, expected(name), "{name}, sandbox: {is_confined}");
            }
            client.shutdown().await;
        }
    });
}

#[test]
fn what_computes_goes_on_to_work() {
    run(async {
        let outside = Scratch::new();
        let sandbox = Sandbox::new().no_network();
        let client = confined(Some(sandbox), outside.path()).await.unwrap();
        let echo = python::<(outboard::Bytes,), outboard::Bytes>("builtins:bytes");
        for size in [10, 1 << 20, 20 << 20] {
            let sent = outboard::Bytes::from(vec![7; size]);
            assert_eq!(client.submit(echo, sent.clone()).await.unwrap(), sent, "{size} bytes");
        }
        let grow = python::<(usize,), usize>("trouble:grow");
        assert_eq!(client.submit(grow, 1).await.unwrap(), 1 << 20);
        let fork = python::<(), i32>("trouble:fork");
        assert_eq!(client.submit(fork, ()).await.unwrap(), 0);
        client.shutdown().await;
    });
}

#[test]
fn rules_that_an_interpreter_cannot_keep_are_refused() {
    run(async {
        for sandbox in [Sandbox::new().no_exec(), Sandbox::new().read_only(["/usr"])] {
            let client: Result<Client, _> =
                confined(Some(sandbox), Scratch::new().path()).await.map_err(|error| {
                    assert_eq!(error.kind(), ErrorKind::Unavailable);
                    error.to_string()
                });
            let error = client.err().unwrap();
            assert!(error.contains("cannot have `no_exec` or `read_only`"), "{error}");
        }
    });
}
