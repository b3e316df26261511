use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::ExitStatusExt;

use rustix::process::{Pid, Signal, kill_process};

use crate::{outboard, run};

const URL: &str = "dask://127.0.0.1:8786?workers=2";

#[test]
fn the_program_is_told_of_the_cluster_and_ends_the_command_with_its_code() {
    let script = "echo $OUTBOARD_WORKER; echo \"$*\"; exit 7";
    let (code, stdout, stderr) = run(&["worker", URL, "sh", "-c", script, "sh", "--json", "-h"]);
    assert_eq!((code, stderr.as_str()), (Some(7), ""));
    assert_eq!(stdout, format!("{URL}\n--json -h\n"), "its options are its own");
    for url in ["tcp://127.0.0.1:1", "tls://127.0.0.1:1"] {
        assert_eq!(run(&["worker", url, "true"]).0, Some(0), "{url}");
    }
}

#[test]
fn pools_are_options_of_the_url() {
    let told =
        |args: &[&str]| run(&[&["worker"], args, &["sh", "-c", "echo $OUTBOARD_WORKER"]].concat());
    let (code, stdout, _) = told(&["--pool", "gpu", "--pool", "b=0..=4", "dask://127.0.0.1:8786"]);
    let url = "dask://127.0.0.1:8786?pool.gpu.workers=1&pool.b.workers=0..=4\n";
    assert_eq!((code, stdout.as_str()), (Some(0), url));
    let (_, stdout, _) = told(&["--pool=gpu=2", URL]);
    assert_eq!(stdout, format!("{URL}&pool.gpu.workers=2\n"));
    for wrong in ["", "=2", "gpu&workers=1", "a.b"] {
        let (code, _, stderr) = told(&["--pool", wrong, URL]);
        assert!(code == Some(2) && stderr.contains("`gpu=0..=4`"), "{wrong}: {stderr}");
    }
}

#[test]
fn the_program_takes_the_process_over_so_that_signals_reach_it() {
    let mut command = outboard(&["worker", URL, "sh", "-c", "echo $$; exec cat"]);
    // It ends when the test does.
    let mut child = command.stdin(std::process::Stdio::piped()).spawn().expect("it starts");
    let mut pid = String::new();
    let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
    stdout.read_line(&mut pid).expect("it is text");
    assert_eq!(pid.trim(), child.id().to_string());
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).expect("it has a pid");
    kill_process(pid, Signal::TERM).expect("it is there");
    assert_eq!(child.wait().expect("it is ours").signal(), Some(Signal::TERM.as_raw()));
}

#[test]
fn without_a_program_it_says_what_to_type() {
    let (code, stdout, stderr) = run(&["worker", URL]);
    assert_eq!((code, stdout.as_str()), (Some(2), ""));
    assert!(stderr.contains("<PROGRAM>") && stderr.contains("outboard worker <URL>"), "{stderr}");
}

#[test]
fn a_program_that_cannot_be_started_is_said_with_a_shells_exit_code() {
    let (code, stdout, stderr) = run(&["worker", URL, "./no-such-server"]);
    assert_eq!((code, stdout.as_str(), stderr.lines().count()), (Some(127), "", 1), "{stderr}");
    assert!(stderr.contains("./no-such-server: no such program"), "{stderr}");

    let file = std::env::temp_dir().join(format!("outboard-no-program-{}", std::process::id()));
    fs::write(&file, "no program").expect("it is writable");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("it is ours");
    let (code, _, stderr) = run(&["worker", URL, file.to_str().expect("it is text")]);
    fs::remove_file(&file).expect("it is there");
    assert_eq!((code, stderr.lines().count()), (Some(126), 1), "{stderr}");
    assert!(stderr.contains("cannot start ") && stderr.contains("ermission denied"), "{stderr}");
}
