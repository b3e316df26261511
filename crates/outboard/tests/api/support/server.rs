//! Another server process: this very test binary, told to play one scenario.

use std::fmt;
use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus};

use super::process::Process;
use super::scratch::Scratch;
use super::{eventually, found};

/// The variables that name the scenario and its directory.
pub(crate) const SCENARIO: &str = "OUTBOARD_TEST_SCENARIO";
pub(crate) const DIRECTORY: &str = "OUTBOARD_TEST_DIRECTORY";

/// The variable that names the cluster of the scenario `cluster_worker`.
#[cfg(feature = "dask")]
pub(crate) const CLUSTER: &str = "OUTBOARD_TEST_CLUSTER";

/// The variable that names a second directory.
#[cfg(feature = "dask")]
pub(crate) const SECOND: &str = "OUTBOARD_TEST_SECOND";

/// A server that plays a scenario; killed, if need be, when this is dropped.
pub(crate) struct Server {
    pub(crate) scratch: Scratch,
    child: Child,
}

impl Server {
    pub(crate) fn start(scenario: &str) -> Self {
        Self::start_as(scenario, binary())
    }

    /// As `start`, with a command that starts this binary in some other way.
    pub(crate) fn start_as(scenario: &str, mut command: Command) -> Self {
        let scratch = Scratch::new();
        let output = |name: &str| File::create(scratch.path().join(name)).unwrap();
        let child = command
            .args(["scenario::play", "--exact", "--ignored", "--nocapture"])
            .env(SCENARIO, scenario)
            .env(DIRECTORY, scratch.path())
            .stdout(output("stdout"))
            .stderr(output("stderr"))
            .spawn()
            .unwrap();
        Self { scratch, child }
    }

    pub(crate) fn process(&self) -> Process {
        Process::open(self.child.id())
    }

    /// What the scenario noted under a name, once it has.
    pub(crate) async fn says(&self, name: &str) -> Vec<String> {
        found(format_args!("the server notes `{name}`; {self}"), || {
            Some(self.scratch.notes(name)).filter(|lines| !lines.is_empty())
        })
        .await
    }

    /// What a worker of a cluster notes when it has joined.
    #[cfg(feature = "dask")]
    pub(crate) async fn joined(&self) -> String {
        found(format_args!("the worker joins; {self}"), || {
            let events = self.scratch.notes("events");
            events.into_iter().find(|event| event.starts_with("joined "))
        })
        .await
    }

    /// The processes whose numbers the scenario noted under a name.
    pub(crate) async fn processes(&self, name: &str) -> Vec<Process> {
        let pids = self.says(name).await;
        pids.iter().map(|pid| Process::open(pid.parse().unwrap())).collect()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// How it ended, once it has.
    pub(crate) async fn ends(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the server ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        })
        .await;
        status.unwrap()
    }

    /// Waits for its end, which must be a good one.
    pub(crate) async fn succeeds(&mut self) {
        let status = self.ends().await;
        assert!(status.success(), "{status}; {self}");
    }
}

/// What it and its workers have written so far.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [out, err] = ["stdout", "stderr"].map(|name| self.scratch.notes(name).join("\n"));
        write!(f, "stdout:\n{out}\nstderr:\n{err}")
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// This binary, with the signals as a terminal leaves them, whoever runs the tests.
pub(crate) fn binary() -> Command {
    let mut command = Command::new("env");
    command.arg("--default-signal=INT,TERM").arg(std::env::current_exe().unwrap());
    command
}

/// The directory of the scenario that this process plays.
pub(crate) fn directory() -> PathBuf {
    std::env::var_os(DIRECTORY).expect("set by the test that starts the scenario").into()
}
