//! See the check.
#![no_main]

#[path = "../../crates/dask-protocol/tests/fuzz/messages.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|data: &[u8]| check::check(data));
