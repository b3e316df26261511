//! The web crate as its users meet it: real servers on real ports, with real
//! worker processes.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

/// The status page as it is seen, in Chromium.
mod browser;
/// What holds with every framework.
#[path = "../../../outboard-web/tests/frameworks/conformance.rs"]
mod conformance;
/// Connections that are left half done.
mod connections;
/// A client that leaves: its work stops, or goes on.
mod disconnect;
/// The example, run as a reader would.
mod example;
/// axum, as `outboard_axum::serve` and as `axum::serve` serve it.
mod frameworks;
/// Probes under load and at the end.
mod health;
/// Jobs: started, asked about, read, cancelled; and in Chromium.
mod jobs;
/// What Prometheus reads, and the dashboard that shows it.
mod metrics;
/// Tenants, timeouts and times of requests.
mod offload;
/// Each error as a response, and what it may tell.
mod problem;
/// An application whose tasks' answers a test writes.
mod scripted;
/// The end of a server.
mod shutdown;
/// What the status page tells, to whom, and what it may do.
mod status;
/// Streams as events, lines and bytes.
mod streams;
/// Servers, requests, and tasks under a test's control.
mod support;
/// Connections by TLS.
mod tls;
/// Bodies of requests that tasks read while they arrive.
mod upload;

outboard::test_worker!();
