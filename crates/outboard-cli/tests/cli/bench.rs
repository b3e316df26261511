use serde_json::Value;

use crate::process::workers;
use crate::program::{Ended, command, eventually, run};

/// The sections, as JSON names them.
const SECTIONS: [&str; 10] = [
    "roundtrip",
    "throughput",
    "http",
    "payload",
    "fast_under_load",
    "scaling",
    "queue_growth",
    "cold_start",
    "idle",
    "kill",
];

fn json(ended: &Ended) -> Value {
    assert_eq!(ended.code, Some(0), "{ended:?}");
    serde_json::from_str(&ended.stdout).expect("stdout is JSON")
}

/// Whether the goals are met is not asked here: the machine may be busy.
#[test]
fn a_quick_bench_has_every_section_with_and_without_spinners() {
    let report = json(&run(&["bench", "--quick", "--json"]));
    assert!(report["machine"]["cores"].as_u64() > Some(0), "{report}");
    let mut missed = 0;
    for section in SECTIONS {
        let rows = report[section].as_array().unwrap_or_else(|| panic!("no {section}: {report}"));
        rows.iter().for_each(assert_row);
        missed += rows.iter().filter(|row| row["met"] == false).count();
        let with = |spinners| rows.iter().filter(|row| row["spinners"] == spinners).count();
        assert!(with(false) > 0, "{section} was not measured");
        assert_eq!(with(true) > 0, section != "idle", "{section} and spinners: {rows:?}");
    }
    assert_eq!(report["missed"].as_array().map(Vec::len), Some(missed), "{report}");
}

fn assert_row(row: &Value) {
    let number = |value: &Value| {
        let number = value.as_f64().filter(|number| number.is_finite() && *number >= 0.0);
        number.unwrap_or_else(|| panic!("no number {value} in {row}"))
    };
    let (value, reference) = (number(&row["value"]), number(&row["reference"]));
    assert!((number(&row["ratio"]) - value / reference).abs() <= 1e-9 * value / reference, "{row}");
    for key in ["name", "unit", "reference_name"] {
        assert!(row[key].as_str().is_some_and(|text| !text.is_empty()), "no {key} in {row}");
    }
    let is_within = match row["goal_is"].as_str() {
        Some("at most") => number(&row["ratio"]) <= number(&row["goal"]),
        Some("at least") => number(&row["ratio"]) >= number(&row["goal"]),
        _ => panic!("no goal in {row}"),
    };
    assert_eq!(row["met"], is_within, "{row}");
    assert!(number(&row["spread"][0]) <= value && value <= number(&row["spread"][1]), "{row}");
    for beside in row["beside"].as_array().expect("there is a list") {
        assert!(number(&beside["value"]) >= 0.0 && beside["name"].is_string(), "{beside}");
    }
}

#[test]
fn only_what_was_asked_for_is_measured_and_the_table_says_which_goals_were_missed() {
    let args = ["bench", "--quick", "--only", "roundtrip,cold_start"];
    let report = json(&run(&[&args[..], &["--json"]].concat()));
    for section in SECTIONS {
        let asked = ["roundtrip", "cold_start"].contains(&section);
        assert_eq!(report[section].is_array(), asked, "{section} in {report}");
    }
    let table = run(&args);
    assert_eq!((table.code, table.stderr.as_str()), (Some(0), ""), "{table:?}");
    for word in ["bare ping-pong", "spawn_blocking", "rayon + oneshot", "goals are met"] {
        assert!(table.stdout.contains(word), "no {word} in {}", table.stdout);
    }
    let missed = table.stdout.lines().filter(|line| line.starts_with("missed: ")).count();
    assert_eq!(table.stdout.matches(" NO ").count(), missed, "{}", table.stdout);
}

#[test]
fn a_bench_that_is_killed_leaves_no_process() {
    let mut bench = command(&["bench", "--only", "roundtrip"]).spawn().expect("the program starts");
    let mut children = workers(bench.id());
    // Two clients with their workers, and a bare process.
    eventually("the bench has begun", || {
        children = workers(bench.id());
        children.len() > 2
    });
    bench.kill().expect("it still runs");
    bench.wait().expect("it was killed");
    for pid in children.keys() {
        let process = format!("/proc/{pid}");
        eventually("the child is gone", || !std::path::Path::new(&process).exists());
    }
}
