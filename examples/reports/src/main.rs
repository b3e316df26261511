//! Reports from SQLite as CSV. A report that nobody waits for any more is stopped.

mod catalog;
mod csv;

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use axum::extract;
use axum::http::StatusCode;
use axum::http::header::{CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{Html, IntoResponse, Response};
use axum::{Json, Router, routing::get};
use bytes::Bytes;
use outboard::Client;
use outboard_axum::{Compute, Offload, Problem, status, tenant};
use sqlx::sqlite::{SqliteConnectOptions, SqlitePool, SqlitePoolOptions};
use sqlx::{ConnectOptions, Connection};
use tokio::net::TcpListener;

static POOL: OnceLock<SqlitePool> = OnceLock::new();

/// Runs in each worker before its first task. Read-only: a worker may be killed at any time.
#[outboard::on_start]
async fn open(file: PathBuf) -> Result<(), sqlx::Error> {
    let options = SqliteConnectOptions::new().filename(file).read_only(true);
    // One task runs at a time.
    let pool = SqlitePoolOptions::new().max_connections(1).connect_with(options).await?;
    POOL.get_or_init(|| pool);
    Ok(())
}

/// A report as CSV. `Bytes` reach the response without a codec.
#[outboard::task]
async fn report(name: String) -> Result<Bytes, String> {
    let pool = POOL.get().expect("`open` runs before the first task");
    let report = catalog::find(&name).ok_or("there is no such report")?;
    csv::of(sqlx::query(report.sql).fetch(pool)).await.map_err(|error| error.to_string())
}

async fn answer(
    compute: Compute,
    extract::Path(name): extract::Path<String>,
) -> Result<Response, Problem> {
    let Some(wanted) = catalog::find(&name) else {
        return Ok(StatusCode::NOT_FOUND.into_response());
    };
    let file = format!("attachment; filename=\"{}.csv\"", wanted.name);
    let headers = [(CONTENT_TYPE, "text/csv; charset=utf-8"), (CONTENT_DISPOSITION, &file)];
    Ok(match compute.submit(report, name).await? {
        Ok(csv) => (headers, csv).into_response(),
        Err(error) => {
            eprintln!("the report {} failed: {error}", wanted.name);
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    })
}

/// Makes the example's data, unless they are there. Only a whole file gets the name.
async fn create(file: &Path) -> Result<(), Box<dyn Error>> {
    if file.exists() {
        return Ok(());
    }
    println!("making {}", file.display());
    let unfinished = file.with_extension("unfinished");
    let _ = std::fs::remove_file(&unfinished);
    let options = SqliteConnectOptions::new().filename(&unfinished).create_if_missing(true);
    let mut connection = options.connect().await?;
    let script = concat!("BEGIN;", include_str!("shop.sql"), "COMMIT;");
    sqlx::raw_sql(script).execute(&mut connection).await?;
    connection.close().await?;
    std::fs::rename(unfinished, file)?;
    Ok(())
}

#[outboard::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let port = arguments.next().map_or(Ok(9000), |port| port.parse())?;
    let file = PathBuf::from(arguments.next().as_deref().unwrap_or("shop.db"));
    create(&file).await?;

    let file = file.canonicalize()?;
    let client = Client::local().workers(2).memory_limit(512 << 20).start_with(file).await?;
    let offload =
        Offload::new(client.clone()).tenant(tenant::peer).timeout(Duration::from_secs(300));
    let app = Router::new()
        .route("/", get(Html(include_str!("page.html"))))
        .route("/reports", get(async || Json(&catalog::REPORTS)))
        .route("/reports/{name}", get(answer).layer(offload))
        .nest("/status", status(client.clone()));

    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    println!("listening on http://{}/", listener.local_addr()?);
    outboard_axum::serve(listener, app).client(client).await?;
    Ok(())
}
