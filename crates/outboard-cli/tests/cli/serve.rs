use std::net::TcpListener;
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::http::{answer, ask, get};
use crate::process::{wait_until_busy, wait_until_idle, workers};
use crate::program::{Serving, eventually, run};

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
    assert!(late.body.contains("timed out"), "{late:?}");
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
fn a_full_queue_is_503_and_says_when_to_come_back() {
    let serving = Serving::start(&["--url", "local://?workers=1&queue_tasks=1"]);
    let _browsers: Vec<_> = (0..50).map(|_| ask(&serving.after, ENDLESS)).collect();
    wait_until_busy(serving.pid());
    eventually("a request is refused", || {
        let refused = get(&serving.after, "/fib/1");
        refused.status == 503 && refused.head.contains("\r\nretry-after: ")
    });
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
fn sigterm_lets_what_runs_finish() {
    let mut serving = Serving::start(&[]);
    let (path, body) = page_that_takes(Duration::from_millis(400), &serving.after);
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
    serving.wait_until_it_says("after still ran");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut serving = Serving::start(&["--timeout", "1h"]);
    let _browser = ask(&serving.after, ENDLESS);
    wait_until_busy(serving.pid());
    serving.signal(Signal::TERM);
    serving.wait_until_it_says("finishing what runs");
    serving.signal(Signal::TERM);
    assert_eq!(serving.wait(), Some(1));
    serving.wait_until_it_says("second signal");
}

/// The first page of the server that takes so long, and its body.
fn page_that_takes(long: Duration, address: &str) -> (String, String) {
    let mut pages = (25..).map(|n| {
        let path = format!("/fib/{n}");
        let start = Instant::now();
        let body = get(address, &path).body;
        (start.elapsed(), path, body)
    });
    let (_, path, body) = pages.find(|page| page.0 >= long).expect("n grows without end");
    (path, body)
}
