//! What an operator of Outboard installs: a server's status page in a terminal, and
//! programs started as workers of a cluster.
//!
//! Exit codes: 0 for success, 1 for a failure, 2 for arguments that make no sense.
//! `outboard worker` becomes the program that it starts, and ends with its code.
//! 127 means that the program was not found, 126 that it could not be started.

mod status;
mod worker;

use std::io;
use std::process::ExitCode;

use clap::Parser;

/// Shows the status of servers that use Outboard, and starts workers of a cluster
#[derive(Debug, Parser)]
#[command(name = "outboard", version)]
enum Command {
    /// Show a status page in this terminal, live
    Status(status::Args),
    /// Start a program as a worker of a Dask cluster
    Worker(worker::Args),
}

fn main() -> ExitCode {
    match Command::parse() {
        Command::Status(args) => exit_code(status::run(&args)),
        Command::Worker(args) => worker::become_program(&args),
    }
}

fn exit_code(done: anyhow::Result<()>) -> ExitCode {
    match done {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of stdout has gone, as `head` does.
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("outboard: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let io = error.downcast_ref::<io::Error>();
    io.is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Command;

    #[test]
    fn the_definition_is_sound() {
        Command::command().debug_assert();
    }
}
