//! Reports that survive a restart: the queue is a table of PostgreSQL, kept by `graphile_worker`,
//! and its handler awaits one task of Outboard.

mod compute;
mod page;
pub mod queue;
pub mod reports;

use std::time::Duration;

use outboard::Client;
use sqlx::PgPool;
use tokio::sync::oneshot;

/// What the server is told by its environment.
#[derive(Debug)]
pub struct Settings {
    /// `DATABASE_URL`.
    pub database: String,
    /// `DURABLE_LISTEN`; by default any free port of this machine.
    pub listen: String,
    /// `DURABLE_CRON`: when totals are added up; by default at three each night.
    pub cron: String,
    /// `DURABLE_PATIENCE`, in seconds: how long a server may be silent before others take its
    /// work up; by default 30.
    pub patience: Duration,
}

impl Settings {
    /// # Errors
    ///
    /// If `DATABASE_URL` is not set, or a number is none.
    pub fn from_env() -> anyhow::Result<Self> {
        let or = |name: &str, default: &str| std::env::var(name).unwrap_or(default.to_owned());
        Ok(Self {
            database: std::env::var("DATABASE_URL")?,
            listen: or("DURABLE_LISTEN", "127.0.0.1:0"),
            cron: or("DURABLE_CRON", "0 3 * * *"),
            patience: Duration::from_secs_f64(or("DURABLE_PATIENCE", "30").parse()?),
        })
    }
}

/// Serves, and works on the queue, until SIGTERM or Ctrl-C.
///
/// # Errors
///
/// What the database, the workers or the listener cannot do.
pub async fn run(settings: Settings) -> anyhow::Result<()> {
    let pool = PgPool::connect(&settings.database).await?;
    reports::migrate(&pool).await?;
    let client = Client::from_env().await?;
    let workers = client.admin().snapshot().workers;
    let (ends, ended) = oneshot::channel();
    let queue = queue::worker(&settings, pool.clone(), client.clone(), workers, ended).await?;

    let listener = tokio::net::TcpListener::bind(&settings.listen).await?;
    println!("http://{}", listener.local_addr()?);
    let app = page::router(pool, queue.create_utils());
    let serving = async {
        let served = outboard_axum::serve(listener, app).await;
        drop(ends);
        served
    };
    // A signal ends the server, and that the queue, which gives back what does not end within its
    // grace. So the client ends after it.
    let (queue, served) = tokio::join!(queue.run(), serving);
    client.shutdown().await;
    queue?;
    println!("{}", served?);
    Ok(())
}
