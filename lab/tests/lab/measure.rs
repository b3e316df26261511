use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};
use std::thread;

use serde_json::Value;

use crate::program::{Ended, Serving, finish, run};

fn json(ended: &Ended) -> Value {
    serde_json::from_str(&ended.stdout).expect("stdout is JSON")
}

fn url(address: &str, path: &str) -> String {
    format!("http://{address}{path}")
}

#[test]
fn one_line_says_url_number_total_time_and_percentiles() {
    let serving = Serving::start(&[]);
    for address in serving.addresses() {
        let page = url(address, "/fast");
        let ended = run(&["measure", &page, "-n", "20"]);
        assert_eq!((ended.code, ended.stderr.as_str()), (Some(0), ""), "{ended:?}");
        assert_eq!(ended.stdout.lines().count(), 1, "{ended:?}");
        let expected = format!("{page}, 20 simultaneous requests, total time: ");
        assert!(ended.stdout.starts_with(&expected), "{ended:?}");
        for part in [", p50 ", ", p99 ", ", no errors"] {
            assert!(ended.stdout.contains(part), "no {part:?} in {ended:?}");
        }
    }
}

#[test]
fn json_has_the_same_figures() {
    let serving = Serving::start(&[]);
    let page = url(&serving.threads, "/fib/20");
    let ended = run(&["measure", &page, "-n", "5", "--json"]);
    assert_eq!(ended.code, Some(0), "{ended:?}");
    let report = json(&ended);
    assert_eq!(report["url"], page.as_str());
    assert_eq!(report["requests"], 5);
    assert_eq!(report["errors"], 0);
    assert!(report["errors_by_kind"].as_object().is_some_and(serde_json::Map::is_empty));
    let number = |key: &str| report[key].as_f64().expect("it is a number");
    assert!(number("seconds") > 0.0);
    assert!(number("p50_ms") <= number("p99_ms"));
    assert!(number("p99_ms") <= number("seconds") * 1e3 + 1e-6);
}

#[test]
fn while_reports_the_slow_request_as_well() {
    let serving = Serving::start(&[]);
    let (fast, slow) = (url(&serving.before, "/fast"), url(&serving.before, "/fib/39"));
    let text = run(&["measure", &fast, "--while", &slow]);
    assert_eq!(text.code, Some(0), "{text:?}");
    let lines: Vec<&str> = text.stdout.lines().collect();
    assert!(lines.len() == 2 && lines[0].starts_with(&fast) && lines[1].starts_with(&slow));

    // Before answers in the order of arrival: the fast page waits for the slow one.
    let report = json(&run(&["measure", &fast, "--while", &slow, "--json"]));
    let seconds = |report: &Value| report["seconds"].as_f64().expect("it is a number");
    assert_eq!(report["while"]["url"], slow.as_str());
    assert!(seconds(&report) > seconds(&report["while"]) / 2.0, "{report}");
}

#[test]
fn errors_are_counted_by_kind() {
    let serving = Serving::start(&[]);
    let page = url(&serving.after, "/fib/abc");
    let text = run(&["measure", &page, "-n", "5"]);
    assert_eq!(text.code, Some(1), "{text:?}");
    assert!(text.stdout.contains("errors: 5 × http 400"), "{text:?}");
    assert_eq!(text.stderr, "lab: 5 of 5 requests failed\n");
    let report = json(&run(&["measure", &page, "-n", "5", "--json"]));
    assert_eq!(report["errors"], 5);
    assert_eq!(report["errors_by_kind"]["http 400"], 5);
    assert_eq!(report["p50_ms"], Value::Null);
}

#[test]
fn a_refused_connection_is_named() {
    let unused = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = unused.local_addr().expect("it is bound").to_string();
    drop(unused);
    let ended = run(&["measure", &url(&address, "/"), "-n", "3"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("3 × connection refused"), "{ended:?}");
}

#[test]
fn a_closed_connection_is_named() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound").to_string();
    thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a client connects");
            let _ = stream.read(&mut [0; 512]);
        }
    });
    let ended = run(&["measure", &url(&address, "/"), "-n", "2"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("2 × connection closed"), "{ended:?}");
}

#[test]
fn an_answer_that_does_not_come_times_out() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let page = url(&silent.local_addr().expect("it is bound").to_string(), "/");
    let ended = run(&["measure", &page, "-n", "2", "--timeout", "200ms"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert!(ended.stdout.contains("2 × timed out"), "{ended:?}");
}

#[test]
fn ten_thousand_at_once_work_or_the_limit_is_named() {
    let serving = Serving::start(&[]);
    let ended = run(&["measure", &url(&serving.after, "/fast"), "-n", "10000"]);
    if ended.code == Some(0) {
        assert!(ended.stdout.contains(", 10,000 simultaneous requests"), "{ended:?}");
        assert!(ended.stdout.contains("no errors"), "{ended:?}");
    } else {
        assert!(ended.stderr.contains("open files"), "{ended:?}");
    }
}

#[test]
fn too_few_files_is_one_line_that_says_how_to_have_more() {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -n 100 && exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_lab")]);
    command.args(["measure", "http://127.0.0.1:1/", "-n", "1000"]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let ended = finish(command);
    assert_eq!((ended.code, ended.stdout.as_str()), (Some(1), ""), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(ended.stderr.contains("may have 100"), "{ended:?}");
    assert!(ended.stderr.contains("ulimit -Hn"), "{ended:?}");
}

#[test]
fn a_host_that_is_not_known_is_one_line() {
    let ended = run(&["measure", "http://nowhere.invalid/"]);
    assert_eq!(ended.code, Some(1), "{ended:?}");
    assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
    assert!(ended.stderr.contains("nowhere.invalid"), "{ended:?}");
}
