//! What is missing or wrong is said in one sentence.

use outboard::{Client, Error, ErrorKind, Python, python};

use super::{builder, client};
use crate::support::run;
use crate::support::tasks::double;

/// The one line of an error.
fn line(error: &Error) -> String {
    let line = error.to_string();
    assert_eq!(line.lines().count(), 1, "{line}");
    line
}

#[test]
fn a_client_without_python_says_how_to_have_it() {
    run(async {
        let factorial = python::<(u64,), u64>("math:factorial");
        for url in ["local://?workers=1&spares=0", "inline://?workers=1"] {
            let client = Client::connect(url).await.unwrap();
            let error = client.submit(factorial, 3).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::UnknownTask);
            assert!(line(&error).contains("`local://?python=python3`"), "{error}");
            client.shutdown().await;
        }
        let client = client().await;
        let error = client.pool("python").submit(double, 2).await.unwrap_err();
        assert!(line(&error).contains("the workers of this pool are Python"), "{error}");
        client.shutdown().await;
    });
}

#[test]
fn an_interpreter_that_is_missing_or_none_is_named() {
    run(async {
        let local =
            |program: &str| Client::local().workers(1).spares(0).python(Python::new(program));
        let error = local("python9").await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unavailable);
        assert!(line(&error).contains("the interpreter python9 cannot be had"), "{error}");
        let error = local("/bin/false").await.unwrap_err();
        assert!(line(&error).contains("exited with code 1"), "{error}");
        let url = "local://?workers=1&python=%2Fnowhere%2Fpython";
        let error = Client::connect(url).await.unwrap_err();
        assert!(line(&error).contains("/nowhere/python"), "{error}");
    });
}

#[test]
fn a_failing_import_is_said_with_its_last_line_and_place() {
    run(async {
        for (module, says) in [
            ("no_such_module", &["`import no_such_module` failed", "ModuleNotFoundError"][..]),
            ("wrong_syntax", &["`import wrong_syntax` failed", "SyntaxError", "line 1)"]),
            ("fails_at_import", &["RuntimeError: no such model", "fails_at_import.py:2: load"]),
        ] {
            let error = builder(|python| python.preload(module)).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Unavailable);
            assert!(says.iter().all(|says| line(&error).contains(says)), "{error}");
        }
    });
}

#[test]
fn what_a_call_lacks_is_an_exception_of_one_line() {
    run(async {
        let client = client().await;
        let raised = async |name, class: &str, says: &str| {
            let error = client.submit(python::<(u8,), u8>(name), 1).await.unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Raised, "{error}");
            let exception = error.exception().unwrap();
            assert_eq!(exception.class, class, "{error}");
            assert!(line(&error).contains(says), "{error}");
        };
        raised("no_such_module:f", "ModuleNotFoundError", "No module named").await;
        raised("trouble:no_such", "AttributeError", "no attribute 'no_such'").await;
        raised("wrong_syntax:f", "SyntaxError", "wrong_syntax.py, line 1").await;
        raised("trouble:two", "TypeError", "missing 1 required positional argument").await;
        raised("trouble:logger", "TypeError", "not callable").await;
        raised("sys:exit", "SystemExit", "1").await;
        let lock = client.submit(python::<(), u8>("threading:Lock"), ()).await.unwrap_err();
        assert!(line(&lock).contains("cannot pickle '_thread.lock' object"), "{lock}");
        // It is the same worker all the while.
        assert_eq!(client.submit(python::<(u8,), u8>("builtins:abs"), 1).await.unwrap(), 1);
        assert_eq!(client.admin().snapshot().restarts.all(), 0);
        client.shutdown().await;
    });
}

#[test]
fn a_result_above_the_bound_is_too_large_and_costs_no_worker() {
    run(async {
        let client = builder(|python| python).pool("python", |pool| pool.max_payload(1_000));
        let client = client.await.unwrap();
        let pid = python::<(), u32>("trouble:pid");
        let before = client.submit(pid, ()).await.unwrap();
        let zeros = python::<(usize,), outboard::Bytes>("builtins:bytes");
        let error = client.submit(zeros, 5_000).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::TooLarge, "{error}");
        assert_eq!(client.submit(pid, ()).await.unwrap(), before);
        client.shutdown().await;
    });
}
