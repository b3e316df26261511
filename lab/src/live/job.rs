//! A job of the page: it goes on when its visitor closes the page, and is there when he comes back.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Router, middleware};
use outboard_axum::{Compute, Jobs};

use super::problem::Problem;
use super::{Shared, guard, load};
use crate::tasks;

/// How many steps of n a page of the report is below the long computation.
const PAGE_STEPS: u64 = 5;

/// How long a job may take.
const TIMEOUT: Duration = Duration::from_secs(300);

/// How many jobs may be under way.
const MOST_UNDER_WAY: usize = 4;

/// What the routes share.
#[derive(Clone, Debug)]
struct Desk {
    jobs: Jobs,
    shared: Arc<Shared>,
}

/// Where a job is started, and where it is.
pub(super) fn router(shared: Arc<Shared>) -> Router {
    let jobs = Jobs::at("/live/jobs").max_jobs(100).tenant_jobs(MOST_UNDER_WAY);
    Router::new()
        .route("/live/report", post(start))
        .nest("/live/jobs", jobs.router())
        .route_layer(middleware::from_fn(guard::same_site))
        .with_state(Desk { jobs, shared })
}

async fn start(State(desk): State<Desk>, compute: Compute) -> Result<Response, Problem> {
    desk.shared.change(|board| load::free(board))?;
    let n = desk.shared.calibration().await.long.n.saturating_sub(PAGE_STEPS);
    Ok(report(&desk.jobs, compute, n))
}

/// The answer says where the job is: the page asks there how far it is, and may stop it.
fn report(jobs: &Jobs, compute: Compute, n: u64) -> Response {
    let compute = compute.with(|client| client.timeout(TIMEOUT));
    jobs.submit(&compute, tasks::report, n).into_response()
}
