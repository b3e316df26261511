//! Never calls `init`.

use outboard::Client;

fn main() -> std::process::ExitCode {
    programs::started();
    programs::serve(async {
        let client = Client::local().workers(2).await?;
        client.submit(|x: u64| x + 1, 1).await.map(drop)
    })
}
