use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Stdio};

use serde_json::Value;

use crate::process::workers;
use crate::program::{Ended, command, eventually, run};

/// The sections, as JSON names them.
const SECTIONS: [&str; 16] = [
    "roundtrip",
    "pace",
    "throughput",
    "http",
    "payload",
    "streams",
    "browsers",
    "batches",
    "pauses",
    "fast_under_load",
    "scaling",
    "queue_growth",
    "cold_start",
    "idle",
    "kill",
    "python",
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
    let own =
        std::path::Path::new(env!("CARGO_BIN_EXE_lab")).parent().and_then(|it| it.file_name());
    assert_eq!(report["machine"]["profile"].as_str(), own.and_then(|it| it.to_str()), "{report}");
    let mut missed = 0;
    for section in SECTIONS {
        let rows = report[section].as_array().unwrap_or_else(|| panic!("no {section}: {report}"));
        rows.iter().for_each(assert_row);
        missed += rows.iter().filter(|row| row["met"] == false).count();
        let with = |spinners| rows.iter().filter(|row| row["spinners"] == spinners).count();
        assert!(with(false) > 0, "{section} was not measured");
        let spinners = !["idle", "browsers"].contains(&section);
        assert_eq!(with(true) > 0, spinners, "{section} and spinners: {rows:?}");
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
    for word in
        ["bare ping-pong", "spawn_blocking", "rayon + oneshot", "--profile dist", "goals are met"]
    {
        assert!(table.stdout.contains(word), "no {word} in {}", table.stdout);
    }
    let missed = table.stdout.lines().filter(|line| line.starts_with("missed: ")).count();
    assert_eq!(table.stdout.matches(" NO ").count(), missed, "{}", table.stdout);
}

/// A scheduler of Dask's, without workers; killed when this is dropped.
struct Scheduler {
    process: Child,
    address: String,
}

/// Starts it, and ends it with this process: then its stdin ends.
const SCHEDULER: &str = "import os, sys, threading
threading.Thread(target=lambda: (sys.stdin.read(), os._exit(1)), daemon=True).start()
from distributed.cli.dask_scheduler import main
main()";

/// Where `script/bootstrap` puts a Python with Dask.
const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/python/newest/bin/python");

impl Scheduler {
    fn start() -> Self {
        let args = ["--host=127.0.0.1", "--port=0", "--dashboard-address=127.0.0.1:0"];
        let mut process = std::process::Command::new(PYTHON)
            .args(["-c", SCHEDULER])
            .args(args)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("script/bootstrap has installed it");
        let mut log = BufReader::new(process.stderr.take().expect("it is a pipe")).lines();
        let found = log.by_ref().map_while(Result::ok).find_map(|line| {
            let (_, address) = line.split_once("Scheduler at:")?;
            Some(address.trim().replace("tcp://", "dask://"))
        });
        // What it goes on to say has to be read by someone.
        std::thread::spawn(move || log.for_each(drop));
        Self { process, address: found.expect("it says where it is") }
    }
}

impl Drop for Scheduler {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Whether the goals are met is not asked here, either.
#[test]
fn a_cluster_is_measured_beside_dasks_own_client_and_left_as_it_was() {
    let scheduler = Scheduler::start();
    let args = ["bench", "--quick", "--json", "--url", &scheduler.address];
    let wrong = run(&[&args[..], &["--python", "/bin/false"]].concat());
    assert_eq!(wrong.code, Some(1), "{wrong:?}");
    assert!(wrong.stderr.contains("--python PATH"), "{wrong:?}");
    let report = json(&run(&[&args[..], &["--python", PYTHON]].concat()));
    let rows = report["cluster"].as_array().unwrap_or_else(|| panic!("no cluster: {report}"));
    rows.iter().for_each(assert_row);
    assert_eq!(rows.len(), 2, "{report}");
    for row in rows {
        assert_eq!(row["reference_name"], "Python client and workers", "{row}");
        assert_eq!(row["beside"].as_array().map(Vec::len), Some(1), "{row}");
    }
    // Its workers are gone, or this would be refused.
    let again = run(&[&args[..], &["--python", "/bin/false"]].concat());
    assert!(again.stderr.contains("--python PATH"), "{again:?}");
}

#[test]
fn a_bench_ends_the_peers_that_it_started_and_what_those_have_started() {
    let mark = format!("LAB_TEST={}", std::process::id());
    let mut bench = command(&["bench", "--quick", "--only", "python"]);
    bench.env("LAB_TEST", std::process::id().to_string());
    bench.stdout(Stdio::null()).stderr(Stdio::null());
    let mut bench = bench.spawn().expect("the program starts");
    eventually("ProcessPoolExecutor works", || carrying(&mark).len() > 4);
    assert!(bench.wait().expect("it is ours").success());
    eventually("all are gone", || carrying(&mark).is_empty());
}

/// The processes whose environment has that.
fn carrying(mark: &str) -> Vec<PathBuf> {
    let processes = std::fs::read_dir("/proc").expect("it is Linux").filter_map(Result::ok);
    let carries = |process: &PathBuf| {
        let environment = std::fs::read(process.join("environ")).unwrap_or_default();
        environment.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
    };
    processes.map(|process| process.path()).filter(carries).collect()
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
