use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{eventually, get, get_with, receive, run, send};

/// Takes any machine longer than any test.
const ENDLESS: &str = "/fib/93";

/// What cargo says of a test's own package.
const PACKAGE: [&str; 2] = ["CARGO_PKG_", "CARGO_MANIFEST_"];

/// The example of this crate as its readers run it; killed when dropped.
struct Example {
    child: Child,
    stdout: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Example {
    fn start() -> Self {
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
        // With the features that the whole workspace was built with.
        build.args(["build", "--quiet", "--workspace", "--example", "server"]);
        build.arg("--target-dir").arg(target);
        build.args(profile.ends_with("release").then_some("--release"));
        let built = build.output().unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        let mut command = Command::new(profile.join("examples/server"));
        command.arg("0").env("OUTBOARD_URL", "local://?workers=1").stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once("http://").expect("it prints its address").1;
        Self { address: address.parse().unwrap(), child, stdout }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw).unwrap();
        kill_process(pid, signal).unwrap();
    }

    /// CPU time of its workers so far, in ticks of 10 ms.
    fn worker_ticks(&self) -> u64 {
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let stats = pids.filter_map(|of| std::fs::read_to_string(of.path().join("stat")).ok());
        // After the name: state, parent, …, user and system time.
        let ticks = stats.filter_map(|stat| {
            let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
            let ticks = |at: usize| fields[at].parse::<u64>().ok();
            (ticks(1)? == u64::from(self.child.id())).then_some(ticks(11)? + ticks(12)?)
        });
        ticks.sum()
    }

    /// What it says in the end, which must be a good one.
    fn last_words(mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        assert!(self.child.wait().unwrap().success(), "{line}");
        line
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_example_answers_and_a_second_signal_ends_it_at_once() {
    let example = Example::start();
    run(async {
        let address = example.address;
        let answer = get(address, "/fib/20").await;
        assert_eq!((answer.status, answer.body.as_str()), (200, "6765"));
        assert!(answer.header("server-timing").is_some(), "{answer:?}");
        assert_eq!(get_with(address, "/kept/fib/10", "x-api-key: ann\r\n").await.body, "55");
        assert_eq!(get(address, "/readyz").await.status, 200);

        let browser = send(address, ENDLESS, "").await;
        eventually("its worker computes", || example.worker_ticks() > 20).await;
        example.signal(Signal::TERM);
        // Refused from the first signal on; the second is then another one.
        eventually("no connection is taken", || std::net::TcpStream::connect(address).is_err())
            .await;
        assert!(browser.try_read(&mut [0]).is_err(), "what runs goes on");
        example.signal(Signal::INT);
        assert_eq!(receive(browser).await.expect("it is told").status, 503);
        assert_eq!(
            example.last_words(),
            "1 request and 1 task did not finish in time, and were cut\n"
        );
    });
}
