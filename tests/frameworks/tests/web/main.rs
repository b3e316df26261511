//! What holds with every framework, of those that need no crate of their own.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

/// What holds with every framework.
#[path = "../../../../crates/outboard-web/tests/frameworks/conformance.rs"]
mod conformance;
/// Calls of gRPC, which the tests of the others do not make.
mod grpc;
/// poem, with the adapter of its example.
mod poem;

outboard::test_worker!();
