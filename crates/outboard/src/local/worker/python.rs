//! How a worker becomes Python: this program has set its limits, and executes the interpreter
//! in its own place, which keeps them.

use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;

use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::local::process::end::ignore_requests;
use crate::local::program::{SOCKET_VARIABLE, VARIABLE, VERSION_VARIABLE, digest};
use crate::local::wire::VERSION;
use crate::local::wire::python::{hello, numbered};
use crate::os::refused;
use crate::task::interpreter::Python;
use crate::task::limits::WorkerLimits;

/// What Python does from then on.
const SOURCE: &str = include_str!("python.py");

/// What the interpreter is told on its command line: to execute the source, which is in a pipe.
/// Versions of Python that cannot read it say so.
const START: &str = "\
import os, sys
if sys.version_info < (3, 10):
    sys.exit('outboard: %s is Python %d.%d, and workers need 3.10 or later' \
% ((sys.executable,) + tuple(sys.version_info[:2])))
exec(compile(os.fdopen(int(sys.argv[2])).read(), '<outboard>', 'exec'))
";

/// What the process is told that is about to be Python.
pub(super) struct Told<'a> {
    pub(super) number: u32,
    pub(super) max_payload: u64,
    pub(super) level: u8,
    /// The slot that it has from its start, if it has one.
    pub(super) slot: Option<u32>,
    pub(super) limits: WorkerLimits,
    pub(super) socket: &'a UnixStream,
    pub(super) page: &'a OwnedFd,
}

/// Greets the server, and becomes Python. It comes back only if that fails.
pub(super) fn become_python(python: &Python, told: &Told<'_>) -> io::Error {
    let execute = || -> io::Result<io::Error> {
        let mut socket = told.socket;
        socket.write_all(&hello(VERSION, digest()))?;
        let (source, mut writes) = io::pipe().map_err(|error| refused("pipe", error))?;
        // It fits into a pipe, whose reader is yet to come.
        writes.write_all(SOURCE.as_bytes())?;
        drop(writes);
        if let Some(bytes) = told.limits.stack_bytes {
            let maximum = getrlimit(Resource::Stack).maximum;
            let current = Some(maximum.map_or(bytes, |maximum| maximum.min(bytes)));
            setrlimit(Resource::Stack, Rlimit { current, maximum })?;
        }
        let mut command = Command::new(&python.program);
        command.arg("-c").arg(START).arg(format!("outboard-worker-{}", told.number));
        let fds = [source.as_raw_fd(), told.socket.as_raw_fd(), told.page.as_raw_fd()];
        command.args(fds.map(|fd| fd.to_string()));
        let limit = told.limits.cpu_s.unwrap_or(0);
        command.args([told.max_payload.to_string(), limit.to_string(), told.level.to_string()]);
        command.arg(numbered(told.slot).to_string()).arg(python.paths.len().to_string());
        command.args(&python.paths);
        command.args(&python.modules);
        for name in [VARIABLE, VERSION_VARIABLE, SOCKET_VARIABLE] {
            command.env_remove(name);
        }
        for passed in [source.as_fd(), told.socket.as_fd(), told.page.as_fd()] {
            fcntl_setfd(passed, FdFlags::empty())?;
        }
        // Until Python has handlers for them.
        ignore_requests()?;
        Ok(command.exec())
    };
    let error = execute().unwrap_or_else(|error| error);
    io::Error::new(error.kind(), format!("execute {}: {error}", python.program.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::local::shm::page;

    #[test]
    fn the_source_fits_into_a_pipe_and_knows_the_page() {
        // A pipe takes 64 KiB on every system.
        assert!(SOURCE.len() <= 32 << 10, "{} bytes", SOURCE.len());
        let line = format!("FIRST_TASK, TASKS, LISTENING, READ, BEFORE = {:?}", page::OF_PYTHON);
        assert!(SOURCE.contains(&line), "{line}");
    }
}
