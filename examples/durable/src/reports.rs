//! The application's own tables: what people asked for, and what came of it.

use sqlx::{PgConnection, PgPool, Row};

/// A report, as the page shows it.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Report {
    /// Its number.
    pub id: i64,
    /// How long it is to be.
    pub pages: i32,
    /// `waiting`, `running`, `done`, `failed` or `cancelled`.
    pub state: String,
    /// How often its computation was begun.
    pub attempts: i32,
    /// What came of it.
    pub output: Option<String>,
}

/// One statement at a time: several servers may start at once.
const TABLES: [&str; 2] = [
    "create table if not exists reports (
        id bigint generated always as identity primary key,
        pages integer not null check (pages > 0),
        state text not null default 'waiting',
        attempts integer not null default 0,
        output text,
        ended timestamptz
    )",
    "create table if not exists totals (
        at timestamptz primary key default now(),
        pages bigint not null
    )",
];

/// Makes the tables.
///
/// # Errors
///
/// The database's.
pub async fn migrate(pool: &PgPool) -> sqlx::Result<()> {
    let mut transaction = pool.begin().await?;
    // Concurrent `create table if not exists` can fail.
    sqlx::query("select pg_advisory_xact_lock(7)").execute(&mut *transaction).await?;
    for table in TABLES {
        sqlx::query(table).execute(&mut *transaction).await?;
    }
    transaction.commit().await
}

/// Adds a report, and gives its number.
///
/// # Errors
///
/// The database's.
pub async fn insert(connection: &mut PgConnection, pages: i32) -> sqlx::Result<i64> {
    let query = sqlx::query_scalar("insert into reports (pages) values ($1) returning id");
    query.bind(pages).fetch_one(connection).await
}

/// Begins an attempt, and gives its number; `None` if there is nothing left to do.
pub(crate) async fn begin(pool: &PgPool, id: i64) -> sqlx::Result<Option<(i32, i32)>> {
    let query = sqlx::query_as(
        "update reports set state = 'running', attempts = attempts + 1
         where id = $1 and state in ('waiting', 'running', 'failed') returning attempts, pages",
    );
    query.bind(id).fetch_optional(pool).await
}

/// Ends an attempt; whether it still was the latest one. A server that was taken for dead and
/// comes back changes nothing.
pub(crate) async fn end(
    pool: &PgPool,
    id: i64,
    attempt: i32,
    state: &str,
    output: &str,
) -> sqlx::Result<bool> {
    let query = sqlx::query(
        "update reports set state = $3, output = $4, ended = clock_timestamp()
         where id = $1 and attempts = $2 and state = 'running'",
    );
    let ended = query.bind(id).bind(attempt).bind(state).bind(output).execute(pool).await?;
    Ok(ended.rows_affected() == 1)
}

/// Cancels a report; whether it had not ended.
pub(crate) async fn cancel(connection: &mut PgConnection, id: i64) -> sqlx::Result<bool> {
    let query = sqlx::query(
        "update reports set state = 'cancelled', ended = clock_timestamp()
         where id = $1 and state in ('waiting', 'running', 'failed')",
    );
    Ok(query.bind(id).execute(connection).await?.rows_affected() == 1)
}

/// Whether an attempt should go on: it is the latest, and nobody has cancelled it.
pub(crate) async fn goes_on(pool: &PgPool, id: i64, attempt: i32) -> sqlx::Result<bool> {
    let query = sqlx::query_scalar(
        "select exists (select from reports where id = $1 and attempts = $2 and state = 'running')",
    );
    query.bind(id).bind(attempt).fetch_one(pool).await
}

/// The latest reports.
pub(crate) async fn latest(pool: &PgPool) -> sqlx::Result<Vec<Report>> {
    let rows = sqlx::query("select * from reports order by id desc limit 100");
    Ok(rows.fetch_all(pool).await?.iter().map(report).collect())
}

/// A report, if there is one.
pub(crate) async fn get(pool: &PgPool, id: i64) -> sqlx::Result<Option<Report>> {
    let row = sqlx::query("select * from reports where id = $1").bind(id);
    Ok(row.fetch_optional(pool).await?.as_ref().map(report))
}

fn report(row: &sqlx::postgres::PgRow) -> Report {
    Report {
        id: row.get("id"),
        pages: row.get("pages"),
        state: row.get("state"),
        attempts: row.get("attempts"),
        output: row.get("output"),
    }
}

/// Adds up the pages of all that are done, with what computes that.
pub(crate) async fn done_pages(pool: &PgPool) -> sqlx::Result<Vec<i32>> {
    sqlx::query_scalar("select pages from reports where state = 'done'").fetch_all(pool).await
}

/// Notes a total.
pub(crate) async fn note_total(pool: &PgPool, pages: i64) -> sqlx::Result<()> {
    let query = sqlx::query("insert into totals (pages) values ($1)").bind(pages);
    query.execute(pool).await.map(drop)
}
