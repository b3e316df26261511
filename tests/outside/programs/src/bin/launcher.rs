//! Executes a newer program where one is installed, as launchers do: so its workers are of
//! another build from then on.

use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Command, ExitCode};
use std::time::Duration;

use outboard::Client;

fn main() -> ExitCode {
    programs::started();
    let newer = programs::notes().join("newer");
    if std::env::var_os("OUTBOARD_WORKER_OF").is_some()
        && let Ok(program) = std::fs::read_to_string(&newer)
    {
        panic!("{}", Command::new(program).exec());
    }
    outboard::init();
    programs::log();
    programs::serve(serve(newer))
}

async fn serve(newer: PathBuf) -> Result<(), outboard::Error> {
    let client = Client::local().workers(1).spares(0).await?;
    let installed = std::env::current_exe().unwrap().with_file_name("output");
    std::fs::write(newer, installed.to_str().unwrap()).unwrap();
    let lost = client.submit(|| -> u8 { std::process::abort() }, ()).await;
    assert!(lost.is_err());
    let error = client.submit(|x: u64| x + 1, 1).await.unwrap_err();
    println!("{error}");
    // They go on to be started, and nothing is new.
    while programs::starts() < 8 {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    client.shutdown().await;
    Ok(())
}
