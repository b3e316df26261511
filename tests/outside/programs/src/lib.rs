//! What the programs share.

use std::io::Write;
use std::path::PathBuf;

/// Where the test looks for notes.
pub fn notes() -> PathBuf {
    std::env::var_os("NOTES").expect("the test names a directory").into()
}

/// How many processes have started.
pub fn starts() -> usize {
    std::fs::read_to_string(notes().join("starts")).unwrap().lines().count()
}

/// Has what this program logs on stderr, from warnings on.
pub fn log() {
    let log = tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::WARN);
    log.with_writer(std::io::stderr).init();
}

/// Notes that a process has started, for the test that counts them.
pub fn started() {
    let path = notes().join("starts");
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(path).unwrap();
    file.write_all(format!("{}\n", std::process::id()).as_bytes()).unwrap();
}

/// Runs a server, and prints its error.
pub fn serve(
    server: impl Future<Output = Result<(), outboard::Error>>,
) -> std::process::ExitCode {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    match runtime.block_on(server) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}
