//! The page in Chromium, and readers that leave.

use std::io::Read;

use browser::{Browser, Scheme};
use tempfile::TempDir;
use testing::{Server, kill};

const WIDE: [u32; 2] = [1280, 800];
const NARROW: [u32; 2] = [390, 844];

/// The report that takes far longer than a test.
const ENDLESS: &str = "alike";

fn server() -> (TempDir, Server) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("shop.db");
    let server = Server::start(env!("CARGO_BIN_EXE_reports"), &[file.to_str().unwrap()]);
    (directory, server)
}

/// Opens the page, and waits for the report that it begins with.
fn open(server: &Server) -> Browser {
    let browser = Browser::start();
    browser.open(&server.url("/"), WIDE, Scheme::Light);
    browser.wait_for("the first report", "said.textContent.startsWith('12 rows')");
    browser
}

#[test]
fn reports_are_shown_and_can_be_saved() {
    let (_directory, server) = server();
    let browser = open(&server);
    assert!(browser.text("#table").starts_with("month"));
    browser.click("#items");
    browser.wait_for("all items", "said.textContent.startsWith('149,996 rows')");
    let rows = browser.script("return document.querySelectorAll('#table tr').length");
    assert_eq!(rows, 201, "a head and the first rows");
    assert_eq!(browser.script("return save.hidden || save.download"), "items.csv");
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
fn the_button_stops_the_query() {
    let (_directory, server) = server();
    let browser = open(&server);
    browser.click(&format!("#{ENDLESS}"));
    server.busy_workers(1);
    browser.click("#stop");
    browser.wait_for("it says so", "said.textContent.startsWith('Stopped')");
    let status = server.wait_until_idle();
    assert_eq!(status["tasks"]["cancelled"], 1, "{status:#}");
}

#[test]
fn another_report_takes_the_place_of_the_first() {
    let (_directory, server) = server();
    let browser = open(&server);
    browser.click(&format!("#{ENDLESS}"));
    server.busy_workers(1);
    browser.click("#countries");
    browser.wait_for("the other one", "said.textContent.startsWith('50 rows')");
    assert_eq!(server.wait_until_idle()["tasks"]["cancelled"], 1);
}

#[test]
fn leaving_the_page_stops_the_query() {
    let (_directory, server) = server();
    let browser = open(&server);
    browser.click(&format!("#{ENDLESS}"));
    let busy = server.busy_workers(1);
    browser.open("about:blank", WIDE, Scheme::Light);
    let status = server.wait_until_idle();
    assert_eq!(status["tasks"]["cancelled"], 1, "{status:#}");
    // Its memory and its temporary files go with it.
    server.wait_for("its process is gone", |_| {
        !std::path::Path::new(&format!("/proc/{}", busy[0])).exists()
    });
}

#[test]
fn a_crash_costs_one_report() {
    let (_directory, server) = server();
    let endless = server.get(&format!("/reports/{ENDLESS}"));
    let worker = server.busy_workers(1)[0];
    let _other = server.get(&format!("/reports/{ENDLESS}"));
    server.busy_workers(2);
    kill(worker);
    let mut text = String::new();
    { endless }.read_to_string(&mut text).unwrap();
    assert!(text.starts_with("HTTP/1.0 500"), "{text}");
    let status = server.wait_for("the loss is counted", |status| status["restarts"]["lost"] == 1);
    assert_eq!(status["tasks"]["running"], 1, "the other goes on: {status:#}");
    let (head, csv) = server.text("/reports/months");
    assert!(head.starts_with("HTTP/1.0 200"), "{head}");
    assert!(csv.starts_with("month,orders,revenue\r\n2025-01,"), "{csv}");
}

#[test]
fn a_report_that_there_is_not_is_not_found() {
    let (_directory, server) = server();
    assert!(server.text("/reports/none").0.starts_with("HTTP/1.0 404"));
}
