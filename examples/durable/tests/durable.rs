//! The service as its users meet it: servers that are killed, on a PostgreSQL of their own.

mod postgres;
mod server;

use std::time::{Duration, Instant};

use graphile_worker::WorkerUtils;
use sqlx::{PgPool, Row};

use postgres::Postgres;
use server::{Server, get, post};

/// Long enough for anything that works, on a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(120);

/// A database, and a look into it.
struct Scene {
    postgres: Postgres,
    pool: PgPool,
}

impl Scene {
    async fn new() -> Self {
        let postgres = Postgres::start();
        let pool = PgPool::connect(postgres.url()).await.unwrap();
        Self { postgres, pool }
    }

    fn server(&self, more: &[(&str, &str)]) -> Server {
        Server::start(self.postgres.url(), more)
    }

    /// State, attempts and output of a report.
    async fn report(&self, id: i64) -> (String, i32, Option<String>) {
        let query = sqlx::query_as("select state, attempts, output from reports where id = $1");
        query.bind(id).fetch_one(&self.pool).await.unwrap()
    }

    async fn report_is(&self, id: i64, state: &str) -> (String, i32, Option<String>) {
        let start = Instant::now();
        loop {
            let now = self.report(id).await;
            if now.0 == state {
                return now;
            }
            assert!(start.elapsed() < DEADLINE, "report {id} is {now:?}, not {state}");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn count(&self, query: &'static str) -> i64 {
        sqlx::query(query).fetch_one(&self.pool).await.unwrap().get(0)
    }
}

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { tokio::time::timeout(2 * DEADLINE, test).await.expect("it ends") });
}

#[test]
fn another_server_takes_up_what_a_killed_one_computed_and_it_is_done_once() {
    run(async {
        let scene = Scene::new().await;
        let patience = [("DURABLE_PATIENCE", "3")];
        let first = scene.server(&patience);
        let id = first.submit(40, 0);
        scene.report_is(id, "running").await;
        // Each change of the row to `done` is counted by the database itself.
        for statement in [
            "create table ends (report bigint)",
            "create function note_end() returns trigger language plpgsql as
             $$ begin insert into ends values (new.id); return new; end $$",
            "create trigger ends after update on reports for each row
             when (new.state = 'done') execute function note_end()",
        ] {
            sqlx::query(statement).execute(&scene.pool).await.unwrap();
        }
        let second = scene.server(&patience);
        first.kill();
        let (_, attempts, output) = scene.report_is(id, "done").await;
        assert_eq!((attempts, output.as_deref()), (2, Some("40 pages")));
        assert_eq!(scene.count("select count(*) from ends").await, 1);
        second.end();
        assert_eq!(scene.count("select count(*) from graphile_worker.jobs").await, 0);
    });
}

#[test]
fn a_server_that_is_told_to_end_gives_its_work_back() {
    run(async {
        let scene = Scene::new().await;
        let first = scene.server(&[]);
        let id = first.submit(400, 0);
        scene.report_is(id, "running").await;
        first.end();
        assert_eq!(scene.report(id).await.0, "running", "nobody has done it");
        let query = "select count(*) from graphile_worker.jobs where locked_at is null";
        assert_eq!(scene.count(query).await, 1, "anybody may");
    });
}

#[test]
fn a_report_and_its_job_are_there_together_or_not_at_all() {
    run(async {
        let scene = Scene::new().await;
        scene.server(&[]).end();
        let utils = WorkerUtils::new(scene.pool.clone(), "graphile_worker");
        for commits in [false, true] {
            let mut transaction = scene.pool.begin().await.unwrap();
            durable::queue::enqueue(&utils, &mut transaction, 1, 0).await.unwrap();
            match commits {
                true => transaction.commit().await.unwrap(),
                false => transaction.rollback().await.unwrap(),
            }
            let expected = i64::from(commits);
            assert_eq!(scene.count("select count(*) from reports").await, expected);
            assert_eq!(scene.count("select count(*) from graphile_worker.jobs").await, expected);
        }
    });
}

#[test]
fn a_cancel_from_the_page_kills_what_runs_and_removes_what_waits() {
    run(async {
        let scene = Scene::new().await;
        let server = scene.server(&[]);
        let runs = server.submit(1_000_000, 0);
        scene.report_is(runs, "running").await;
        let waits = server.submit(1, 0);
        let page = get(server.address(), "/");
        assert!(page.contains(&format!("action=/reports/{runs}/cancel")), "{page}");
        post(server.address(), &format!("/reports/{waits}/cancel"), "");
        assert_eq!(scene.report(waits).await, ("cancelled".to_owned(), 0, None));
        post(server.address(), &format!("/reports/{runs}/cancel"), "");
        scene.report_is(runs, "cancelled").await;
        // The one worker is free again, or this would not be done.
        let next = server.submit(1, 0);
        assert_eq!(scene.report_is(next, "done").await.2.as_deref(), Some("1 pages"));
        assert_eq!(scene.report(runs).await.0, "cancelled");
        server.end();
        assert_eq!(scene.count("select count(*) from graphile_worker.jobs").await, 0);
    });
}

#[test]
fn the_smallest_priority_is_first() {
    run(async {
        let scene = Scene::new().await;
        let server = scene.server(&[]);
        let holds = server.submit(1_000_000, 0);
        scene.report_is(holds, "running").await;
        let ids = [5, -5, 0].map(|priority| server.submit(1, priority));
        post(server.address(), &format!("/reports/{holds}/cancel"), "");
        for id in ids {
            scene.report_is(id, "done").await;
        }
        let order =
            sqlx::query_scalar("select id from reports where state = 'done' order by ended");
        let order: Vec<i64> = order.fetch_all(&scene.pool).await.unwrap();
        assert_eq!(order, [ids[1], ids[2], ids[0]]);
    });
}

#[test]
fn cron_adds_up_what_is_done() {
    run(async {
        let scene = Scene::new().await;
        let server = scene.server(&[("DURABLE_CRON", "* * * * *")]);
        let id = server.submit(3, 0);
        scene.report_is(id, "done").await;
        let start = Instant::now();
        while scene.count("select coalesce(max(pages), 0) from totals").await != 3 {
            assert!(start.elapsed() < DEADLINE, "nothing is added up");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    });
}
