//! What the machine, or its container, leaves to the server: cores, and memory.
//!
//! Some of it needs a control group of a test's own. Where none can be made, the
//! test says so, and tests nothing of that.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use outboard::Client;
use outboard::error::{Cause, Shortage};
use rustix::thread::{CpuSet, sched_setaffinity};

use super::limits::fill;
use crate::support::scratch::note;
use crate::support::server::Server;
use crate::support::{eventually, run};

/// A control group, version 1 or 2, below the one of this process.
struct Group(PathBuf);

impl Group {
    /// With a controller, and what is to be written into it: the name of a file in
    /// version 1, that in version 2, and the text.
    fn new(controller: &str, settings: [(&str, &str, &str); 1]) -> Option<Self> {
        let own = fs::read_to_string("/proc/self/cgroup").unwrap();
        let name = format!("outboard-test-{}-{controller}", std::process::id());
        let places = own.lines().filter_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let unified = controllers.is_empty();
            let named = controllers.split(',').any(|one| one == controller);
            let mount = if unified { String::new() } else { controllers.to_owned() };
            let below = Path::new("/sys/fs/cgroup").join(mount).join(path.trim_start_matches('/'));
            (unified || named).then(|| (unified, below.join(&name)))
        });
        for (unified, directory) in places {
            let group = Self(directory);
            let made = fs::create_dir(&group.0).and_then(|()| {
                settings.into_iter().try_for_each(|(first, second, text)| {
                    // Not made if it is not there: then this is no control group.
                    let name = if unified { second } else { first };
                    let mut file = File::options().write(true).open(group.0.join(name))?;
                    file.write_all(text.as_bytes())
                })
            });
            match made {
                Ok(()) => return Some(group),
                Err(error) => say(format_args!("no group {}: {error}", group.0.display())),
            }
        }
        None
    }

    /// This binary, started in the group.
    fn command(&self) -> Command {
        let mut command = Command::new("sh");
        let join = format!("echo $$ > {}/cgroup.procs && exec \"$0\" \"$@\"", self.0.display());
        command.arg("-c").arg(join).arg(std::env::current_exe().unwrap());
        command
    }

    async fn is_removed(&self) {
        eventually("the group is empty", || fs::remove_dir(&self.0).is_ok()).await;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::remove_dir(&self.0);
    }
}

/// Tells whoever reads the test's output, passed or not.
fn say(what: std::fmt::Arguments<'_>) {
    let _ = writeln!(std::io::stderr(), "{what}");
}

/// What a server says of its workers that may use one core.
async fn has_one_worker(mut server: Server) {
    server.succeeds().await;
    assert_eq!(server.scratch.notes("client"), ["local 1"], "{server}");
}

#[test]
fn cores_are_those_that_the_server_may_run_on() {
    run(async {
        // The affinity of this thread is that of the process that it starts.
        let start = || {
            let mut one = CpuSet::new();
            let allowed = rustix::thread::sched_getaffinity(None).unwrap();
            one.set((0..CpuSet::MAX_CPU).find(|cpu| allowed.is_set(*cpu)).unwrap());
            sched_setaffinity(None, &one).unwrap();
            let mut command = Command::new(std::env::current_exe().unwrap());
            command.env_remove("OUTBOARD_URL");
            Server::start_as("from_env", command)
        };
        has_one_worker(std::thread::spawn(start).join().unwrap()).await;
    });
}

#[test]
fn cores_are_those_that_the_control_group_pays_for() {
    run(async {
        // 100 ms of each 100 ms: one core.
        let settings = [("cpu.cfs_quota_us", "cpu.max", "100000")];
        let Some(group) = Group::new("cpu", settings) else {
            return say(format_args!("cores of a control group were not tested here"));
        };
        let mut command = group.command();
        command.env_remove("OUTBOARD_URL");
        has_one_worker(Server::start_as("from_env", command)).await;
        group.is_removed().await;
    });
}

/// What the control group of a starved server may have.
const STARVED_BYTES: u64 = 256 << 20;

/// A server whose control group has less memory than its task wants.
pub(crate) async fn starved(at: PathBuf) {
    let client = Client::local().workers(1).spares(0).await.unwrap();
    assert_eq!(client.admin().snapshot().memory_bytes, STARVED_BYTES);
    let before = client.submit(std::process::id, ()).await.unwrap();
    let error = client.submit(fill, 1 << 30).await.unwrap_err();
    note(&at, "error", &error.to_string());
    assert!(error.is_out_of_memory(), "{error}");
    let lost = error.worker_loss().unwrap();
    assert_eq!((lost.pid, lost.cause), (before, Some(Cause::Signal(9))));
    assert_eq!(lost.shortage, Some(Shortage::System));
    // A kill by someone else is not put down to what was counted before.
    let kill_oneself = || -> u32 {
        let own = rustix::process::getpid();
        rustix::process::kill_process(own, rustix::process::Signal::KILL).unwrap();
        0
    };
    let error = client.submit(kill_oneself, ()).await.unwrap_err();
    assert!(error.is_worker_lost(), "{error}");
    client.shutdown().await;
}

#[test]
fn a_worker_that_the_system_kills_for_want_of_memory_is_out_of_memory() {
    run(async {
        let limit = STARVED_BYTES.to_string();
        let settings = [("memory.limit_in_bytes", "memory.max", &*limit)];
        let Some(group) = Group::new("memory", settings) else {
            return say(format_args!("a kill by the system was not tested here"));
        };
        let mut server = Server::start_as("starved", group.command());
        server.succeeds().await;
        let said = server.scratch.notes("error").join("\n");
        assert!(said.contains("the machine or container has no more"), "{said}");
        group.is_removed().await;
    });
}
