//! Looks at its arguments before it calls `init`: its workers have none.

use std::process::ExitCode;

use outboard::Client;

fn main() -> ExitCode {
    programs::started();
    if std::env::args().nth(1).is_none() {
        eprintln!("usage: usage PORT");
        return ExitCode::from(2);
    }
    outboard::init();
    programs::serve(async {
        let client = Client::local().workers(2).await?;
        client.submit(|x: u64| x + 1, 1).await.map(drop)
    })
}
