//! Calls `init` in the server only: each worker goes on to start workers of its
//! own, if nothing stops it.

use outboard::Client;

fn main() -> std::process::ExitCode {
    programs::started();
    if std::env::var_os("OUTBOARD_WORKER_OF").is_none() {
        outboard::init();
    }
    programs::serve(async {
        let client = Client::local().workers(2).await?;
        client.submit(|x: u64| x + 1, 1).await.map(drop)
    })
}
