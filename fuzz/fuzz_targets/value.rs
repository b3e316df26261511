//! See the check.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| outboard::__fuzz::value(data));
