//! Users' own crates, outside this workspace, built and tested as users do:
//! see `tests/outside/` at the root of the repository.

use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Output};

use crate::support::scratch::Scratch;

/// The directory of one of the crates.
fn directory(krate: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/outside").join(krate)
}

/// Where all of them are built.
fn target() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("outside")
}

/// Gives a crate the versions that this workspace is locked to, so that nothing
/// has to be fetched; in one step, as other tests may do the same.
fn lock(krate: &str) {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../Cargo.lock");
    let theirs = directory(krate).join("Cargo.lock");
    let modified = |path: &Path| std::fs::metadata(path).and_then(|data| data.modified()).ok();
    if modified(&theirs) < modified(&ours) {
        let copy = theirs.with_extension(format!("lock.{}", std::process::id()));
        std::fs::copy(ours, &copy).unwrap();
        std::fs::rename(copy, theirs).unwrap();
    }
}

/// Runs cargo in a crate, without what this test's own cargo has set.
fn cargo(krate: &str, args: &[&str]) -> Output {
    lock(krate);
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let mut command = Command::new(cargo);
    for (name, _) in std::env::vars() {
        let ours = ["CARGO_", "NEXTEST", "RUST_TEST_", "OUTBOARD_"];
        if ours.iter().any(|prefix| name.starts_with(prefix)) && name != "CARGO_HOME" {
            command.env_remove(name);
        }
    }
    let settings = [("CARGO_PROFILE_DEV_DEBUG", "0"), ("CARGO_INCREMENTAL", "0")];
    command.args(args).current_dir(directory(krate)).env("CARGO_TARGET_DIR", target());
    command.env("CARGO_NET_OFFLINE", "true").env("CARGO_TERM_COLOR", "never").envs(settings);
    command.output().unwrap()
}

/// As `cargo`, which must succeed; gives what it wrote.
fn succeed(krate: &str, args: &[&str]) -> String {
    let output = cargo(krate, args);
    let text = [output.stdout, output.stderr].map(|bytes| text(&bytes)).join("\n");
    assert!(output.status.success(), "cargo {args:?} in {krate}: {}\n{text}", output.status);
    text
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// A program of a crate, built.
pub(crate) fn program(krate: &str, name: &str) -> Command {
    succeed(krate, &["build"]);
    Command::new(target().join("debug").join(name))
}

/// What a program did, and where it noted its starts.
struct Ran {
    scratch: Scratch,
    status: ExitStatus,
    stdout: String,
    stderr: String,
}

/// Runs a program of a crate to its end.
fn run(krate: &str, name: &str) -> Ran {
    run_with(krate, name, &[])
}

fn run_with(krate: &str, name: &str, variables: &[(&str, &str)]) -> Ran {
    let mut command = program(krate, name);
    command.envs(variables.iter().copied());
    run_command(command)
}

fn run_command(mut command: Command) -> Ran {
    let scratch = Scratch::new();
    command.env("NOTES", scratch.path());
    let output = command.output().unwrap();
    let (stdout, stderr) = (text(&output.stdout), text(&output.stderr));
    Ran { scratch, status: output.status, stdout, stderr }
}

impl Ran {
    /// It failed, with a text, and started so few processes.
    fn failed(&self, says: &str, starts: std::ops::RangeInclusive<usize>) {
        assert_eq!(self.status.code(), Some(1), "{}", self.stderr);
        assert!(self.stderr.contains(says), "{}", self.stderr);
        assert!(starts.contains(&self.scratch.starts()), "{} processes", self.scratch.starts());
    }
}

#[test]
fn a_users_tests_use_worker_processes_under_cargo_test() {
    let text = succeed("user", &["test"]);
    assert_eq!(text.matches("test result: ok. 4 passed; 0 failed").count(), 2, "{text}");
}

#[test]
fn a_users_tests_use_worker_processes_under_nextest() {
    let there = cargo("user", &["nextest", "--version"]).status.success();
    assert!(there, "cargo-nextest is missing: run script/bootstrap");
    let text = succeed("user", &["nextest", "run"]);
    assert!(text.contains("8 tests run: 8 passed"), "{text}");
}

#[test]
fn the_library_may_have_another_name_and_come_through_another_crate() {
    let text = succeed("names", &["test"]);
    for passed in ["2 passed", "3 passed"] {
        assert!(text.contains(&format!("test result: ok. {passed}; 0 failed")), "{text}");
    }
}

/// Makes an older version of the library: this one with another number, changed
/// where a release changes it.
fn make_older() {
    let workspace = read("Cargo.toml");
    let rest = workspace.find("[workspace.package]").expect("the members come before it");
    let members = "[workspace]\nresolver = \"3\"\nmembers = [\"crates/*\"]\n";
    write_older("Cargo.toml", &format!("{members}{}", &workspace[rest..]));
    for krate in ["crates/outboard", "crates/outboard-macros"] {
        let manifest = format!("{krate}/Cargo.toml");
        // Its tests do not come along.
        let text = read(&manifest).replace("\"api\"", "\"api\"\npath = \"src/lib.rs\"");
        // Cargo would look for its number in the workspace of the newer version.
        let version = format!("\nversion = \"{}\"\n", env!("CARGO_PKG_VERSION"));
        write_older(&manifest, &text.replace("\nversion.workspace = true\n", &version));
        let mut directories = vec![format!("{krate}/src")];
        while let Some(directory) = directories.pop() {
            for entry in std::fs::read_dir(root().join(&directory)).unwrap() {
                let path = format!("{directory}/{}", entry.unwrap().file_name().display());
                match root().join(&path).is_dir() {
                    true => directories.push(path),
                    false => write_older(&path, &read(&path)),
                }
            }
        }
    }
}

/// Writes a file of the older version, unless it is there: what is new is built anew.
fn write_older(file: &str, text: &str) {
    let (ours, theirs) = (env!("CARGO_PKG_VERSION"), "0.0.1");
    let section = |version: &str| format!("OUTBOARD_{}_", version.replace(['.', '-'], "_"));
    let text = text.replace(&format!("{ours}\""), &format!("{theirs}\""));
    let text = text.replace(&section(ours), &section(theirs));
    let path = directory("two_versions").join("target/older").join(file);
    if std::fs::read_to_string(&path).ok().as_ref() != Some(&text) {
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn read(file: &str) -> String {
    std::fs::read_to_string(root().join(file)).unwrap()
}

#[test]
fn two_versions_in_one_program_leave_each_other_alone() {
    make_older();
    let ran = run("two_versions", "two_versions");
    assert!(ran.status.success(), "{}\n{}", ran.stdout, ran.stderr);
    assert_eq!(ran.stdout, "false false\n1 10\n");
}

#[test]
fn a_program_that_forgets_init_gets_an_error_and_starts_nothing() {
    run("programs", "forgets_init").failed("`outboard::init()` did not run in this process", 1..=1);
}

#[test]
fn a_program_that_forgets_init_in_its_workers_is_no_fork_bomb() {
    let ran = run("programs", "forgets_init_in_workers");
    ran.failed("workers in a row failed at their start", 2..=8);
    assert!(
        ran.stderr.contains("was started as a worker, but its `main` reached `Client::local()`"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_program_whose_workers_never_come_to_init_gets_an_error() {
    let ran = run("programs", "late_init");
    ran.failed("workers in a row failed at their start", 2..=8);
}

#[test]
fn a_program_whose_workers_print_their_usage_is_told_where_init_belongs() {
    let mut command = program("programs", "usage");
    command.arg("8080");
    let ran = run_command(command);
    ran.failed("it never reached `outboard::init()`: call that first in `main`", 2..=8);
    assert!(ran.stderr.contains("exited with code 2"), "{}", ran.stderr);
    assert!(ran.stderr.contains("usage: usage PORT"), "{}", ran.stderr);
}

#[test]
fn workers_of_another_build_are_an_error_that_is_logged_once() {
    let ran = run("programs", "launcher");
    assert!(ran.status.success(), "{}\n{}", ran.stdout, ran.stderr);
    let says = "killed by us: it is another build of this program; restart the server";
    assert!(ran.stdout.contains(says), "{}", ran.stdout);
    let logged: Vec<_> = ran.stderr.lines().filter(|line| line.contains("ERROR")).collect();
    assert_eq!(logged.len(), 1, "{}", ran.stderr);
    assert!(logged[0].contains("workers failed at their start"), "{}", ran.stderr);
    assert!(logged[0].contains(says), "{}", ran.stderr);
}

#[test]
fn a_program_that_calls_init_in_a_runtime_is_told_so() {
    let ran = run("programs", "init_in_runtime");
    assert_eq!(ran.status.code(), Some(101));
    assert!(ran.stderr.contains("outboard::init() must come before any runtime"), "{}", ran.stderr);
}

#[test]
fn two_tasks_of_one_name_are_refused_at_start_with_the_name() {
    let ran = run("programs", "same_name");
    assert_eq!(ran.status.code(), Some(101));
    assert!(ran.stderr.contains("two task functions are named `images::resize`"), "{}", ran.stderr);
    let places = "at src/bin/same_name.rs:3:1 and at src/bin/same_name.rs:9:5";
    assert!(ran.stderr.contains(places), "{}", ran.stderr);
    assert_eq!(ran.stdout, "");
}

#[test]
fn both_streams_of_a_worker_are_passed_through_with_its_number() {
    let ran = run("programs", "output");
    assert!(ran.status.success(), "{}", ran.stderr);
    let own: Vec<_> = ran.stdout.lines().collect();
    assert_eq!(own, ["[worker 1] to stdout", "[worker 1] no end of line", "the server's own"]);
    assert_eq!(
        ran.stderr.lines().collect::<Vec<_>>(),
        ["[worker 1] set up, and known as a worker before: true", "[worker 1] to stderr"]
    );
}

#[test]
fn what_tasks_say_appears_in_the_span_that_asked_even_before_a_crash() {
    let ran = run("programs", "says");
    assert!(ran.status.success(), "{}\n{}", ran.stdout, ran.stderr);
    let lines = |parts: &[&str]| {
        let said = ran.stdout.lines().filter(|line| parts.iter().all(|part| line.contains(part)));
        said.count()
    };
    assert_eq!(lines(&["INFO long: says: chatting", "worker=", "attempt=1"]), 1_000);
    assert_eq!(lines(&["WARN long: ", "500 more events of this task were dropped"]), 1);
    assert_eq!(lines(&["says: chatting n=777"]), 1, "the fields come along");
    assert_eq!(lines(&["hidden"]), 0, "what the server does not show is not sent");
    assert_eq!(lines(&["says: page"]), 200, "in pieces, however large");
    assert_eq!(lines(&["WARN short: says: about to crash"]), 1, "{}", ran.stdout);
    assert_eq!(lines(&["ERROR short: ", "was lost in `says::crash`"]), 1, "{}", ran.stdout);
    assert_eq!(lines(&["INFO deep: says: inner"]), 1, "{}", ran.stdout);
    assert_eq!(lines(&["INFO deep: says: outer"]), 1, "{}", ran.stdout);
}

#[test]
fn a_crash_loop_is_a_clear_error_and_ends_with_its_cause() {
    let ran = run("programs", "crash_loop");
    assert!(ran.status.success(), "{}\n{}", ran.stdout, ran.stderr);
    assert!(ran.stdout.contains("failed at their start; the last: "), "{}", ran.stdout);
    assert!(ran.stdout.contains("exited with code 7"), "{}", ran.stdout);
    assert!(ran.stdout.ends_with("works again\n"), "{}", ran.stdout);
    assert!((4..=20).contains(&ran.scratch.starts()), "{} processes", ran.scratch.starts());
}

#[test]
fn with_panic_abort_a_panic_is_a_lost_worker_with_its_message() {
    for backtrace in ["0", "1"] {
        let ran = run_with("panic_abort", "panic_abort", &[("RUST_BACKTRACE", backtrace)]);
        assert!(ran.status.success(), "{}\n{}", ran.stdout, ran.stderr);
        assert!(ran.stdout.contains("killed by SIGABRT"), "{}", ran.stdout);
        let mut tail = ran.stdout.lines().filter_map(|line| line.strip_prefix("stderr: "));
        assert!(tail.any(|line| line.contains("the third element of two")), "{}", ran.stdout);
        assert!(ran.stdout.ends_with("goes on: 3\n"), "{}", ran.stdout);
    }
}

#[test]
fn without_default_features_inline_works_and_local_says_so() {
    let ran = run("inline_only", "inline_only");
    assert!(ran.status.success(), "{}\n{}", ran.stdout, ran.stderr);
    let lines: Vec<_> = ran.stdout.lines().collect();
    assert!(lines[0].starts_with("local: engine is unavailable: "), "{}", ran.stdout);
    assert!(lines[0].contains("inline://"), "{}", ran.stdout);
    assert_eq!(lines[1], "inline: 3");
}
