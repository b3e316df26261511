//! How this program is started again as a worker.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{Acquire, Release};

use linkme::distributed_slice;

/// Whether `init` ran in this process.
static INITIALISED: AtomicBool = AtomicBool::new(false);

/// The paths of the tests that `test_worker!` makes, without the crate's name.
#[doc(hidden)]
#[distributed_slice]
pub static OUTBOARD_0_1_0_TEST_WORKERS: [&'static str];

/// `init` runs in this process, so it can be started again as a worker.
pub(crate) fn initialised() {
    INITIALISED.store(true, Release);
}

/// Whether `init` ran in this process.
pub(crate) fn is_initialised() -> bool {
    INITIALISED.load(Acquire)
}

/// How this program is started again as a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Restart {
    /// As it is: `init` is in its `main`.
    Main,
    /// As the test of that name.
    Test(&'static str),
}

/// How to start workers, or why they could not become workers.
pub(crate) fn restart() -> Result<Restart, String> {
    if is_initialised() {
        return Ok(match OUTBOARD_0_1_0_TEST_WORKERS.first() {
            Some(path) => Restart::Test(test_name(path)),
            None => Restart::Main,
        });
    }
    match OUTBOARD_0_1_0_TEST_WORKERS[..] {
        [path] => Ok(Restart::Test(test_name(path))),
        [] => Err("`outboard::init()` did not run in this process: call it first in `main` \
                   (in a test binary, put `outboard::test_worker!()` beside the tests)"
            .into()),
        _ => Err(format!(
            "`outboard::test_worker!()` stands more than once in this test binary, keep one: {}",
            OUTBOARD_0_1_0_TEST_WORKERS.join(", ")
        )),
    }
}

/// The name by which a test harness knows a test: its path without the crate.
fn test_name(path: &'static str) -> &'static str {
    path.split_once("::").map_or(path, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    /// A new version renames the statics; linkme takes the sections' names from them.
    #[cfg(target_os = "linux")]
    #[test]
    fn sections_are_named_after_the_library_and_its_version() {
        let program = std::fs::read("/proc/self/exe").unwrap();
        let version = env!("CARGO_PKG_VERSION").replace(['.', '-', '+'], "_");
        let names = program.split(|byte| *byte == 0);
        let names: HashSet<_> = names.filter_map(|name| name.strip_prefix(b"linkme_")).collect();
        let has = |name: &str| names.contains(name.as_bytes());
        for slice in ["TASKS", "NAMES", "STARTS", "START_NAMES", "TEST_WORKERS", "ENGINES"] {
            assert!(has(&format!("OUTBOARD_{version}_{slice}")), "{slice} has another name");
            assert!(!has(slice), "{slice} has a name that others may take");
        }
    }

    #[test]
    fn a_test_is_named_without_its_crate() {
        assert_eq!(test_name("krate::outboard_test_worker"), "outboard_test_worker");
        assert_eq!(test_name("krate::a::outboard_test_worker"), "a::outboard_test_worker");
    }
}
