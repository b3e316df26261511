//! The page in Chromium, and readers that leave.

use std::io::BufRead;

use browser::{Browser, Scheme};
use testing::{Server, kill};

const WIDE: [u32; 2] = [1280, 800];
const NARROW: [u32; 2] = [390, 844];
const WRITING: &str = "document.querySelector('#paper.writing') && Number(tokens.textContent) > 5";

fn server() -> Server {
    Server::start(env!("CARGO_BIN_EXE_tokens"), &[])
}

/// What a reader asks for who is not the page.
const SLOWLY: &str = "/write?prompt=Alice&temperature=0.7&seed=1&pace=20";

#[test]
fn the_page_shows_text_as_it_is_written() {
    let (server, browser) = (server(), Browser::start());
    browser.open(&server.url("/"), WIDE, Scheme::Light);
    browser.wait_for("tokens come", WRITING);
    assert!(browser.text("#paper").starts_with("The Queen"));
    assert_eq!(browser.text("#go"), "Stop");
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
fn the_button_stops_the_work_in_mid_sentence() {
    let (server, browser) = (server(), Browser::start());
    browser.open(&server.url("/"), WIDE, Scheme::Light);
    browser.wait_for("tokens come", WRITING);
    server.busy_workers(1);
    browser.click("#go");
    assert_eq!(browser.text("#go"), "Write");
    let status = server.wait_until_idle();
    assert_eq!(status["tasks"]["cancelled"], 1, "{status:#}");
    assert_eq!(status["tasks"]["done"], 0, "{status:#}");
    browser.click("#go");
    browser.wait_for("it writes again", WRITING);
}

#[test]
fn leaving_the_page_stops_the_work() {
    let (server, browser) = (server(), Browser::start());
    browser.open(&server.url("/"), WIDE, Scheme::Light);
    browser.wait_for("tokens come", WRITING);
    browser.open("about:blank", WIDE, Scheme::Light);
    let status = server.wait_until_idle();
    assert_eq!(status["tasks"]["cancelled"], 1, "{status:#}");
}

#[test]
fn a_crash_ends_one_text_and_no_other() {
    let (server, browser) = (server(), Browser::start());
    let mut lines = server.get(SLOWLY).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.starts_with("data: ")));
    let workers = server.busy_workers(1);
    browser.open(&server.url("/"), WIDE, Scheme::Light);
    browser.wait_for("tokens come", WRITING);
    kill(workers[0]);
    assert!(lines.any(|line| line == "event: problem"), "the other reader is told");
    let now = browser.script("return Number(tokens.textContent)");
    browser.wait_for("the page's text goes on", &format!("Number(tokens.textContent) > {now}"));
    assert_eq!(server.status()["restarts"]["lost"], 1);
}
