//! The page in Chromium, and visitors that leave; the workers are Python.

use std::io::Read;

use browser::{Browser, Scheme};
use testing::{Server, drawings, kill};

const WIDE: [u32; 2] = [1280, 800];

fn server() -> Server {
    Server::start(env!("CARGO_BIN_EXE_sklearn"), &[])
}

fn text(mut response: impl Read) -> String {
    let mut text = String::new();
    response.read_to_string(&mut text).expect("it answers in time");
    text
}

#[test]
fn what_is_drawn_is_recognized() {
    let (server, browser) = (server(), Browser::start());
    browser.open(&server.url("/"), WIDE, Scheme::Light);
    for (digit, strokes) in drawings::DRAWN {
        drawings::draw(&browser, strokes);
        browser.wait_for(
            &format!("{digit} is recognized"),
            &format!("!asking && !dirty && digit.textContent === '{digit}'"),
        );
    }
    browser.assert_no_console_errors();
}

#[test]
fn ten_thousand_at_once_are_answered_while_one_draws() {
    let (server, browser) = (server(), Browser::start());
    browser.open(&server.url("/"), WIDE, Scheme::Light);
    drawings::draw(&browser, drawings::DRAWN[3].1);
    browser.click("#many");
    browser.wait_for("the crowd is answered", "crowd.textContent.includes('answered in')");
    let told = browser.text("#crowd");
    assert!(told.starts_with("10,000 answered"), "{told}");
    assert!(told.contains("You sent"), "{told}");
}

#[test]
fn leaving_the_page_kills_the_calls_under_way() {
    let (server, browser) = (server(), Browser::start());
    browser.open(&server.url("/"), WIDE, Scheme::Light);
    // Without a spare, a call that is about to end is let finish.
    server.wait_for("a spare stands by", |status| {
        let pools = status["pools"].as_array().expect("there is a list");
        let python = pools.iter().find(|pool| pool["pool"] == "python");
        python.is_some_and(|pool| pool["standby"].as_u64() > Some(0))
    });
    browser.click("#many");
    server.wait_for("the crowd waits", |status| status["tasks"]["queued"].as_u64() > Some(0));
    browser.open("about:blank", WIDE, Scheme::Light);
    let status = server.wait_until_idle();
    assert!(status["tasks"]["cancelled"].as_u64() > Some(0), "{status:#}");
    server.wait_for("workers are killed", |status| status["restarts"]["killed"].as_u64() > Some(0));
}

#[test]
fn a_crash_costs_one_call() {
    let server = server();
    let crowd = server.post("/crowd", drawings::ZERO);
    kill(server.busy_workers(1)[0]);
    let text_of_crowd = text(crowd);
    // At most: the worker may have been between two calls.
    let whole = ["\"done\":10000,\"failed\":0", "\"done\":9900,\"failed\":100"];
    assert!(whole.iter().any(|counts| text_of_crowd.contains(counts)), "{text_of_crowd}");
    assert_eq!(server.status()["restarts"]["lost"], 1);
    let text = text(server.post("/classify", drawings::ZERO));
    assert!(text.starts_with("HTTP/1.0 200"), "{text}");
}

#[test]
fn an_exception_is_a_bad_request_of_one_visitor() {
    let server = server();
    // While both workers are busy, these wait for one call.
    let crowd = server.post("/crowd", drawings::ZERO);
    server.busy_workers(2);
    let [wrong, right] = ["[1, 2]", drawings::ZERO].map(|body| server.post("/classify", body));
    let (wrong, right) = (text(wrong), text(right));
    assert!(wrong.starts_with("HTTP/1.0 400"), "{wrong}");
    assert!(right.starts_with("HTTP/1.0 200"), "{right}");
    assert!(text(crowd).contains("\"done\":10000,\"failed\":0"));
}
