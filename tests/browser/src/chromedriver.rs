//! ChromeDriver: the process that drives one browser.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdout, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

/// The line that tells the port says so just before it.
const SAYS_PORT: &str = "started successfully on port ";

/// A ChromeDriver on a free port; it ends, with all that it started, when it is
/// dropped.
#[derive(Debug)]
pub(crate) struct Chromedriver {
    child: Child,
    port: u16,
    /// Kept open, so that it can go on writing.
    _stdout: BufReader<ChildStdout>,
}

impl Chromedriver {
    pub(crate) fn start() -> Self {
        let mut command = Command::new("chromedriver");
        command.arg("--port=0").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.process_group(0).spawn().unwrap_or_else(|error| {
            panic!("chromedriver does not start: run script/bootstrap, which installs it ({error})")
        });
        let mut stdout = BufReader::new(child.stdout.take().expect("stdout is piped"));
        let port = port(&mut stdout);
        Self { child, port, _stdout: stdout }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

impl Drop for Chromedriver {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        // It may have ended already.
        let _ = group.map(|group| kill_process_group(group, Signal::KILL));
        let _ = self.child.wait();
    }
}

fn port(stdout: &mut impl BufRead) -> u16 {
    let mut said = String::new();
    loop {
        let read = stdout.read_line(&mut said).expect("it writes text");
        assert!(read > 0, "chromedriver ended: {said}");
        let number = said.split_once(SAYS_PORT).map(|(_, rest)| rest);
        if let Some(number) = number.filter(|rest| rest.ends_with('\n')) {
            let digits = number.trim().trim_end_matches('.');
            return digits.parse().unwrap_or_else(|_| panic!("no port: {said}"));
        }
    }
}
