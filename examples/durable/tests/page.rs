//! The page in Chromium: a report is started, cancelled, and done.

mod postgres;
#[expect(dead_code, reason = "other tests kill and end it")]
mod server;

use std::time::{Duration, Instant};

use browser::{Browser, Scheme};

use postgres::Postgres;
use server::Server;

const WIDE: [u32; 2] = [1280, 800];
const NARROW: [u32; 2] = [390, 844];

/// Long enough for anything that works, on a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// Whether the latest report is in that state.
fn is(state: &str) -> String {
    format!("document.querySelector('td:nth-child(3)')?.textContent === '{state}'")
}

/// Shows the list anew until the latest report is in that state.
fn reload_until(browser: &Browser, url: &str, state: &str) {
    let start = Instant::now();
    while browser.script(&format!("return {}", is(state))) != true {
        assert!(start.elapsed() < DEADLINE, "it is not {state}: {}", browser.text("table"));
        browser.open(url, WIDE, Scheme::Light);
    }
}

/// Starts a report of so many pages, and shows the list.
fn start(browser: &Browser, url: &str, pages: u32) {
    browser.open(url, WIDE, Scheme::Light);
    browser.script(&format!("document.querySelector('[name=pages]').value = {pages}"));
    browser.click("#start");
    browser.wait_for("it is started", "location.pathname.startsWith('/reports/')");
    browser.open(url, WIDE, Scheme::Light);
}

#[test]
fn a_report_is_started_cancelled_and_done() {
    let postgres = Postgres::start();
    let server = Server::start(postgres.url(), &[]);
    let url = format!("http://{}/", server.address());
    let browser = Browser::start();
    start(&browser, &url, 1_000_000);
    reload_until(&browser, &url, "running");
    for (size, scheme) in [(WIDE, Scheme::Light), (WIDE, Scheme::Dark), (NARROW, Scheme::Dark)] {
        browser.look(size, scheme);
        browser.settle();
        browser.assert_accessible();
    }
    browser.click("td button");
    browser.wait_for("it is cancelled", &is("cancelled"));
    // The one worker is free again.
    start(&browser, &url, 1);
    reload_until(&browser, &url, "done");
    browser.assert_no_console_errors();
}
