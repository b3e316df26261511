use serde_json::Value;

use crate::chaos::interrupt;
use crate::program::run;

#[test]
fn a_flood_slows_those_who_have_no_fair_share() {
    slows(&[]);
}

#[test]
fn shares_hold_within_a_pool() {
    slows(&["--pool"]);
}

fn slows(args: &[&str]) {
    let measured = ["fairness", "--json", "--rounds", "1", "--slice", "400ms"];
    let ended = run(&[&measured, args].concat());
    assert_eq!(ended.code, Some(0), "{ended:?}");
    assert_eq!(ended.stderr, "", "a bar is for terminals");
    let report: Value = serde_json::from_str(&ended.stdout).expect("stdout is JSON");
    assert_eq!((&report["tenants"], &report["rounds"]), (&9.into(), &1.into()));
    for key in ["workers", "cores", "flood_depth", "short_n", "long_n"] {
        assert!(report[key].as_u64() > Some(0), "{key}: {report}");
    }
    let arrangements = report["arrangements"].as_array().expect("a list");
    let names: Vec<_> = arrangements.iter().filter_map(|of| of["name"].as_str()).collect();
    assert_eq!(names, ["capped", "uncapped", "shares_off", "threads"]);
    arrangements.iter().for_each(assert_has_every_key);

    let flooded = |name: &str| {
        let found = arrangements.iter().find(|of| of["name"] == name);
        found.and_then(|of| of["flooded"]["p50_ms"].as_f64()).expect("it is there")
    };
    // Without shares a short task waits for the flood before it, many long tasks.
    for fair in ["capped", "uncapped"] {
        assert!(flooded("shares_off") > 3.0 * flooded(fair), "{fair}: {report}");
    }
    assert_goals(report["goals"].as_array().expect("a list"));
}

fn assert_has_every_key(of: &Value) {
    for slice in ["alone", "flooded"] {
        assert!(of[slice]["tasks"].as_u64() > Some(50), "{slice}: {of}");
        let (p50, p99) = (of[slice]["p50_ms"].as_f64(), of[slice]["p99_ms"].as_f64());
        assert!(p50 > Some(0.0) && p99 >= p50, "{slice}: {of}");
    }
    for key in ["p50_ratio", "p99_ratio", "long_ms"] {
        assert!(of[key].as_f64() > Some(0.0), "{key}: {of}");
    }
    assert!(of["long_tasks"].as_u64() > Some(0), "there was no flood: {of}");
}

fn assert_goals(goals: &[Value]) {
    let limits = [("capped", 2.0), ("uncapped", 1.0)];
    assert_eq!(goals.len(), limits.len());
    for (goal, (name, limit)) in goals.iter().zip(limits) {
        assert_eq!((&goal["name"], &goal["goal"]), (&name.into(), &limit.into()));
        let figure = |key: &str| goal[key].as_f64().unwrap_or_else(|| panic!("{key}: {goal}"));
        // There was one round: the ratio is that of the two.
        let ratio = figure("value") / figure("reference");
        assert!((figure("ratio") / ratio - 1.0).abs() < 1e-6, "{goal}");
        assert_eq!(goal["met"], ratio <= limit, "{goal}");
    }
}

#[test]
fn people_get_a_table_with_all_arrangements_and_goals() {
    let ended = run(&["fairness", "--rounds", "1", "--slice", "50ms", "--workers", "3"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    for words in ["1 round on 3 workers", "| shares off |", "| threads ", "capped: p99", "met"] {
        assert!(ended.stdout.contains(words), "no {words} in {}", ended.stdout);
    }
}

#[test]
fn ctrl_c_ends_it_and_leaves_no_worker() {
    interrupt(&["fairness", "--slice", "1h"]);
}
