//! A PostgreSQL of a test's own, in a directory that goes with it.

use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// A server that listens on a Unix socket alone.
pub(crate) struct Postgres {
    url: String,
    server: Child,
    _directory: TempDir,
}

impl Postgres {
    /// # Panics
    ///
    /// If PostgreSQL is not installed, or does not start.
    pub(crate) fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let at = directory.path();
        let user = Account::for_server();
        chown(at, Some(user.uid), Some(user.gid)).unwrap();
        let data = at.join("data");
        let made = user
            .command("initdb", at)
            .args(["--auth=trust", "--username=postgres", "--no-sync", "--encoding=UTF8"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let server = user
            .command("postgres", at)
            .args(["-F", "-c", "listen_addresses="])
            .arg("-k")
            .arg(at)
            .arg("-D")
            .arg(&data)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let url = format!("postgres://postgres@localhost/postgres?host={}", at.display());
        let postgres = Self { url, server, _directory: directory };
        postgres.wait(&user);
        postgres
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    fn wait(&self, user: &Account) {
        let (at, start) = (self._directory.path(), Instant::now());
        let ready = || {
            let mut ask = user.command("pg_isready", at);
            ask.arg("-q").arg("-h").arg(at).status().unwrap().success()
        };
        while !ready() {
            assert!(start.elapsed() < Duration::from_secs(60), "PostgreSQL does not start");
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let pid = i32::try_from(self.server.id()).ok().and_then(Pid::from_raw);
        // At once, without a word to its clients.
        let _ = pid.map(|pid| kill_process(pid, Signal::QUIT));
        let _ = self.server.wait();
    }
}

/// Who the server runs as: it refuses root.
struct Account {
    uid: u32,
    gid: u32,
    programs: PathBuf,
}

impl Account {
    fn for_server() -> Self {
        let own = |flag| number("id", &[flag]).unwrap();
        let (uid, gid) = match own("-u") {
            0 => (number("id", &["-u", "postgres"]), number("id", &["-g", "postgres"])),
            uid => (Some(uid), Some(own("-g"))),
        };
        let missing = "PostgreSQL is missing: run script/bootstrap, which installs it";
        let (uid, gid) = (uid.expect(missing), gid.expect(missing));
        Self { uid, gid, programs: programs().expect(missing) }
    }

    fn command(&self, program: &str, at: &Path) -> Command {
        let mut command = Command::new(self.programs.join(program));
        command.uid(self.uid).gid(self.gid).current_dir(at).stdin(Stdio::null());
        command
    }
}

/// Where Debian has the programs of its newest version.
fn programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?.flatten();
    let programs = versions.map(|version| version.path().join("bin"));
    programs.filter(|programs| programs.join("initdb").exists()).max()
}

fn number(program: &str, args: &[&str]) -> Option<u32> {
    let output = Command::new(program).args(args).stderr(Stdio::null()).output().ok()?;
    String::from_utf8(output.stdout).ok()?.trim().parse().ok()
}
