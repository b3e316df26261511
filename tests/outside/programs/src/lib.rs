//! What the programs share.

use std::io::Write;

/// Notes that a process has started, for the test that counts them.
pub fn started() {
    let directory = std::env::var("NOTES").expect("the test names a directory");
    let path = std::path::Path::new(&directory).join("starts");
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
