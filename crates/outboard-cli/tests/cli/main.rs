//! The program as operators run it: the real binary, real terminals, real signals.

use std::process::{Command, Output, Stdio};
use std::time::Duration;

/// `outboard status`, in a terminal and as JSON.
mod status;
/// `outboard worker`.
mod worker;

/// Long enough for anything that works, on a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// The binary.
fn outboard(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_outboard"));
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it to its end: exit code, stdout, stderr.
fn run(args: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } = outboard(args).output().expect("the program starts");
    let text = |bytes| String::from_utf8(bytes).expect("the output is text");
    (status.code(), text(stdout), text(stderr))
}

#[test]
fn arguments_that_make_no_sense_are_said_on_stderr_with_exit_code_2() {
    for (args, says) in [
        (&["frob"][..], "'frob'"),
        (&["status"], "<URL>"),
        (&["status", "ftp://localhost/status", "--json"], "only http:// and https:// URLs"),
        (&["status", "http://localhost:99999/status", "--json"], "not a number up to 65535"),
        (&["status", "http://localhost/status", "--json", "-H", "no colon"], "as Name: value"),
        (
            &["status", "http://localhost/status", "--json", "-H", "a b: c"],
            "not the name of a header",
        ),
        (&["worker"], "<URL> <PROGRAM>"),
        (&["worker", "local://", "true"], "local:// has no cluster to join"),
        (&["worker", "10.0.0.7:8786", "true"], "write it as dask://host:port"),
    ] {
        let (code, stdout, stderr) = run(args);
        assert_eq!((code, stdout.as_str()), (Some(2), ""), "{args:?}: {stderr}");
        assert!(stderr.contains(says), "{args:?}: no {says:?} in {stderr}");
    }
}

#[test]
fn help_and_version_go_to_stdout() {
    let (code, help, stderr) = run(&["--help"]);
    assert_eq!((code, stderr.as_str()), (Some(0), ""));
    assert!(help.contains("status") && help.contains("worker"), "{help}");
    let version = concat!("outboard ", env!("CARGO_PKG_VERSION"), "\n");
    assert_eq!(run(&["--version"]), (Some(0), version.to_owned(), String::new()));
}
