//! What the kernel here has for a sandbox: the server refuses to start where it lacks
//! something, and its workers use what is there.

use landlock::{ABI, Access, AccessFs, CompatLevel, Compatible, Ruleset, RulesetAttr};
use rustix::thread::secure_computing_mode;

/// The oldest version of landlock that keeps files from being written, by whatever call:
/// older ones let them be truncated.
pub(crate) const LANDLOCK: ABI = ABI::V3;

/// Whether it has that version of landlock.
pub(crate) fn has_landlock() -> bool {
    let ruleset = Ruleset::default().set_compatibility(CompatLevel::HardRequirement);
    ruleset.handle_access(AccessFs::from_all(LANDLOCK)).and_then(Ruleset::create).is_ok()
}

/// Whether it has filters of system calls.
pub(crate) fn has_filters() -> bool {
    let filters = match std::fs::read_to_string("/proc/sys/kernel/seccomp/actions_avail") {
        Ok(actions) => actions.split_whitespace().any(|action| action == "errno"),
        // Of `/proc` only processes may be there, as with `ProcSubset=pid` of systemd.
        Err(_) => secure_computing_mode().is_ok(),
    };
    filters && seccompiler::TargetArch::try_from(std::env::consts::ARCH).is_ok()
}

/// What it lacks, in words.
pub(crate) fn lacks() -> Vec<&'static str> {
    let landlock = "landlock with rules for truncation (Linux 6.2 or later, and `landlock` in \
                    /sys/kernel/security/lsm)";
    let filters = "seccomp filters (CONFIG_SECCOMP_FILTER, on x86_64, aarch64 or riscv64)";
    let all = [(has_landlock(), landlock), (has_filters(), filters)];
    all.into_iter().filter(|(has, _)| !has).map(|(_, what)| what).collect()
}
