use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::http::{Answer, answer, ask, ask_with, get, get_with};
use crate::process::{children, wait_until_busy, wait_until_idle, workers};
use crate::program::{DEADLINE, Serving, eventually, run};

/// Takes any machine longer than any test: what it holds, only a kill frees.
const ENDLESS: &str = "/fib/93";

#[test]
fn every_server_answers_both_pages() {
    let serving = Serving::start(&[]);
    for address in serving.addresses() {
        let fast = get(address, "/fast");
        assert_eq!((fast.status, fast.body.as_str()), (200, "Hello, world"));
        let fib = get(address, "/fib/20");
        assert_eq!((fib.status, fib.body.as_str()), (200, "6765"));
        assert_eq!(get(address, "/").status, 200);
    }
    let coalesced = get(&serving.after, "/coalesced/fib/20");
    assert_eq!((coalesced.status, coalesced.body.as_str()), (200, "6765"));
}

#[test]
fn a_bad_number_is_refused_with_a_sentence() {
    let serving = Serving::start(&[]);
    let digits = format!("/fib/{}", "7".repeat(400));
    for address in serving.addresses() {
        for path in ["/fib/abc", "/fib/-1", "/fib/", "/fib", "/fib/1.5", "/nothing", &digits] {
            let refused = get(address, path);
            assert!((400..500).contains(&refused.status), "{path}: {refused:?}");
            assert!(refused.body.trim().contains(' '), "{path} has no sentence: {refused:?}");
        }
        for path in ["/fib/94", "/fib/18446744073709551616", &digits] {
            let refused = get(address, path);
            assert!((400..500).contains(&refused.status), "{path}: {refused:?}");
            assert!(refused.body.contains("does not fit 64 bits"), "{path}: {refused:?}");
        }
    }
}

#[test]
fn what_cannot_be_stopped_is_not_begun() {
    let serving = Serving::start(&[]);
    for address in [&serving.before, &serving.threads] {
        let refused = get(address, ENDLESS);
        assert!((400..500).contains(&refused.status), "{refused:?}");
        assert!(refused.body.contains("the server after"), "{refused:?}");
    }
}

#[test]
fn a_timeout_is_504_and_frees_the_cpu() {
    let serving = Serving::start(&["--workers", "1", "--timeout", "300ms"]);
    let late = get(&serving.after, ENDLESS);
    assert_eq!(late.status, 504, "{late:?}");
    assert_eq!(problem(&late)["kind"], "timed_out");
    assert!(late.body.contains("timed out while running"), "{late:?}");
    wait_until_idle(serving.pid());
    // There is but one worker: it, or its replacement, takes tasks again.
    eventually("the worker is back", || get(&serving.after, "/fib/20").status == 200);
}

#[test]
fn a_browser_that_leaves_frees_the_cpu() {
    let serving = Serving::start(&["--workers", "1", "--timeout", "1h"]);
    let browser = ask(&serving.after, ENDLESS);
    wait_until_busy(serving.pid());
    drop(browser);
    wait_until_idle(serving.pid());
    assert_eq!(get(&serving.after, "/fib/20").body, "6765");
}

#[test]
fn a_client_is_gone_in_whatever_way_it_leaves() {
    let serving = Serving::start(&["--workers", "1", "--timeout", "1h"]);
    let head = format!("GET {ENDLESS} HTTP/1.1\r\nHost: x\r\n");
    let second = "GET /fast HTTP/1.1\r\nHost: x\r\n\r\n";
    let with_body = format!("{head}Content-Length: 1000\r\n\r\n");
    for (sent, reset) in [
        (format!("{head}\r\n"), true),
        (format!("{head}\r\n{second}"), false),
        (format!("{head}\r\n{second}"), true),
        (format!("{head}\r\n\r\n"), false),
        (format!("{with_body}abc"), false),
        (format!("{with_body}{}", "x".repeat(1000)), false),
    ] {
        let mut client = TcpStream::connect(&serving.after).unwrap();
        client.write_all(sent.as_bytes()).unwrap();
        wait_until_busy(serving.pid());
        if reset {
            socket2::SockRef::from(&client).set_linger(Some(Duration::ZERO)).unwrap();
        }
        drop(client);
        wait_until_idle(serving.pid());
    }
    // Whoever closes its sending half looks the same, and is told nothing.
    for version in ["1.1", "1.0"] {
        let mut client = TcpStream::connect(&serving.after).unwrap();
        write!(client, "GET {ENDLESS} HTTP/{version}\r\nHost: x\r\n\r\n").unwrap();
        wait_until_busy(serving.pid());
        client.shutdown(Shutdown::Write).unwrap();
        client.set_read_timeout(Some(DEADLINE)).unwrap();
        assert_eq!(client.read(&mut [0]).ok(), Some(0), "the connection ends");
        wait_until_idle(serving.pid());
    }
    assert_eq!(get(&serving.after, "/fib/20").body, "6765");
}

#[test]
fn a_full_queue_is_503_and_says_when_to_come_back() {
    let serving = Serving::start(&["--url", "local://?workers=1&queue_tasks=1"]);
    let _browsers: Vec<_> = (0..50).map(|_| ask(&serving.after, ENDLESS)).collect();
    wait_until_busy(serving.pid());
    eventually("a request is refused", || {
        let refused = get(&serving.after, "/fib/1");
        refused.status == 503
            && problem(&refused)["kind"] == "overloaded"
            && refused.header("retry-after").is_some_and(|after| after.parse::<u64>().is_ok())
    });
}

/// The body of an answer that is a problem (RFC 9457).
fn problem(answer: &Answer) -> Value {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let body: Value = serde_json::from_str(&answer.body).expect("it is JSON");
    assert_eq!(body["status"], answer.status);
    body
}

#[test]
fn answers_say_how_long_their_task_waited_and_ran() {
    let serving = Serving::start(&[]);
    let timing = |path| get(&serving.after, path).header("server-timing").map(str::to_owned);
    for path in ["/fib/20", "/coalesced/fib/20", "/kept/fib/20"] {
        let shown = timing(path).unwrap_or_else(|| panic!("{path} has none"));
        let names: Vec<_> = shown.split(", ").filter_map(|part| part.split(';').next()).collect();
        assert_eq!(names, ["queue", "run", "worker"], "{path}: {shown}");
    }
    assert_eq!(timing("/fast"), None);
    assert_eq!(timing("/kept/fib/20"), None, "it was kept, and not computed");
}

#[test]
fn prometheus_finds_what_was_computed() {
    let serving = Serving::start(&[]);
    assert_eq!(get(&serving.after, "/fib/20").status, 200);
    let metrics = get(&serving.after, "/metrics");
    assert_eq!(metrics.status, 200);
    let done = "outboard_tasks_total{function=\"lab::tasks::fib\",outcome=\"done\"} 1";
    assert!(metrics.body.contains(done), "{}", metrics.body);
}

#[test]
fn a_visitor_may_ask_for_less_time() {
    let serving = Serving::start(&["--workers", "1", "--timeout", "1h"]);
    let late = get_with(&serving.after, ENDLESS, "x-timeout-ms: 50\r\n");
    assert_eq!((late.status, &problem(&late)["kind"]), (504, &Value::from("timed_out")));
}

#[test]
fn a_tenant_at_its_bound_is_429_and_another_is_not() {
    let serving =
        Serving::start(&["--timeout", "1h", "--url", "local://?workers=1&tenant_queue=1"]);
    let ask_as = |name: &str| ask_with(&serving.after, ENDLESS, &format!("x-tenant: {name}\r\n"));
    let _browsers = [ask_as("ann"), ask_as("ann")];
    wait_until_busy(serving.pid());
    let short = "x-timeout-ms: 50\r\n";
    let status = |name: &str| {
        let headers = format!("x-tenant: {name}\r\n{short}");
        get_with(&serving.after, ENDLESS, &headers).status
    };
    eventually("ann has one that waits, and no more", || status("ann") == 429);
    assert_eq!(status("bob"), 504);
    assert_eq!(get_with(&serving.after, ENDLESS, short).status, 504, "the peer is one, too");
}

#[test]
fn a_server_whose_workers_all_compute_lives_and_is_not_ready_before_it_refuses() {
    let serving = Serving::start(&["--url", "local://?queue_tasks=40", "--timeout", "1h"]);
    assert_eq!(get(&serving.after, "/readyz").status, 200);
    let mut browsers = Vec::new();
    eventually("it is not ready", || {
        browsers.push(ask(&serving.after, ENDLESS));
        get(&serving.after, "/readyz").status == 503
    });
    assert!(browsers.len() > 30, "the queue took only {}", browsers.len());
    let taken = get_with(&serving.after, ENDLESS, "x-timeout-ms: 1\r\n");
    assert_eq!(taken.status, 504, "it refuses already: {taken:?}");
    wait_until_busy(serving.pid());
    let healthy = (0..50).all(|_| get(&serving.after, "/healthz").status == 200);
    assert!(healthy, "it lives all the same");
    drop(browsers);
    eventually("it is ready again", || get(&serving.after, "/readyz").status == 200);
}

#[test]
fn what_is_kept_goes_on_when_its_browser_has_left() {
    let serving = Serving::start(&["--workers", "1", "--timeout", "1h"]);
    let (path, body) = page_that_takes(40, &serving);
    let browser = ask(&serving.after, &format!("/kept{path}"));
    wait_until_busy(serving.pid());
    drop(browser);
    eventually("it is kept", || get(&serving.after, "/kept").body.contains(&body));
    assert_eq!(get(&serving.after, &format!("/kept{path}")).body, body);
}

#[test]
fn there_is_no_page_that_crashes() {
    let serving = Serving::start(&[]);
    for hit in ["exit", "segfault", "stack_overflow", "memory"] {
        assert_eq!(get(&serving.after, &format!("/crash/{hit}")).status, 404);
    }
}

#[test]
fn the_fast_page_of_after_answers_while_all_workers_compute() {
    let serving = Serving::start(&["--workers", "1", "--timeout", "1h"]);
    let _browser = ask(&serving.after, ENDLESS);
    wait_until_busy(serving.pid());
    assert_eq!(get(&serving.after, "/fast").body, "Hello, world");
}

#[test]
fn the_inline_engine_serves_the_same_pages() {
    let serving = Serving::start(&["--url", "inline://"]);
    assert_eq!(get(&serving.after, "/fast").body, "Hello, world");
    assert_eq!(get(&serving.after, "/fib/20").body, "6765");
    assert!(workers(serving.pid()).is_empty(), "inline needs no worker process");
}

#[test]
fn a_port_in_use_is_one_line_that_names_the_flag() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = taken.local_addr().expect("it is bound");
    let port = address.port().to_string();
    for flag in ["--before-port", "--threads-port", "--after-port"] {
        let mut args = vec!["serve"];
        for other in ["--before-port", "--threads-port", "--after-port"] {
            args.extend([other, if other == flag { &port } else { "0" }]);
        }
        let ended = run(&args);
        assert_eq!(ended.code, Some(1), "{ended:?}");
        assert_eq!(ended.stdout, "");
        assert_eq!(ended.stderr.lines().count(), 1, "{ended:?}");
        assert!(ended.stderr.contains(&address.to_string()), "{ended:?}");
        assert!(ended.stderr.contains(flag), "{ended:?}");
    }
}

#[test]
fn sigterm_and_ctrl_c_end_it_with_success_and_leave_no_worker() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut serving = Serving::start(&[]);
        assert_eq!(get(&serving.after, "/fib/20").status, 200);
        let workers = workers(serving.pid());
        assert!(!workers.is_empty(), "after has no worker process");
        serving.signal(signal);
        assert_eq!(serving.wait(), Some(0), "{}", serving.stderr());
        for pid in workers.keys() {
            let process = format!("/proc/{pid}");
            eventually("the worker is gone", || !std::path::Path::new(&process).exists());
        }
    }
}

#[test]
fn killed_it_leaves_neither_worker_nor_server() {
    let mut serving = Serving::start(&[]);
    for address in serving.addresses() {
        assert_eq!(get(address, "/fib/20").status, 200);
    }
    let children = children(serving.pid());
    assert!(children.len() > 2, "before, threads and workers: {children:?}");
    serving.signal(Signal::KILL);
    assert_eq!(serving.wait(), None);
    for pid in children.keys() {
        let process = format!("/proc/{pid}");
        eventually("it is gone", || !std::path::Path::new(&process).exists());
    }
}

#[test]
fn sigterm_lets_what_runs_finish() {
    let mut serving = Serving::start(&[]);
    let (path, body) = page_that_takes(15, &serving);
    let browser = ask(&serving.after, &path);
    wait_until_busy(serving.pid());
    serving.signal(Signal::TERM);
    assert_eq!(answer(browser).body, body);
    assert_eq!(serving.wait(), Some(0), "{}", serving.stderr());
}

#[test]
fn what_does_not_finish_in_time_is_cut_off_and_said() {
    let mut serving = Serving::start(&["--timeout", "1h"]);
    let _browser = ask(&serving.after, ENDLESS);
    wait_until_busy(serving.pid());
    serving.signal(Signal::TERM);
    assert_eq!(serving.wait(), Some(0), "{}", serving.stderr());
    serving.wait_until_it_says("after: 1 request and 1 task did not finish in time, and were cut");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut serving = Serving::start(&["--timeout", "1h"]);
    let browser = ask(&serving.after, ENDLESS);
    wait_until_busy(serving.pid());
    serving.signal(Signal::TERM);
    serving.wait_until_it_says("finishing what runs");
    serving.signal(Signal::TERM);
    let told = answer(browser);
    assert_eq!((told.status, &problem(&told)["kind"]), (503, &Value::from("closed")));
    assert_eq!(serving.wait(), Some(1));
    serving.wait_until_it_says("1 request and 1 task did not finish in time");
    serving.wait_until_it_says("second signal");
}

/// The first page that takes a worker so much CPU time, in ticks, that it will
/// be seen at work, however busy the machine is; and its body.
fn page_that_takes(ticks: u64, serving: &Serving) -> (String, String) {
    let used = || workers(serving.pid()).values().sum::<u64>();
    let mut pages = (25..).map(|n| {
        let path = format!("/fib/{n}");
        let before = used();
        let body = get(&serving.after, &path).body;
        (used() - before, path, body)
    });
    let (_, path, body) = pages.find(|page| page.0 >= ticks).expect("n grows without end");
    (path, body)
}
