//! The page in Chromium, and visitors that leave.

use std::io::Read;

use browser::{Browser, Scheme};
use testing::{Server, drawings, kill};

const WIDE: [u32; 2] = [1280, 800];
const NARROW: [u32; 2] = [390, 844];

fn server() -> Server {
    Server::start(env!("CARGO_BIN_EXE_digits"), &[])
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
    assert_ne!(browser.text("#p99"), "–");
    for (size, scheme) in [(WIDE, Scheme::Light), (WIDE, Scheme::Dark), (NARROW, Scheme::Dark)] {
        browser.look(size, scheme);
        browser.settle();
        browser.assert_accessible();
        let overflow = "return document.documentElement.scrollWidth > innerWidth";
        assert_eq!(browser.script(overflow), false, "{size:?}");
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
    assert_eq!(server.wait_until_idle()["tasks"]["failed"], 0);
}

#[test]
fn a_crowd_whose_browser_leaves_is_dropped() {
    let (server, browser) = (server(), Browser::start());
    browser.open(&server.url("/"), WIDE, Scheme::Light);
    browser.click("#many");
    server.wait_for("the crowd waits", |status| status["tasks"]["queued"].as_u64() > Some(0));
    browser.open("about:blank", WIDE, Scheme::Light);
    let status = server.wait_until_idle();
    assert!(status["tasks"]["cancelled"].as_u64() > Some(0), "{status:#}");
}

#[test]
fn a_crash_costs_one_drawing_of_ten_thousand() {
    let server = server();
    let crowd = server.post("/crowd", drawings::ZERO);
    kill(server.busy_workers(1)[0]);
    let answer = text(crowd);
    // At most: the worker may have been between two tasks.
    let whole = ["\"done\":10000,\"failed\":0", "\"done\":9999,\"failed\":1"];
    assert!(whole.iter().any(|counts| answer.contains(counts)), "{answer}");
    assert_eq!(server.status()["restarts"]["lost"], 1);
    assert!(text(server.post("/classify", drawings::ZERO)).starts_with("HTTP/1.0 200"));
}

#[test]
fn a_drawing_of_another_size_is_refused() {
    let text = text(server().post("/classify", "[1, 2]"));
    assert!(text.starts_with("HTTP/1.0 400") && text.contains("\"detail\""), "{text}");
}
