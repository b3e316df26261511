//! The service of the examples and tests of gRPC.

pub mod fib;
