use std::io::{BufRead, BufReader, Read};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// Long enough for anything that works, on a machine that is busy.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// What a run of the program left behind.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// `lab serve` on free ports; killed when dropped.
pub(crate) struct Serving {
    child: Child,
    stderr: Arc<Mutex<String>>,
    /// The addresses that it printed, as `127.0.0.1:40000`.
    pub(crate) before: String,
    pub(crate) threads: String,
    pub(crate) after: String,
    _stdout: BufReader<ChildStdout>,
}

/// The binary, with nothing of this environment that would change what it does.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    command.args(args).env_remove("OUTBOARD_URL").env_remove("RUST_LOG");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs the program to its end.
pub(crate) fn run(args: &[&str]) -> Ended {
    finish(command(args))
}

/// Runs a command to its end, and kills it if there is none.
pub(crate) fn finish(mut command: Command) -> Ended {
    finish_started(command.spawn().expect("the program starts"), || {})
}

/// The same with one that was started, while something is done to it.
pub(crate) fn finish_started(mut child: Child, meanwhile: impl FnOnce()) -> Ended {
    let stdout = collect(child.stdout.take().expect("stdout is piped"));
    let stderr = collect(child.stderr.take().expect("stderr is piped"));
    meanwhile();
    let status = wait(&mut child);
    let text = |thread: thread::JoinHandle<String>| thread.join().expect("the output is read");
    Ended { code: status.code(), stdout: text(stdout), stderr: text(stderr) }
}

/// Polls until `condition` holds, and fails if it does not in time.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !condition() {
        assert!(Instant::now() < deadline, "{what}: not in {DEADLINE:?}");
        thread::sleep(Duration::from_millis(10));
    }
}

impl Serving {
    /// Starts the servers on free ports, and waits until they listen.
    pub(crate) fn start(args: &[&str]) -> Self {
        let ports = ["--before-port", "0", "--threads-port", "0", "--after-port", "0"];
        let mut child =
            command(&[&["serve"], &ports[..], args].concat()).spawn().expect("the program starts");
        let stderr = Arc::new(Mutex::new(String::new()));
        follow(child.stderr.take().expect("stderr is piped"), Arc::clone(&stderr));
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let [before, threads, after] =
            ["before", "threads", "after"].map(|name| address(&mut stdout, name, &stderr));
        Self { child, stderr, before, threads, after, _stdout: stdout }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// All three addresses.
    pub(crate) fn addresses(&self) -> [&str; 3] {
        [&self.before, &self.threads, &self.after]
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        kill_process(pid.expect("a child has a pid"), signal).expect("the child is there");
    }

    /// Waits until the program has said something on stderr.
    pub(crate) fn wait_until_it_says(&self, what: &str) {
        eventually(what, || self.stderr().contains(what));
    }

    /// Waits for the program's end; its exit code.
    pub(crate) fn wait(&mut self) -> Option<i32> {
        wait(&mut self.child).code()
    }

    /// What it wrote to stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().expect("no reader panicked").clone()
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn wait(child: &mut Child) -> ExitStatus {
    let deadline = Instant::now() + 5 * DEADLINE;
    loop {
        if let Some(status) = child.try_wait().expect("the child is ours") {
            return status;
        }
        if Instant::now() > deadline {
            let _ = child.kill();
            let _ = child.wait();
            panic!("the program does not end");
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn collect(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut text = String::new();
        from.read_to_string(&mut text).expect("the output is text");
        text
    })
}

fn follow(from: impl Read + Send + 'static, into: Arc<Mutex<String>>) {
    thread::spawn(move || {
        for line in BufReader::new(from).lines().map_while(Result::ok) {
            let mut text = into.lock().expect("no reader panicked");
            text.push_str(&line);
            text.push('\n');
        }
    });
}

/// The address in a line such as `before   http://127.0.0.1:8000/   …`.
fn address(stdout: &mut impl BufRead, name: &str, stderr: &Mutex<String>) -> String {
    let mut line = String::new();
    stdout.read_line(&mut line).expect("stdout is text");
    let mut words = line.split_whitespace();
    let said = || stderr.lock().expect("no reader panicked").clone();
    assert_eq!(words.next(), Some(name), "{line:?}; stderr: {}", said());
    let url = words.next().expect("an address follows");
    let address = url.strip_prefix("http://").and_then(|url| url.strip_suffix('/'));
    address.expect("it is a URL").to_owned()
}
