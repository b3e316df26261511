//! Outboard in web servers, whatever their framework: what `client.submit` needs around it.
//!
//! A server whose framework drops a handler when its client leaves needs one line: it serves on
//! connections that are [`Watched`]. axum has that in the crate `outboard-axum`, and actix-web,
//! which drops no handlers, in `outboard-actix`.
//!
//! | you want | you use |
//! |---|---|
//! | a computation to stop when its client leaves, whatever it sent | [`Watched`], around the connection; [`Gone`], beside it |
//! | a computation to go on when its client leaves | [`FinishOnDisconnect`], a layer |
//! | an error of Outboard as a response | [`Problem`]: 503 with `Retry-After`, 429, 504, 413, 500, as RFC 9457 says |
//! | tenant and timeout of each request, and its times in `Server-Timing` | [`Offload`], a layer, with the rules in [`tenant`]; [`Compute`] in the handler |
//! | tasks that go on when their client has left, and that it asks about later | [`Jobs`], a service |
//! | probes of an orchestrator | [`Health`], a service: `/healthz` and `/readyz` |
//! | to see live what it does | `Status`, a service for a page, with the feature `status` |
//! | graphs and alerts | `Metrics`, a service for Prometheus, with the feature `metrics` |
//!
//! Types are those of the crate `http`, and layers those of tower: they fit hyper, axum, tonic,
//! warp, and others by their adapters. The feature `axum` has axum's extractors, responses and
//! routes for them.

#![cfg_attr(docsrs, feature(doc_cfg))]

mod answer;
#[cfg(feature = "axum")]
mod axum;
mod compute;
mod disconnect;
mod ending;
mod gone;
mod grpc;
mod health;
mod jobs;
#[cfg(feature = "metrics")]
mod metrics;
mod offload;
mod problem;
#[cfg(feature = "status")]
mod status;
pub mod tenant;
mod watched;

pub use answer::Body;
pub use compute::{Compute, LateTiming, NoOffload};
pub use disconnect::{FinishOnDisconnect, FinishOnDisconnectService};
pub use ending::Ending;
pub use gone::Gone;
pub use health::Health;
pub use jobs::Jobs;
#[cfg(feature = "metrics")]
pub use metrics::Metrics;
pub use offload::{Offload, OffloadFuture, OffloadService};
pub use problem::{Exposure, Problem};
#[cfg(feature = "status")]
pub use status::{Status, view};
pub use watched::Watched;
