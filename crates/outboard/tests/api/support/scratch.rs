//! A directory through which a test and its tasks talk: files are seen by
//! threads and processes alike, even after a crash.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::eventually;

/// A directory that lives as long as the test. Tasks that wait for it to be
/// released also end when it is gone.
pub(crate) struct Scratch(TempDir);

impl Scratch {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    /// What a task takes to find it.
    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().to_owned()
    }

    /// The lines that were noted under a name, in order.
    pub(crate) fn notes(&self, name: &str) -> Vec<String> {
        let text = fs::read_to_string(self.0.path().join(name)).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// How often tasks of this directory have started.
    pub(crate) fn starts(&self) -> usize {
        self.notes("starts").len()
    }

    /// Waits until tasks of this directory have started so often.
    pub(crate) async fn started(&self, times: usize) {
        eventually("a task starts", || self.starts() >= times).await;
    }

    /// The process in which the last task started.
    pub(crate) fn pid(&self) -> u32 {
        self.notes("starts").last().and_then(|line| line.parse().ok()).expect("a task started")
    }

    /// Lets the tasks that are held here go on.
    pub(crate) fn release(&self) {
        note(self.0.path(), "released", "");
    }
}

/// Appends a line under a name, in one write.
pub(crate) fn note(at: &Path, name: &str, line: &str) {
    let file = OpenOptions::new().create(true).append(true).open(at.join(name));
    // The test may be over, and its directory gone.
    if let Ok(mut file) = file {
        file.write_all(format!("{line}\n").as_bytes()).unwrap();
    }
}

/// Says in which process a task has started.
pub(crate) fn start(at: &Path) {
    note(at, "starts", &std::process::id().to_string());
}

/// Whether a task that is held goes on being held.
pub(crate) fn is_held(at: &Path) -> bool {
    at.exists() && !at.join("released").exists()
}
