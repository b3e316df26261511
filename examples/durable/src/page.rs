//! What browsers see: a page of reports, with a button for each, and the same as JSON.

use axum::Router;
use axum::extract::{Form, Path, State};
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Json, Redirect, Response};
use axum::routing::{get, post};
use graphile_worker::WorkerUtils;
use serde::Deserialize;
use sqlx::PgPool;

use crate::reports::Report;
use crate::{queue, reports};

/// What the handlers share.
#[derive(Clone)]
struct Site {
    pool: PgPool,
    utils: WorkerUtils,
}

/// What a form asks for.
#[derive(Deserialize)]
struct Wish {
    pages: i32,
    #[serde(default)]
    priority: i16,
}

pub(crate) fn router(pool: PgPool, utils: WorkerUtils) -> Router {
    Router::new()
        .route("/", get(list))
        .route("/reports", post(start))
        .route("/reports/{id}", get(look).delete(stop))
        .route("/reports/{id}/cancel", post(stop))
        // Browsers ask for one where JSON is shown.
        .route("/favicon.ico", get(|| async { StatusCode::NO_CONTENT }))
        .with_state(Site { pool, utils })
}

/// Commits the report and its job together.
async fn start(State(site): State<Site>, Form(wish): Form<Wish>) -> Result<Redirect, Failed> {
    let mut transaction = site.pool.begin().await?;
    let Wish { pages, priority } = wish;
    let id = queue::enqueue(&site.utils, &mut transaction, pages, priority).await?;
    transaction.commit().await?;
    Ok(Redirect::to(&format!("/reports/{id}")))
}

async fn look(State(site): State<Site>, Path(id): Path<i64>) -> Result<Response, Failed> {
    Ok(match reports::get(&site.pool, id).await? {
        Some(report) => Json(report).into_response(),
        None => StatusCode::NOT_FOUND.into_response(),
    })
}

async fn stop(State(site): State<Site>, Path(id): Path<i64>) -> Result<Redirect, Failed> {
    let mut transaction = site.pool.begin().await?;
    queue::cancel(&site.utils, &mut transaction, id).await?;
    transaction.commit().await?;
    Ok(Redirect::to("/"))
}

async fn list(State(site): State<Site>) -> Result<Html<String>, Failed> {
    let rows: String = reports::latest(&site.pool).await?.iter().map(row).collect();
    Ok(Html(format!(
        "<!doctype html><html lang=en><meta charset=utf-8><title>Reports</title>
         <meta name=viewport content='width=device-width'><link rel=icon href='data:,'>
         <style>:root {{ color-scheme: light dark; font-family: system-ui, sans-serif }}</style>
         <main><h1>Reports</h1>
         <form method=post action=/reports>
           <label>Pages <input name=pages type=number min=1 value=100></label>
           <label>Priority, the smallest first <input name=priority type=number value=0></label>
           <button id=start>Start</button>
         </form>
         <table><tr><th>number<th>pages<th>state<th>attempts<th>output<td></tr>{rows}</table></main>"
    )))
}

/// Nothing of it is text of others.
fn row(report: &Report) -> String {
    let Report { id, pages, state, attempts, output } = report;
    let output = output.as_deref().unwrap_or_default();
    let button = match state.as_str() {
        "waiting" | "running" | "failed" => {
            format!("<form method=post action=/reports/{id}/cancel><button>Cancel</button></form>")
        }
        _ => String::new(),
    };
    format!("<tr><td>{id}<td>{pages}<td>{state}<td>{attempts}<td>{output}<td>{button}</tr>\n")
}

/// What the database could not do.
struct Failed(anyhow::Error);

impl<E: Into<anyhow::Error>> From<E> for Failed {
    fn from(error: E) -> Self {
        Self(error.into())
    }
}

impl IntoResponse for Failed {
    fn into_response(self) -> Response {
        eprintln!("durable: {:#}", self.0);
        StatusCode::INTERNAL_SERVER_ERROR.into_response()
    }
}
