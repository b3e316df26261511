use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::http::ask;
use crate::process::wait_until_busy;
use crate::program::{Serving, eventually, run};

const SIZE: (u16, u16) = (30, 110);

/// `outboard status` in a terminal of its own.
struct Screen {
    child: Child,
    keys: ChildStdin,
    shows: Arc<Mutex<vt100::Parser>>,
    /// What it said before the screen was taken.
    said: Arc<Mutex<String>>,
}

impl Screen {
    /// Starts it in a shell, which says the process before it, and how it ended and
    /// what became of the terminal after it.
    fn start(url: &str) -> Self {
        let shell = format!(
            "stty rows {} cols {}; (echo pid=$(exec sh -c 'echo $PPID')=; exec {} status {url}); \
             echo code=$?=; stty -a",
            SIZE.0,
            SIZE.1,
            env!("CARGO_BIN_EXE_outboard")
        );
        let mut script = Command::new("script");
        script.args(["-qfc", &shell, "/dev/null"]).env("TERM", "xterm-256color");
        script.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = script.spawn().expect("script comes with the system");
        let mut out = child.stdout.take().expect("stdout is piped");
        let shows = Arc::new(Mutex::new(vt100::Parser::new(SIZE.0, SIZE.1, 0)));
        let said = Arc::new(Mutex::new(String::new()));
        let (into, saying) = (shows.clone(), said.clone());
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(read @ 1..) = out.read(&mut bytes) {
                let mut said = saying.lock().expect("no reader panicked");
                if !said.contains('\u{1b}') {
                    said.push_str(&String::from_utf8_lossy(&bytes[..read]));
                }
                into.lock().expect("no reader panicked").process(&bytes[..read]);
            }
        });
        let keys = child.stdin.take().expect("stdin is piped");
        Self { child, keys, shows, said }
    }

    fn text(&self) -> String {
        self.shows.lock().expect("no reader panicked").screen().contents()
    }

    fn wait_until_it_says(&self, what: &str) {
        eventually(&format!("{what:?} on the screen"), || self.text().contains(what));
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).expect("the terminal takes keys");
        self.keys.flush().expect("the terminal takes keys");
    }

    /// The process.
    fn pid(&self) -> Pid {
        let pid = || {
            let said = self.said.lock().expect("no reader panicked");
            said.split("pid=").nth(1)?.split_once('=')?.0.parse().ok().and_then(Pid::from_raw)
        };
        eventually("the process is said", || pid().is_some());
        pid().expect("it was said")
    }

    /// Checks that it ended with success and left the terminal as it was.
    fn has_ended_well(&self) {
        self.wait_until_it_says("code=0=");
        self.wait_until_it_says(" icanon");
        let text = self.text();
        assert!(!text.contains("-icanon") && !text.contains("-echo "), "{text}");
        let shows = self.shows.lock().expect("no reader panicked");
        assert!(!shows.screen().alternate_screen(), "the screen is given back");
        assert!(!shows.screen().hide_cursor(), "and the cursor");
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn json_is_one_snapshot() {
    let serving = Serving::start(&["--workers", "1", "--timeout", "1h"]);
    let _browser = ask(&serving.after, "/fib/93");
    wait_until_busy(serving.pid());
    let url = format!("http://{}/status", serving.after);
    for url in [url.clone(), format!("{url}/status.json")] {
        let ended = run(&["status", &url, "--json", "-H", "X-Any: thing"]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        let view: Value = serde_json::from_str(&ended.stdout).expect("it is JSON");
        assert_eq!((&view["product"], &view["engine"]), (&"outboard".into(), &"local".into()));
        let mut workers = view["workers"].as_array().expect("it is one").iter();
        let busy = workers.find(|worker| worker["state"] == "busy").expect("one is busy");
        assert_eq!(busy["task"]["function"], "outboard::tasks::fib");
    }
}

#[test]
fn without_a_page_it_is_one_line_that_says_why() {
    let serving = Serving::start(&["--workers", "1"]);
    let free = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let closed = free.local_addr().expect("it is bound").to_string();
    drop(free);
    for (url, why) in [
        (format!("http://{closed}/status"), "connection refused"),
        (format!("http://{}/fast", serving.after), "that is no status page of Outboard"),
        (format!("http://{}/nothing", serving.after), "http 404: there is no status page"),
        ("http://no.such.host.invalid/status".to_owned(), "cannot find the host"),
    ] {
        let ended = run(&["status", &url, "--json"]);
        assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(ended.stderr.contains(&url) && ended.stderr.contains(why), "{ended:?}");
    }
}

#[test]
fn without_a_terminal_it_says_what_to_do() {
    let ended = run(&["status", "http://127.0.0.1:9/status"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(2), ""), "{ended:?}");
    assert!(
        ended.stderr.contains("needs a terminal") && ended.stderr.contains("--json"),
        "{ended:?}"
    );
}

#[test]
fn in_a_terminal_it_follows_the_page_until_q_and_leaves_the_terminal_as_it_was() {
    let mut serving = Serving::start(&["--workers", "1", "--timeout", "1h"]);
    let mut screen = Screen::start(&format!("http://{}/status", serving.after));
    screen.wait_until_it_says("all well");
    let _browser = ask(&serving.after, "/fib/93");
    screen.wait_until_it_says("outboard::tasks::fib");
    screen.press("r");
    screen.wait_until_it_says("Crashes and panics");
    serving.signal(Signal::KILL);
    serving.wait();
    screen.wait_until_it_says("no connection since");
    screen.press("q");
    screen.has_ended_well();
}

#[test]
fn a_signal_leaves_the_terminal_as_it_was() {
    let serving = Serving::start(&["--workers", "1"]);
    let screen = Screen::start(&format!("http://{}/status", serving.after));
    let pid = screen.pid();
    screen.wait_until_it_says("all well");
    kill_process(pid, Signal::TERM).expect("it is there");
    screen.has_ended_well();
}
