//! What fuzzers were given and what they have found, again: each check holds for every
//! file below `fuzz/corpus` and `fuzz/regressions`.
//!
//! The checks are here, so that `cargo test` and `cargo fuzz` have the same ones.

use std::fs;
use std::path::Path;

mod frames;
mod messages;
mod pickle;

/// Has a check look at all files of a target.
fn replay(target: &str, check: fn(&[u8])) {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz");
    let mut seen = 0;
    for kind in ["corpus", "regressions"] {
        let Ok(files) = fs::read_dir(fuzz.join(kind).join(target)) else { continue };
        for file in files {
            let path = file.expect("directories can be listed").path();
            check(&fs::read(&path).expect("files can be read"));
            seen += 1;
        }
    }
    assert!(seen > 0, "{target} has no corpus");
}

#[test]
fn frames_hold_what_fuzzers_found() {
    replay("frames", frames::check);
}

#[test]
fn messages_hold_what_fuzzers_found() {
    replay("messages", messages::check);
}

#[test]
fn pickles_hold_what_fuzzers_found() {
    replay("pickle", pickle::check);
}
