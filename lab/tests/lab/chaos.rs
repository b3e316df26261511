use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::process::{Workers, workers};
use crate::program::{command, eventually, finish_started, run};

fn chaos(args: &[&str]) -> Value {
    let ended = run(&[&["chaos", "--json"], args].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).expect("stdout is JSON")
}

/// The hits by tasks that end their worker.
const INSIDE: [&str; 4] = ["abort", "exit", "memory_exhaustion", "stack_overflow"];

/// Those by values that are nested too deeply.
const TOO_DEEP: [&str; 2] = ["too_deep_arguments", "too_deep_result"];

#[test]
fn workers_that_are_hit_cost_only_their_own_requests_and_leave_nothing() {
    let report = chaos(&["--seconds", "3", "--seed", "7"]);
    assert_eq!((&report["engine"], &report["seed"]), (&"local".into(), &7.into()));
    for none in ["lost", "wrong", "collateral", "zombies", "orphans", "leaked_descriptors"] {
        assert_eq!(report[none], 0, "{none}: {report}");
    }
    assert_eq!(report["full_again"], true, "{report}");
    let count = |key: &str| report[key].as_u64().unwrap_or_else(|| panic!("{key}: {report}"));
    assert!(count("right") > 0 && count("typed_errors") > 0, "{report}");
    assert_eq!(count("requests"), count("right") + count("typed_errors"), "{report}");

    let (seconds, below) = (&report["seconds"], &report["seconds_below_full"]);
    assert!(seconds.as_f64() >= Some(3.0) && below.as_f64() < seconds.as_f64(), "{report}");
    // A worker that SIGSTOP holds is missed for a second.
    assert!(below.as_f64() > Some(0.0), "{report}");

    let hits = report["hits"].as_object().expect("an object");
    let kinds: Vec<_> = hits.keys().map(String::as_str).collect();
    let outside = ["requests_to_end", "sigkill", "sigsegv", "sigstop"];
    let harmless = ["batch", "deep_values", "fork", "thread", "user"];
    let mut all = [&outside[..], &harmless, &INSIDE, &TOO_DEEP].concat();
    all.sort_unstable();
    assert_eq!(kinds, all);
    assert!(hits.values().all(|count| count.as_u64() > Some(0)), "{report}");
    // Every request whose task crashed was told so.
    let hits_of =
        |kinds: &[&str]| -> u64 { kinds.iter().filter_map(|it| hits[*it].as_u64()).sum() };
    let (crashed, deep) = (hits_of(&INSIDE), hits_of(&TOO_DEEP));
    assert!(count("typed_errors") >= crashed + deep, "{report}");
    // And no other value is too deep.
    assert_eq!(report["errors_by_kind"]["codec"], deep, "{report}");
}

#[test]
fn people_get_a_table_and_the_seed() {
    let ended = run(&["chaos", "--seconds", "0.1", "--seed", "3", "--workers", "3"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for words in ["hits on 3 workers", "(--seed 3)", "| leaked descriptors |     0 |", "sigstop"] {
        assert!(ended.stdout.contains(words), "no {words} in {}", ended.stdout);
    }
}

#[test]
fn chaos_needs_workers_that_can_die() {
    let ended = run(&["chaos", "--url", "inline://"]);
    assert_eq!((ended.code, ended.stderr.lines().count()), (Some(2), 1), "{ended:?}");
    assert!(ended.stderr.contains("local://"), "{ended:?}");
}

#[test]
fn ctrl_c_ends_a_storm_and_leaves_no_worker() {
    interrupt(&["chaos", "--seconds", "1h"]);
}

/// Starts a command that has workers, and ends it by Ctrl-C.
pub(crate) fn interrupt(args: &[&str]) {
    let child = command(args).spawn().expect("the program starts");
    let pid = child.id();
    let mut seen = Workers::new();
    let ended = finish_started(child, || {
        eventually("it has workers that compute", || {
            seen.extend(workers(pid));
            seen.values().sum::<u64>() >= 3
        });
        let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("it has a pid");
        kill_process(pid, Signal::INT).expect("it is there");
    });
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stderr.lines().last(), Some("lab: interrupted"), "{ended:?}");
    for worker in seen.keys() {
        let process = format!("/proc/{worker}");
        eventually("the worker is gone", || !Path::new(&process).exists());
    }
}
