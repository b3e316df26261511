//! Does something without end before `init`, in every process but the first.

use std::time::Duration;

use outboard::Client;

fn main() -> std::process::ExitCode {
    programs::started();
    if std::env::var_os("OUTBOARD_WORKER_OF").is_some() {
        std::thread::sleep(Duration::from_secs(1000));
    }
    outboard::init();
    programs::serve(async {
        let client = Client::local().workers(2).start_timeout(Duration::from_millis(50)).await?;
        client.submit(|x: u64| x + 1, 1).await.map(drop)
    })
}
