//! What axum's extractors and responses are for these types.

use std::convert::Infallible;

use axum_core::extract::{FromRequestParts, OptionalFromRequestParts};
use axum_core::response::{IntoResponse, Response};
use http::StatusCode;
use http::request::Parts;
use serde_json::json;

use crate::compute::{Compute, NoOffload};
use crate::problem::{Problem, document};

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
        let status = StatusCode::INTERNAL_SERVER_ERROR;
        let body = json!({
            "title": status.canonical_reason(),
            "status": status.as_u16(),
            "detail": "The request could not be processed.",
        });
        document(status, &body)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.into_http()
    }
}
