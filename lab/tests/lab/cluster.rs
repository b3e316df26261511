//! `lab worker`, and the guide's way from one machine to a cluster, on real
//! schedulers of Dask.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use browser::{Browser, Scheme};
use serde_json::Value;

use crate::http::{ask, get};
use crate::program::{DEADLINE, Serving, eventually, run};

/// A line of shell, run in a directory of its own; killed when dropped.
struct Shell {
    child: Child,
    out: PathBuf,
}

impl Shell {
    fn start(directory: &Path, line: &str) -> Self {
        let unique = fs::read_dir(directory).expect("it is there").count();
        let out = directory.join(format!("out-{unique}"));
        let file = fs::File::create(&out).expect("it is writable");
        let child = Command::new("sh")
            .args(["-c", &format!("exec {line}")])
            .current_dir(directory)
            .env_remove("OUTBOARD_URL")
            .stdin(Stdio::null())
            .stdout(file.try_clone().expect("a descriptor is left"))
            .stderr(file)
            .spawn()
            .expect("there is a shell");
        Self { child, out }
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.out).unwrap_or_default()
    }

    fn says(&self, what: &str, times: usize) {
        let deadline = Instant::now() + DEADLINE;
        while self.said().matches(what).count() < times {
            assert!(Instant::now() < deadline, "it does not say `{what}`: {}", self.said());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a child has a pid"), signal).expect("it is there");
    }

    fn ends(&mut self) -> Option<i32> {
        let mut status = None;
        eventually("it ends", || {
            status = self.child.try_wait().expect("the child is ours");
            status.is_some()
        });
        status?.code()
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/..");

/// A directory with `dask`, as the guide has it installed.
fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("it is writable");
    let installed = Path::new(ROOT).join("target/python/newest");
    assert!(installed.join("bin/dask").exists(), "run script/bootstrap");
    std::os::unix::fs::symlink(installed, directory.path().join("dask")).expect("it is new");
    directory
}

fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    listener.local_addr().expect("it is bound").port()
}

/// The commands of the guide's chapter, with that port in the place of Dask's, and
/// the binary in that of `cargo run --release --`.
fn commands(port: u16) -> Vec<String> {
    let chapter = Path::new(ROOT).join("docs/book/src/cluster.md");
    let chapter = fs::read_to_string(chapter).expect("it is there");
    let block = chapter.split_once("```sh\n").expect("its commands").1.split("```").next();
    let port = port.to_string();
    let line = |line: &str| {
        let line = line.split('#').next().unwrap_or_default().trim();
        let line = line.replace("cargo run --release --", env!("CARGO_BIN_EXE_lab"));
        line.replace("8786", &port).replace("127.0.0.1:8787", "127.0.0.1:0")
    };
    block.into_iter().flat_map(str::lines).map(line).collect()
}

fn scheduler(directory: &Path, port: u16) -> Shell {
    // Dask's own port is not written there: it is the default.
    Shell::start(directory, &format!("{} --port {port}", commands(port)[1]))
}

#[test]
fn the_guides_way_to_a_cluster_can_be_followed() {
    let (directory, port) = (directory(), free_port());
    let commands = commands(port);
    let [install, _, worker, tour] = &commands[..] else { panic!("{commands:?}") };
    assert!(install.starts_with("python3 -m venv dask && dask/bin/pip install distributed"));
    let _scheduler = scheduler(directory.path(), port);
    let mut workers = [(); 2].map(|()| Shell::start(directory.path(), worker));
    for worker in &workers {
        worker.says(&format!("joined tcp://127.0.0.1:{port} as tcp://127.0.0.1:"), 1);
    }
    let mut tour = Shell::start(directory.path(), &format!("{tour} --quick"));
    assert_eq!(tour.ends(), Some(0), "{}", tour.said());
    let table = tour.said();
    for shown in ["dask", "Workers:", "before", "threads", "after", "parallel_coalesced"] {
        assert!(table.contains(shown), "no {shown}: {table}");
    }
    let line = |name: &str| {
        let line = table.lines().find(|line| line.trim_start().starts_with(name));
        line.unwrap_or_default().split_whitespace().last().unwrap_or_default().to_owned()
    };
    assert_eq!((line("Engine:"), line("Workers:")), ("dask".into(), "2".into()), "{table}");
    for worker in &mut workers {
        worker.signal(Signal::TERM);
        assert_eq!(worker.ends(), Some(0), "{}", worker.said());
    }
}

#[test]
fn the_pages_show_a_clusters_worker_and_what_it_does() {
    let (directory, port) = (directory(), free_port());
    let _scheduler = scheduler(directory.path(), port);
    let worker = Shell::start(directory.path(), &commands(port)[2]);
    worker.says("joined tcp:", 1);
    let url = format!("dask://127.0.0.1:{port}");
    let serving = Serving::start(&["--url", &url, "--timeout", "1h"]);
    let page = |path: &str| {
        let answer = get(&serving.after, path);
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.body
    };
    let view = || serde_json::from_str::<Value>(&page("/status/status.json")).expect("it is JSON");
    assert!(page("/").contains("<html") && page("/status").contains("<html"));
    assert_eq!((page("/fast"), page("/fib/20")), ("Hello, world".into(), "6765".into()));
    let before = view();
    assert_eq!((&before["engine"], &before["open"]), (&"dask".into(), &true.into()), "{before}");
    assert_eq!(before["workers"].as_array().map(Vec::len), Some(1), "{before}");
    assert_eq!(before["workers"][0]["pid"], worker.child.id(), "{before}");
    let fib = &before["functions"][0];
    let outcomes = (&fib["function"], &fib["outcomes"]["done"]);
    assert_eq!(outcomes, (&"lab::tasks::fib".into(), &1.into()), "{before}");
    let browser = ask(&serving.after, "/fib/93");
    let shows = |running: u64, state: &str| {
        let now = view();
        now["tasks"]["running"] == running && now["workers"][0]["state"] == state
    };
    eventually("the task is shown", || shows(1, "busy"));
    eventually("its worker is known", || {
        view()["workers"][0]["task"]["function"] == "lab::tasks::fib"
    });
    drop(browser);
    eventually("it is gone", || shows(0, "idle"));
    assert_eq!(view()["tasks"]["cancelled"], 1);
}

#[test]
fn a_task_of_a_cluster_is_cancelled_on_the_page() {
    let (directory, port) = (directory(), free_port());
    let _scheduler = scheduler(directory.path(), port);
    let workers = [(); 2].map(|()| Shell::start(directory.path(), &commands(port)[2]));
    workers.iter().for_each(|worker| worker.says("joined tcp:", 1));
    let url = format!("dask://127.0.0.1:{port}");
    let serving = Serving::start(&["--url", &url, "--timeout", "1h"]);
    let _request = ask(&serving.after, "/fib/93");
    let browser = Browser::start();
    let page = format!("http://{}/status", serving.after);
    browser.open(&page, [1280, 900], Scheme::Light);
    let rows = "[...document.querySelectorAll('#workers tbody tr')]";
    let both =
        format!("{rows}.length === 2 && {rows}.every(row => row.textContent.includes('tcp://'))");
    browser.wait_for("both workers have an address", &both);
    let busy =
        format!("{rows}.filter(row => row.textContent.includes('lab::tasks::fib')).length === 1");
    browser.wait_for("one of them has the task", &busy);
    let buttons = "[...document.querySelectorAll('#workers button:not(.link)')].map(it => it.textContent.trim())";
    let one = format!("JSON.stringify({buttons}) === '[\"Cancel\"]'");
    browser.wait_for("what cannot be done is not offered", &one);
    browser.click("#workers button:not(.link)");
    browser.wait_for("it asks", "document.querySelector('#ask[open]')");
    browser.click("#ask-yes");
    browser.wait_for(
        "the task is gone",
        &format!("{rows}.every(row => !row.textContent.includes('fib'))"),
    );
    let answer = get(&serving.after, "/status/status.json");
    let view: Value = serde_json::from_str(&answer.body).expect("it is JSON");
    assert_eq!(view["tasks"]["cancelled"], 1, "{view}");
    browser.assert_no_console_errors();
}

/// The program that the README of the Python package shows.
#[test]
fn the_example_in_python_runs_as_it_stands() {
    let (directory, port) = (directory(), free_port());
    let package = Path::new(ROOT).join("crates/outboard/python");
    let readme = fs::read_to_string(package.join("README.md")).expect("it is there");
    let code = readme.split_once("```python\n").expect("its example").1.split("```").next();
    let code = code.expect("its end");
    let chapter = fs::read_to_string(Path::new(ROOT).join("docs/book/src/cluster.md"));
    assert!(chapter.expect("it is there").contains(code), "the guide shows another");
    let code = code.replace("8786", &port.to_string());
    fs::write(directory.path().join("example.py"), code).expect("it is writable");
    let _scheduler = scheduler(directory.path(), port);
    let worker = Shell::start(directory.path(), &commands(port)[2]);
    worker.says("joined tcp:", 1);
    let line = format!(
        "env PYTHONPATH='{}' PYTHONDONTWRITEBYTECODE=1 dask/bin/python example.py",
        package.display()
    );
    let mut example = Shell::start(directory.path(), &line);
    assert_eq!(example.ends(), Some(0), "{}", example.said());
    assert_eq!(example.said(), "832040\n");
}

#[test]
fn a_worker_waits_for_its_scheduler_and_outlives_it() {
    let (directory, port) = (directory(), free_port());
    let worker = &commands(port)[2];
    let mut worker = Shell::start(directory.path(), worker);
    worker.says("cannot be joined: Connection refused", 1);
    worker.says("trying again", 1);
    let first = scheduler(directory.path(), port);
    worker.says("joined tcp:", 1);
    drop(first);
    worker.says("trying again", 2);
    let _second = scheduler(directory.path(), port);
    worker.says("joined tcp:", 2);
    worker.signal(Signal::TERM);
    assert_eq!(worker.ends(), Some(0), "{}", worker.said());
}

#[test]
fn a_worker_that_finds_no_scheduler_ends_when_it_is_told_to() {
    let (directory, port) = (directory(), free_port());
    let mut worker = Shell::start(directory.path(), &commands(port)[2]);
    worker.says("trying again", 1);
    worker.signal(Signal::TERM);
    assert_eq!(worker.ends(), Some(0), "{}", worker.said());
}

#[test]
fn a_worker_says_what_is_wrong_with_its_url() {
    for (url, says) in [
        ("local://", "joins a cluster"),
        ("dask://127.0.0.1", "no port"),
        ("dask://127.0.0.1:1,127.0.0.1:2", "one scheduler"),
        ("tls://127.0.0.1:1", "tls_ca"),
        ("tcp://127.0.0.1:1?tls_ca=/no/such/file", "write tls://"),
        ("dask://127.0.0.1:1?listen=", "wants a value"),
    ] {
        let ended = run(&["worker", url]);
        assert_eq!(ended.code, Some(2), "{url}: {ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{url}: {ended:?}");
        assert!(ended.stderr.contains(says), "{url}: {ended:?}");
    }
}

/// A peer that says one thing to whoever connects.
fn peer(says: Vec<u8>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let place = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        while let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(&says);
            std::thread::spawn(move || stream.read_to_end(&mut Vec::new()));
        }
    });
    format!("dask://{place}")
}

/// One frame, as Dask frames it.
fn framed(frame: &[u8]) -> Vec<u8> {
    let length = frame.len() as u64;
    let numbers = [16 + length, 1, length].into_iter().flat_map(u64::to_le_bytes);
    numbers.chain(frame.iter().copied()).collect()
}

#[test]
fn a_scheduler_that_is_not_supported_is_refused() {
    let hello = framed(b"\x83\xabcompression\xc0\xa6python\x93\x03\x0b\x07\xafpickle-protocol\x05");
    let versions = framed(b"\x81\xa8packages\x81\xabdistributed\xa82025.3.1");
    let old = peer([hello, versions].concat());
    let ended = run(&["worker", &old]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stderr.contains("2025.4.0 is the oldest"), "{ended:?}");
}

#[test]
fn a_worker_says_what_is_at_a_wrong_port() {
    let web = peer(b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec());
    let directory = tempfile::tempdir().unwrap();
    let tls = peer(b"\x15\x03\x03\0\x02\x02\x46".to_vec());
    for (url, says) in [(web, "it is a web server"), (tls, "write tls://")] {
        let line = format!("{} worker {url}", env!("CARGO_BIN_EXE_lab"));
        let mut worker = Shell::start(directory.path(), &line);
        worker.says(says, 1);
        // It goes on trying: the scheduler may come.
        worker.says("trying again", 1);
        worker.signal(Signal::TERM);
        assert_eq!(worker.ends(), Some(0), "{}", worker.said());
    }
}
