//! The server; `durable::Settings` says what it reads of its environment.

#[outboard::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_writer(std::io::stderr).init();
    durable::run(durable::Settings::from_env()?).await
}
