use std::collections::BTreeSet;
use std::fs;
use std::sync::{Mutex, PoisonError};

use browser::{Browser, Scheme};
use serde_json::Value;

use crate::program::{Ended, run};

/// Two tours at once would measure each other.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

fn take(args: &[&str]) -> Ended {
    let _alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    run(args)
}

/// The experiments of a tour, by name, server and number of requests.
struct Experiments(Vec<Value>);

impl Experiments {
    fn seconds(&self, name: &str, server: &str) -> f64 {
        let named = self.0.iter().find(|e| e["name"] == name && e["server"] == server);
        let seconds = named.and_then(|experiment| experiment["seconds"].as_f64());
        seconds.unwrap_or_else(|| panic!("{name} did not run on {server}"))
    }
}

#[test]
fn no_subcommand_is_the_tour_and_its_json_has_every_experiment() {
    let directory = tempfile::tempdir().expect("a directory can be made");
    let page = directory.path().join("tour.html");
    let page = page.to_str().expect("its name is text");
    let ended = take(&["--quick", "--json", "--html", page]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("40/40"), "no progress: {}", ended.stderr);
    let report: Value = serde_json::from_str(&ended.stdout).expect("stdout is JSON");

    assert_eq!(report["client"]["engine"], "local");
    for key in ["workers", "cores", "memory_bytes"] {
        assert!(report["client"][key].as_u64() > Some(0), "{key}: {}", report["client"]);
    }
    for (key, notebook_n) in [("short", 28), ("long", 35)] {
        let equal = &report["calibration"][key];
        assert_eq!(equal["notebook_n"], notebook_n);
        assert!(equal["n"].as_u64().is_some() && equal["seconds"].as_f64() > Some(0.0));
    }
    let experiments = report["experiments"].as_array().expect("a list").clone();
    experiments.iter().for_each(assert_has_every_key);
    assert_names(&experiments);
    assert_page(page, &experiments);
    assert_ratios(&Experiments(experiments));
}

/// The page begins with a conclusion, has a plot of every experiment, needs nothing else,
/// and is sound at each width in each scheme.
fn assert_page(page: &str, experiments: &[Value]) {
    let html = fs::read_to_string(page).expect("it was written");
    let rows: BTreeSet<_> =
        experiments.iter().map(|e| (e["name"].to_string(), e["requests"].to_string())).collect();
    assert_eq!(html.matches("<figure ").count(), rows.len(), "{html}");
    let (top, _) = html.split_once("<pre").expect("it says what the client is");
    assert!(top.contains("Behind a slow request, the quick page is "), "{top}");
    assert!(top.contains("Twenty slow requests at once"), "{top}");
    assert!(html.contains("The scale is logarithmic"), "{html}");
    for outside in ["<script", "<link", " src=", "@import", "url("] {
        assert!(!html.contains(outside), "it needs {outside}");
    }
    let browser = Browser::start();
    browser.open(&format!("file://{page}"), [390, 844], Scheme::Light);
    let paper = "return getComputedStyle(document.body).backgroundColor";
    let light = browser.script(paper);
    for scheme in [Scheme::Light, Scheme::Dark] {
        browser.look([390, 844], scheme);
        browser.settle();
        browser.assert_accessible();
        assert_eq!(browser.script("return document.documentElement.scrollWidth"), 390);
    }
    assert_ne!(browser.script(paper), light, "it is dark where that is wanted");
    let smallest = "return Math.min(...[...document.querySelectorAll('figure span')]
        .filter(it => it.textContent).map(it => parseFloat(getComputedStyle(it).fontSize)))";
    assert!(browser.script(smallest).as_f64() >= Some(12.0), "too small for a phone");
    browser.assert_no_console_errors();
}

#[test]
fn a_page_that_cannot_be_written_is_said_before_anything_is_measured() {
    let ended = take(&["tour", "--html", "/nowhere/tour.html"]);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(ended.stderr.contains("cannot write /nowhere/tour.html"), "{ended:?}");
}

fn assert_has_every_key(experiment: &Value) {
    assert_eq!(experiment["errors"], 0, "{experiment}");
    assert!(experiment["path"].is_string(), "{experiment}");
    assert!(experiment["requests"].as_u64() > Some(0), "{experiment}");
    for key in ["seconds", "p50_ms", "p99_ms"] {
        assert!(experiment[key].as_f64() > Some(0.0), "{key}: {experiment}");
    }
    let notebook = experiment.get("notebook_seconds").expect("the key is there");
    assert!(notebook.is_null() || notebook.as_f64() > Some(0.0), "{experiment}");
}

fn assert_names(experiments: &[Value]) {
    let text = |value: &Value| value.as_str().expect("it is text").to_owned();
    let found: BTreeSet<(String, String)> =
        experiments.iter().map(|e| (text(&e["name"]), text(&e["server"]))).collect();
    let mut expected = BTreeSet::new();
    for suffix in ["", "_equal_work"] {
        for name in ["fib", "fast_behind_slow", "slow", "parallel", "first_line", "all_lines"] {
            for server in ["before", "threads", "after"] {
                expected.insert((format!("{name}{suffix}"), server.to_owned()));
            }
        }
        expected.insert((format!("parallel_coalesced{suffix}"), "after".to_owned()));
    }
    expected.extend(["before", "threads", "after"].map(|server| ("fast".into(), server.into())));
    expected.extend(["threads", "after"].map(|server| ("roundtrip".into(), server.into())));
    assert_eq!(found, expected);
}

/// What the tour is there to show, within one run.
fn assert_ratios(experiments: &Experiments) {
    let before = experiments.seconds("fast_behind_slow_equal_work", "before");
    let after = experiments.seconds("fast_behind_slow_equal_work", "after");
    assert!(after * 4.0 < before, "fast behind slow: before {before} s, after {after} s");

    let each = experiments.seconds("parallel_equal_work", "after");
    let once = experiments.seconds("parallel_coalesced_equal_work", "after");
    assert!(once * 2.0 < each, "coalesced {once} s, computed each {each} s");

    let first = experiments.seconds("first_line_equal_work", "after");
    let all = experiments.seconds("all_lines_equal_work", "after");
    assert!(first * 2.0 < all, "the first line {first} s, all ten {all} s");
}

#[test]
fn an_experiment_that_fails_is_in_the_table_and_in_the_exit_code() {
    // A queue of one task refuses most of a hundred that come at once.
    let ended = take(&["tour", "--quick", "--url", "local://?workers=1&queue_tasks=1"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    let last = ended.stderr.lines().last().unwrap_or_default();
    assert!(last.starts_with("lab: experiments failed: "), "{last}");
    assert!(last.contains("fib_equal_work on after") && last.contains("http 503"), "{last}");
    for column in ["experiment", "notebook", "before", "threads", "after"] {
        assert!(ended.stdout.contains(column), "no {column} in {}", ended.stdout);
    }
    assert!(ended.stdout.contains("failed"), "{}", ended.stdout);
}
