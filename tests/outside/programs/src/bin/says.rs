//! Its tasks say things by `tracing`, more than is wanted or just before a crash.

use outboard::Client;
use tracing::Instrument;

#[outboard::task]
fn chat(times: u32) {
    for n in 0..times {
        tracing::debug!("hidden");
        tracing::info!(n, "chatting");
    }
}

/// More at once than a socket holds, then nothing.
#[outboard::task]
fn read_out(pages: usize) {
    for page in 0..pages {
        let text = "x".repeat(3_000 - page);
        tracing::info!(a = text, b = text, c = text, d = text, "page");
    }
}

#[outboard::task]
fn crash() {
    tracing::warn!("about to crash");
    std::process::abort();
}

/// Says something while it makes what it says.
#[outboard::task]
fn nested() {
    struct Loud;
    impl std::fmt::Debug for Loud {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            tracing::info!("inner");
            f.write_str("outer")
        }
    }
    tracing::info!("{:?}", Loud);
}

fn main() -> std::process::ExitCode {
    outboard::init_with(outboard::trace::init_worker);
    tracing_subscriber::fmt().with_ansi(false).with_max_level(tracing::Level::INFO).init();
    programs::serve(async {
        let client = Client::local().workers(1).await?;
        async { client.submit(chat, 1_500).await }.instrument(tracing::info_span!("long")).await?;
        for _ in 0..10 {
            let pages = client.submit(read_out, 20);
            async { pages.await }.instrument(tracing::info_span!("wide")).await?;
        }
        async {
            let _ = client.submit(crash, ()).await;
        }
        .instrument(tracing::info_span!("short"))
        .await;
        async { client.submit(nested, ()).await }.instrument(tracing::info_span!("deep")).await?;
        client.shutdown().await;
        Ok(())
    })
}
