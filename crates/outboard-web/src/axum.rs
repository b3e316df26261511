//! What axum's extractors, responses and routes are for these types.

use std::convert::Infallible;

use axum::Router;
use axum::extract::{FromRequestParts, OptionalFromRequestParts};
use axum::response::{IntoResponse, Response};
use http::request::Parts;

use crate::compute::{Compute, NoOffload};
use crate::health::Health;
use crate::jobs::Jobs;
use crate::problem::Problem;

impl<S: Sync> FromRequestParts<S> for Compute {
    type Rejection = NoOffload;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, NoOffload> {
        parts.extensions.get::<Self>().cloned().ok_or(NoOffload)
    }
}

impl<S: Sync> OptionalFromRequestParts<S> for Compute {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Option<Self>, Infallible> {
        Ok(parts.extensions.get::<Self>().cloned())
    }
}

impl IntoResponse for NoOffload {
    fn into_response(self) -> Response {
        tracing::error!(
            "a handler takes `Compute`, but its route has no layer `Offload`: \
             add `.layer(Offload::new(client))` after the route"
        );
        Self::response()
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.into_http()
    }
}

impl Health {
    /// Returns the routes `/healthz` and `/readyz`, to merge into an application.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(client: outboard::Client, app: axum::Router) -> axum::Router {
    /// use std::time::Duration;
    /// use outboard_web::Health;
    ///
    /// app.merge(Health::new(client).max_wait(Duration::from_secs(2)).router())
    /// # }
    /// ```
    pub fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        Router::new().route_service("/healthz", self.clone()).route_service("/readyz", self)
    }
}

#[cfg(feature = "status")]
impl crate::status::Status {
    /// Returns the routes of the page, to nest into an application.
    ///
    /// # Examples
    ///
    /// ```
    /// # async fn login(request: axum::extract::Request, next: axum::middleware::Next)
    /// # -> axum::response::Response { next.run(request).await }
    /// # fn example(client: outboard::Client, app: axum::Router) -> axum::Router {
    /// use axum::middleware::from_fn;
    /// use outboard_web::Status;
    ///
    /// let status = Status::new(client).controls(true).router();
    /// app.nest("/ops/status", status.layer(from_fn(login)))
    /// # }
    /// ```
    pub fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        // The application's router takes the path off.
        let page = self.at("");
        Router::new().route_service("/", page.clone()).route_service("/{*below}", page)
    }
}

impl Jobs {
    /// Returns the routes of the jobs, to nest at their path.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(client: outboard::Client) -> axum::Router {
    /// use axum::{Router, extract::State, response::Response, routing::post};
    /// use outboard_web::{Body, Compute, Jobs, Offload};
    ///
    /// #[outboard::task]
    /// fn report(pages: u64) -> u64 {
    ///     (1..=pages).inspect(|page| outboard::progress(*page, pages, "rendering")).sum()
    /// }
    ///
    /// async fn start(State(jobs): State<Jobs>, compute: Compute) -> Response<Body> {
    ///     jobs.submit(&compute, report, 100)
    /// }
    ///
    /// let jobs = Jobs::at("/jobs");
    /// Router::new()
    ///     .route("/reports", post(start))
    ///     .nest("/jobs", jobs.router())
    ///     .with_state(jobs)
    ///     .layer(Offload::new(client))
    /// # }
    /// ```
    pub fn router<S: Clone + Send + Sync + 'static>(&self) -> Router<S> {
        Router::new()
            .route_service("/{id}", self.clone())
            .route_service("/{id}/events", self.clone())
    }
}

#[cfg(feature = "metrics")]
impl crate::metrics::Metrics {
    /// Returns the route `/metrics`, to merge into an application.
    pub fn router<S: Clone + Send + Sync + 'static>(self) -> Router<S> {
        Router::new().route_service("/metrics", self)
    }
}
