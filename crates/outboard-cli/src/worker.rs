//! `outboard worker`: the user's own program as a worker of a Dask cluster.

use std::ffi::OsString;
use std::process::ExitCode;

/// What `outboard::init()` looks at.
#[cfg(unix)]
const VARIABLE: &str = "OUTBOARD_WORKER";

/// The schemes of a cluster's URL.
const SCHEMES: [&str; 3] = ["dask", "tcp", "tls"];

/// The exit codes by which a shell says that it found no program, or cannot start it.
#[cfg(unix)]
const NOT_FOUND: u8 = 127;
#[cfg(unix)]
const NOT_STARTED: u8 = 126;

const EXPLANATION: &str = "\
PROGRAM must use #[outboard::main] or call outboard::init() first, and be built with
the feature `dask`. Its task functions are offered to the cluster. It replaces this
process, so signals reach it, and its exit code is the command's.

Examples:
  outboard worker 'dask://10.0.0.7:8786?workers=4' ./my-server
  outboard worker --pool gpu=2 dask://10.0.0.7:8786 ./my-server";

/// The arguments of `outboard worker`.
#[derive(Debug, clap::Args)]
#[command(after_help = EXPLANATION)]
pub(crate) struct Args {
    /// Offer a pool with so many workers, or one: tasks of `#[task(pool = "gpu")]` go there. The
    /// URL may have more of its options, such as pool.gpu.spares=0
    #[arg(long = "pool", value_name = "NAME[=WORKERS]", value_parser = pool)]
    pools: Vec<String>,
    /// The cluster's scheduler: dask://host:port, with options such as ?workers=2
    #[arg(value_name = "URL", value_parser = cluster)]
    url: String,
    /// The program with the task functions, and its arguments
    #[arg(value_name = "PROGRAM", required = true, num_args = 1..,
          trailing_var_arg = true, allow_hyphen_values = true)]
    program: Vec<OsString>,
}

/// Refuses: no process can be replaced here, and no worker of a cluster be started.
#[cfg(not(unix))]
pub(crate) fn become_program(_: &Args) -> ExitCode {
    eprintln!("outboard: workers of a cluster need a Unix system");
    ExitCode::FAILURE
}

/// Replaces this process by the program; returns only if that fails.
#[cfg(unix)]
pub(crate) fn become_program(args: &Args) -> ExitCode {
    use std::io;
    use std::os::unix::process::CommandExt;
    use std::path::Path;
    use std::process::Command;

    let (program, rest) = args.program.split_first().expect("it is required");
    let error = Command::new(program).args(rest).env(VARIABLE, args.url_with_pools()).exec();
    let name = Path::new(program).display();
    match error.kind() {
        io::ErrorKind::NotFound => {
            eprintln!("outboard: {name}: no such program, as a path or in PATH");
            ExitCode::from(NOT_FOUND)
        }
        _ => {
            eprintln!("outboard: cannot start {name}: {error}");
            ExitCode::from(NOT_STARTED)
        }
    }
}

#[cfg(unix)]
impl Args {
    /// The URL, with the pools as options of it.
    fn url_with_pools(&self) -> String {
        let separators = std::iter::once(if self.url.contains('?') { "&" } else { "?" });
        let separators = separators.chain(std::iter::repeat("&"));
        let options =
            self.pools.iter().zip(separators).map(|(pool, first)| format!("{first}{pool}"));
        std::iter::once(self.url.clone()).chain(options).collect()
    }
}

/// A pool as an option of the URL; the program itself checks its name and number.
fn pool(text: &str) -> Result<String, String> {
    let (name, workers) = text.split_once('=').unwrap_or((text, "1"));
    let letters = |text: &str, more: &str| {
        !text.is_empty() && text.chars().all(|it| it.is_ascii_alphanumeric() || more.contains(it))
    };
    match letters(name, "-_") && letters(workers, ".=") {
        true => Ok(format!("pool.{name}.workers={workers}")),
        false => Err("write it as `gpu`, `gpu=2` or `gpu=0..=4`".to_owned()),
    }
}

/// A URL of a cluster; the program itself checks the rest of it.
fn cluster(url: &str) -> Result<String, String> {
    match url.split_once("://") {
        Some((scheme, _)) if SCHEMES.contains(&scheme) => Ok(url.to_owned()),
        Some((scheme, _)) => {
            Err(format!("{scheme}:// has no cluster to join: write dask://host:port"))
        }
        None => Err("write it as dask://host:port".to_owned()),
    }
}
