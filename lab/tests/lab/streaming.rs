use browser::{Browser, Scheme};
use serde_json::Value;

use crate::http::{get_with, post_with};
use crate::live::{SERVERS, open, outside};
use crate::process::{wait_until_busy, wait_until_idle};
use crate::program::Serving;

const WIDE: [u32; 2] = [1280, 800];
const PHONE: [u32; 2] = [390, 844];

/// How many lines a page has, and how many come before a crash.
const LINES: u64 = 10;
const WHOLE_LINES: u64 = 5;

/// Clicks on a button of the stream; the number of the load that it sent.
fn read(browser: &Browser, what: &str) -> String {
    let newest = "document.querySelector('#stream').dataset.load";
    let earlier = browser.script(&format!("return {newest}"));
    show(browser, "#stream form");
    browser.click(&format!("[data-stream={what}]"));
    let sent = browser.wait_for("it is sent", &format!("{newest} != {earlier} && {newest}"));
    sent.as_str().expect("it has a number").to_owned()
}

fn show(browser: &Browser, selector: &str) {
    let show = "scrollIntoView({ block: 'start', behavior: 'instant' })";
    browser.script(&format!("document.querySelector('{selector}').{show}"));
}

/// How many lines are shown of a server, as an expression.
fn lines(server: &str) -> String {
    format!(
        "document.querySelector('.pane[data-server={server}] pre').textContent.split('\\n').length - 1"
    )
}

fn count(browser: &Browser, server: &str) -> u64 {
    browser.script(&format!("return {}", lines(server))).as_u64().expect("a number")
}

fn wait_until_over(browser: &Browser, load: &str) {
    let section = "document.querySelector('#stream').dataset";
    let over = format!("{section}.load == '{load}' && {section}.over == 'true'");
    browser.wait_for("the stream is over", &over);
}

fn outcome(browser: &Browser, server: &str) -> String {
    browser.text(&format!(".pane[data-server={server}] .outcome"))
}

#[test]
fn a_stream_is_read_side_by_side_is_left_and_crashes() {
    let serving = Serving::start(&["--timeout", "5m"]);
    let browser = Browser::start();
    open(&browser, &serving, WIDE);
    browser.script(PARTS);
    let whole = read(&browser, "stream");
    for size in [WIDE, PHONE] {
        browser.look(size, Scheme::Light);
        show(&browser, "#stream form");
        browser.settle();
        assert_eq!(outside(&browser, "#stream button, .pane, .line"), 0, "{size:?}");
    }
    browser.look(WIDE, Scheme::Light);
    wait_until_over(&browser, &whole);
    for server in SERVERS {
        assert_eq!(count(&browser, server), LINES, "{server}");
        let outcome = outcome(&browser, server);
        assert!(outcome.starts_with("answered in "), "{server}: {outcome}");
        assert!(outcome.contains("10 lines, the first after "), "{server}: {outcome}");
    }
    // After showed its lines as they came; before had to compute all of them first.
    let parts = |server: &str| browser.script(&format!("return window.parts.{server}.length"));
    assert!(parts("after").as_u64() > Some(5), "{}", parts("after"));
    assert!(parts("before").as_u64() < parts("after").as_u64(), "{}", parts("before"));

    let left = read(&browser, "stream");
    browser.wait_for("two lines are there", &format!("{} >= 2", lines("after")));
    browser.click("[data-leave]");
    wait_until_over(&browser, &left);
    assert!(count(&browser, "after") < LINES);
    assert!(outcome(&browser, "after").starts_with("left after "));
    wait_until_idle(serving.pid());
    // The two others may have computed all of it by then, where workers stand back.
    let free = "[...document.querySelectorAll('#stream .outcome.left')]
        .every(it => it.textContent.includes('its CPU was free within'))";
    browser.wait_for("the CPU of all that were left is free", free);

    let broken = read(&browser, "broken_stream");
    wait_until_over(&browser, &broken);
    assert_eq!(count(&browser, "after"), WHOLE_LINES);
    let after = outcome(&browser, "after");
    assert!(after.starts_with("one request failed; the server never stopped"), "{after}");
    assert!(after.contains("5 lines, the first after "), "{after}");
    for server in ["before", "threads"] {
        let outcome = outcome(&browser, server);
        assert!(outcome.starts_with("the server was down for "), "{server}: {outcome}");
    }
    browser.assert_no_console_errors();
}

/// Notes each text that a pane shows, one longer than the other.
const PARTS: &str = "
    window.parts = {};
    for (const pane of document.querySelectorAll('.pane')) {
        const parts = (window.parts[pane.dataset.server] = []);
        const text = pane.querySelector('pre');
        const look = () => text.textContent && parts.push(text.textContent);
        new MutationObserver(look).observe(text, { childList: true });
    }";

/// What the section of the job says of it.
fn job(name: &str) -> String {
    format!("document.querySelector('#job').dataset.{name}")
}

fn open_at_job(browser: &Browser, serving: &Serving) {
    open(browser, serving, WIDE);
    show(browser, "#job form");
}

#[test]
fn a_job_goes_on_while_its_page_is_closed_and_can_be_stopped() {
    let serving = Serving::start(&[]);
    let browser = Browser::start();
    open_at_job(&browser, &serving);
    assert_eq!(browser.script("return document.querySelector('[data-job=stop]').disabled"), true);
    browser.click("[data-job=start]");
    browser.wait_for("it runs", &format!("{} >= 1", job("done")));
    let done = browser.script(&format!("return Number({})", job("done")));
    browser.open("about:blank", WIDE, Scheme::Light);
    wait_until_busy(serving.pid());

    open_at_job(&browser, &serving);
    browser.wait_for("it has gone on", &format!("{} > {done}", job("done")));
    assert!(browser.text("#job .outcome").starts_with("It was started at "));
    assert_eq!(outside(&browser, "#job form, #job .outcome, .line"), 0);
    browser.wait_for("it is done", &format!("{} == 'done'", job("state")));
    let told = browser.text("#job .outcome");
    assert!(told.contains("50 pages") && told.contains("took "), "{told}");

    browser.click("[data-job=start]");
    browser.wait_for("the next one runs", &format!("{} == 'running'", job("state")));
    wait_until_busy(serving.pid());
    browser.click("[data-job=stop]");
    browser.wait_for("it is stopped", &format!("{} == 'cancelled'", job("state")));
    assert!(browser.text("#job .outcome").contains("Its worker was killed"));
    wait_until_idle(serving.pid());
    browser.assert_accessible();
    browser.assert_no_console_errors();
}

#[test]
fn a_job_that_is_not_there_is_told_and_another_site_starts_none() {
    let serving = Serving::start(&[]);
    let browser = Browser::start();
    open_at_job(&browser, &serving);
    browser.script("localStorage.setItem('outboard.job', '/live/jobs/0123456789abcdef')");
    open_at_job(&browser, &serving);
    browser.wait_for("it is told", &format!("{} == 'gone'", job("state")));
    assert_eq!(browser.script("return localStorage.getItem('outboard.job')"), Value::Null);
    let foreign = "sec-fetch-site: cross-site\r\n";
    assert_eq!(post_with(&serving.after, "/live/report", foreign, "").status, 403);
    for server in serving.addresses() {
        assert_eq!(get_with(server, "/broken/lines/1", foreign).status, 403, "{server}");
    }
}
