//! The programs in `examples/`, run as a reader would.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// What cargo says of a test's own package.
const PACKAGE: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];

/// An example, built beside this test: of the whole workspace, so that the features of its
/// dependencies are those that the tests were built with, and nothing is built twice.
pub(crate) fn example(name: &str) -> Command {
    let own = std::env::current_exe().unwrap();
    let profile = own.ancestors().nth(2).expect("a test lies in target/PROFILE/deps");
    let target = profile.parent().expect("a profile's directory lies in target");
    let mut build = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    // What cargo has set for this test would have build scripts run again.
    for (variable, _) in
        std::env::vars().filter(|(name, _)| PACKAGE.iter().any(|one| name.starts_with(one)))
    {
        build.env_remove(variable);
    }
    build.args(["build", "--quiet", "--workspace", "--example", name, "--target-dir"]);
    build.arg(target).args(profile.ends_with("release").then_some("--release"));
    let built = build.output().unwrap();
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let mut command = Command::new(profile.join("examples").join(Path::new(name)));
    command.env_remove("OUTBOARD_URL");
    command
}

/// Runs an example to its end, which must be a good one; gives what it printed.
pub(crate) fn printed(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}\n{errors}", output.status);
    text
}

#[test]
fn hello_computes_in_another_process() {
    let text = printed(&mut example("hello"));
    assert!(text.contains("Engine:  local"), "{text}");
    assert!(text.contains("fib(30) = 832040, fib(31) = 1346269"), "{text}");
    assert!(text.contains("10 + 1 = 11, on worker "), "{text}");
}

#[test]
fn tensors_come_back_as_they_are_in_memory() {
    let text = printed(&mut example("tensors"));
    assert_eq!(
        text,
        "[300, 200], sum of the first row: 39800\n[7, 1] and [7, 1] have no product\n"
    );
}

#[test]
fn hello_goes_where_the_url_says() {
    let text = printed(example("hello").env("OUTBOARD_URL", "inline://?workers=2"));
    assert!(text.contains("Engine:  inline\n  Workers: 2"), "{text}");
    assert!(text.contains("fib(30) = 832040"), "{text}");
}

#[test]
fn stream_gives_items_and_then_the_output() {
    let text = printed(&mut example("stream"));
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines, ["a", "big", "elephant", "entertainment", "of 7 words", "0 + 1 = 1"]);
}

#[test]
fn cancel_frees_the_worker_each_time() {
    let text = printed(&mut example("cancel"));
    for when in ["at the start", "after a drop", "after a cancel", "after a timeout"] {
        assert!(text.contains(&format!("{when}: 10 + 1 = 11")), "{text}");
    }
    assert!(text.contains("task was cancelled"), "{text}");
    assert!(text.contains("timed out while running"), "{text}");
}

#[test]
fn python_answers_streams_and_is_stopped() {
    let text = printed(&mut example("python"));
    let lines: Vec<&str> = text.lines().collect();
    let told = ["iris, 0.95", "once", "upon", "a", "time", "4 words"];
    assert_eq!(lines[..6], told, "{text}");
    assert!(lines[6].contains("timed out while running"), "{text}");
    assert_eq!(lines[7], "task raised ValueError: a length is above 0", "{text}");
}

#[test]
fn model_is_loaded_once_in_each_worker() {
    let text = printed(&mut example("model"));
    for line in ["f(0) = 1", "f(1) = 3", "f(20.5) = 42", "in batches: [3.0, 5.0, 7.0]"] {
        assert!(text.lines().any(|said| said == line), "{text}");
    }
    let loaded = |worker: u8| text.matches(&format!("[worker {worker}] loaded")).count();
    // The spare may not have come to it when all is over.
    assert!(loaded(1) <= 1 && loaded(2) <= 1 && loaded(1) + loaded(2) >= 1, "{text}");
}

#[test]
fn model_that_cannot_be_loaded_is_said() {
    let output = example("model").env("MODEL", "2.0 one").output().unwrap();
    assert!(!output.status.success());
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(text.contains("`model::load` failed on start: invalid float literal"), "{text}");
}

/// A server that is ended with the test.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The status line and the body of a page.
fn get(address: &str, path: &str) -> (String, String) {
    let mut stream = TcpStream::connect(address).unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    (head.lines().next().unwrap_or_default().to_owned(), body.to_owned())
}

#[test]
fn axum_serves_what_other_processes_compute() {
    let mut command = example("axum");
    let mut server = Server(command.arg("0").stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().rsplit_once("http://").expect("it prints its address").1;
    let ok = "HTTP/1.1 200 OK".to_owned();
    assert_eq!(get(address, "/fast"), (ok.clone(), "Hello, world".into()));
    assert_eq!(get(address, "/fib/20"), (ok, "6765".into()));
    assert!(get(address, "/fib/abc").0.starts_with("HTTP/1.1 400"));
}
