use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread;
use std::time::Instant;

use browser::{Browser, Scheme};
use rustix::process::Signal;
use serde_json::Value;

use crate::http::{Answer, post_with};
use crate::process::wait_until_idle;
use crate::program::{DEADLINE, Serving, eventually};

const WIDE: [u32; 2] = [1280, 800];
const PHONE: [u32; 2] = [390, 844];

/// Every experiment, by the name of its section.
const EXPERIMENTS: [&str; 5] = ["fast", "fib", "behind", "parallel", "roundtrip"];

/// The servers, in the order of the picture.
pub(crate) const SERVERS: [&str; 3] = ["before", "threads", "after"];

/// Opens the live page, and waits until it moves.
pub(crate) fn open(browser: &Browser, serving: &Serving, size: [u32; 2]) {
    browser.open(&format!("http://{}/", serving.after), size, Scheme::Light);
    let known = "document.querySelector('#behind [name=n]').dataset.known";
    browser.wait_for("equal work is known", known);
    let moves = "[...document.querySelectorAll('.line')].every(({ dataset: line }) =>
        line.frames > 5 && line.ms > 0)";
    browser.wait_for("the lines move", moves);
}

/// Chooses whom to send to, and clicks on a button; the load's number.
pub(crate) fn send(browser: &Browser, what: &str, to: &str) -> String {
    browser.click(&format!("[name=to][value={to}]"));
    let newest = format!("document.querySelector('.load[data-what={what}]')?.dataset.load");
    let earlier = browser.script(&format!("return {newest} ?? null"));
    browser.click(&format!("[data-what={what}]"));
    let sent = browser.wait_for("it is sent", &format!("{newest} != {earlier} && {newest}"));
    sent.as_str().expect("it has a number").to_owned()
}

/// What a line says now: `ms`, `worst`, `cores`.
fn figure(browser: &Browser, server: &str, name: &str) -> f64 {
    let figure =
        format!("return Number(document.querySelector('{}').dataset.{name})", line(server));
    browser.script(&figure).as_f64().expect("it is a number")
}

fn line(server: &str) -> String {
    format!(".line[data-server={server}]")
}

/// Waits until a load is over; what came of it on a server.
fn came(browser: &Browser, load: &str, server: &str) -> String {
    let over = format!(".load.over[data-load=\"{load}\"]");
    browser.wait_for("the load is over", &format!("document.querySelector('{over}')"));
    browser.text(&format!("{over} [data-server={server}] dd"))
}

/// Clicks on the button of an experiment, where the strip of lines does not cover it.
pub(crate) fn start(browser: &Browser, experiment: &str) {
    let go = format!("#{experiment} .go");
    let show = "scrollIntoView({ block: 'center', behavior: 'instant' })";
    browser.script(&format!("document.querySelector('{go}').{show}"));
    browser.click(&go);
}

/// Runs an experiment, and gives the seconds of its bars of that kind.
fn run(browser: &Browser, experiment: &str, kind: &str) -> Vec<f64> {
    let shown = format!("document.querySelector('#{experiment} .figures').dataset.run");
    let earlier = browser.script(&format!("return {shown}"));
    start(browser, experiment);
    browser.wait_for("it has run", &format!("{shown} != {earlier}"));
    seconds(browser, experiment, kind)
}

fn seconds(browser: &Browser, experiment: &str, kind: &str) -> Vec<f64> {
    let bars = format!(
        "return [...document.querySelectorAll('#{experiment} .bars .{kind}:not(.failed)')]
            .map(bar => Number(bar.dataset.seconds))"
    );
    let bars = browser.script(&bars);
    bars.as_array().into_iter().flatten().filter_map(Value::as_f64).collect()
}

fn set(browser: &Browser, experiment: &str, field: &str, value: u64) {
    let field = format!("document.querySelector('#{experiment} [name={field}]')");
    browser.script(&format!("{field}.value = {value}"));
}

#[test]
fn every_run_button_gives_a_figure_for_each_server() {
    let serving = Serving::start(&[]);
    let browser = Browser::start();
    open(&browser, &serving, WIDE);
    // A shorter computation shows the same, and is over sooner.
    let n = browser.script("return Number(document.querySelector('#behind [name=n]').value)");
    set(&browser, "behind", "n", n.as_u64().expect("a number") - 3);
    for experiment in EXPERIMENTS {
        let after = run(&browser, experiment, "after");
        assert!(!after.is_empty() && after.iter().all(|it| *it > 0.0), "{experiment}: {after:?}");
        for server in SERVERS.iter().filter(|it| (experiment, **it) != ("roundtrip", "before")) {
            let bars = seconds(&browser, experiment, server);
            assert!(!bars.is_empty(), "{experiment} has no figure of {server}");
        }
        assert!(!seconds(&browser, experiment, "notebook").is_empty(), "{experiment}");
    }
    let [fast, slow] = seconds(&browser, "behind", "before")[..] else { panic!("not two bars") };
    let [after, _] = seconds(&browser, "behind", "after")[..] else { panic!("not two bars") };
    assert!(fast > 0.5 * slow && after < 0.5 * fast, "{fast} s behind {slow} s, after {after} s");
    // Times that are far apart are all to be seen, and the scale is said.
    let narrowest = browser.script(
        "const bars = [...document.querySelectorAll('#behind .logarithmic .bar')];
        return Math.min(...bars.map(bar => bar.offsetWidth / bar.parentNode.offsetWidth))",
    );
    assert!(narrowest.as_f64() > Some(0.02), "{narrowest}");
    assert!(browser.text("#behind .figures").contains("The scale is logarithmic"));
    assert!(!browser.text("#behind .axis").is_empty(), "the scale has no figures");

    run(&browser, "fast", "after");
    let marks = "return document.querySelectorAll('#fast .mark').length";
    assert_eq!(browser.script(marks), 3, "each server has a mark of the run before");
    browser.assert_no_console_errors();
}

#[test]
fn while_before_is_blocked_its_line_stalls_and_that_of_after_stays_low() {
    let serving = Serving::start(&[]);
    let browser = Browser::start();
    open(&browser, &serving, WIDE);
    let load = send(&browser, "slow", "all");
    browser.wait_for("the line of before stalls", &stalls("before"));
    browser.wait_for("after computes", &computes("after", "> 0.1"));
    for server in SERVERS {
        let came = came(&browser, &load, server);
        assert!(came.starts_with("answered in "), "{server}: {came}");
    }
    let worst = |server| figure(&browser, server, "worst");
    let (before, after) = (worst("before"), worst("after"));
    assert!(after * 4.0 < before, "worst of before {before} ms, of after {after} ms");
    assert!(browser.text(&format!("{} .worst", line("before"))).ends_with(" s"));
    browser.assert_no_console_errors();
}

fn stalls(server: &str) -> String {
    format!("document.querySelector('{}').dataset.ms > 700", line(server))
}

fn computes(server: &str, cores: &str) -> String {
    format!("document.querySelector('{}').dataset.cores {cores}", line(server))
}

#[test]
fn a_crash_costs_after_one_request_and_before_its_life() {
    let serving = Serving::start(&["--timeout", "5m"]);
    let browser = Browser::start();
    open(&browser, &serving, WIDE);
    // It is away for a second and a half: what is seen meanwhile is noted by the page itself.
    browser.script(WHILE_DOWN);
    let crash = send(&browser, "crash", "all");
    let after = came(&browser, &crash, "after");
    assert!(after.starts_with("one request failed; the server never stopped"), "{after}");
    assert!(after.contains("http 500, worker "), "{after}");
    for server in ["before", "threads"] {
        let came = came(&browser, &crash, server);
        let lost = came.strip_prefix("the server was down for ");
        assert!(lost.is_some_and(|it| it.contains(" s: everybody’s requests were lost")), "{came}");
        assert_ne!(colour(&browser, &crash, server), colour(&browser, &crash, "after"));
    }
    let seen = browser.wait_for("before is gone", "window.seen");
    assert_eq!((&seen["latency"], &seen["off"]), (&"down".into(), &true.into()), "{seen}");
    assert!(seen["banner"].as_str().is_some_and(|it| it.contains("before")), "{seen}");
    browser.wait_for("the banner goes", "document.querySelector('#down').hidden");
    assert_eq!(browser.script("return document.querySelector('[data-what=slow]').disabled"), false);
    for server in SERVERS {
        let marks = format!("return document.querySelector('{}').dataset.marks", line(server));
        assert_eq!(browser.script(&marks), crash, "{server}");
    }
    let many = send(&browser, "many", "after");
    assert!(came(&browser, &many, "after").starts_with("20 answered in "));
    let back = "[...document.querySelectorAll('.line')].every(({ dataset: line }) =>
        line.gone == 'false' && line.ms > 0)";
    browser.wait_for("all are back", back);

    let hoard = send(&browser, "hoard", "all");
    let after = came(&browser, &hoard, "after");
    assert!(after.starts_with("one request failed; ") && after.contains("memory"), "{after}");
    assert!(came(&browser, &hoard, "threads").starts_with("the server was down for "));
    browser.wait_for("all are back", back);
    browser.click("#clear");
    browser.wait_for("it is cleared", "!document.querySelector('.load')");
    browser.wait_for("no mark is left", "document.querySelector('.line').dataset.marks == ''");
    browser.assert_no_console_errors();
}

/// Notes what the page shows while `before` is down, when it is asked alone.
const WHILE_DOWN: &str = "
    const find = selector => document.querySelector(selector);
    const before = find('.line[data-server=before]');
    const look = () => {
        if (!before.classList.contains('gone') || find('#down').hidden || window.seen) return;
        find('[name=to][value=before]').click();
        const latency = before.querySelector('.latency').textContent;
        window.seen = {
            latency, banner: find('#down').textContent, off: find('[data-what=slow]').disabled,
        };
        find('[name=to][value=all]').click();
    };
    new MutationObserver(look).observe(document.body, { attributes: true, subtree: true });";

/// The colour of what came of a load on a server.
fn colour(browser: &Browser, load: &str, server: &str) -> Value {
    let came = format!(".load[data-load=\"{load}\"] [data-server={server}] dd");
    browser.script(&format!("return getComputedStyle(document.querySelector('{came}')).color"))
}

#[test]
fn a_busy_machine_and_a_server_that_is_killed_are_told() {
    let serving = Serving::start(&[]);
    let browser = Browser::start();
    open(&browser, &serving, WIDE);
    let stop = AtomicBool::new(false);
    let cores = thread::available_parallelism().map_or(2, usize::from);
    // They end if the note does not come, too.
    let until = Instant::now() + 2 * DEADLINE;
    thread::scope(|scope| {
        for _ in 0..cores {
            scope.spawn(|| {
                while !stop.load(Relaxed) && Instant::now() < until {
                    std::hint::spin_loop()
                }
            });
        }
        browser.wait_for("the note is there", "!document.querySelector('#busy').hidden");
        stop.store(true, Relaxed);
    });
    assert!(browser.text("#busy").contains("Workers yield to them"));

    serving.signal(Signal::KILL);
    browser.wait_for("the banner is there", "!document.querySelector('#lost').hidden");
    let lost = browser.text("#lost");
    assert!(lost.starts_with("No connection to after since ") && lost.ends_with("Trying again."));
    let off =
        "return [...document.querySelectorAll('button[data-what], .go')].every(it => it.disabled)";
    assert_eq!(browser.script(off), true);
    let faint = "return getComputedStyle(document.querySelector('.plot')).opacity < 1";
    assert_eq!(browser.script(faint), true);
    browser.assert_accessible();
}

#[test]
fn leaving_frees_the_workers_cpu_and_the_keyboard_alone_is_enough() {
    let serving = Serving::start(&["--timeout", "1h"]);
    let browser = Browser::start();
    open(&browser, &serving, PHONE);
    let width = browser.script("return document.documentElement.scrollWidth");
    assert_eq!(width, 390, "the page is wider than a phone");

    browser.tab_to("[name=to]:checked");
    let down = char::from(browser::Key::Down).to_string();
    browser.press(down.repeat(3));
    assert_eq!(browser.script("return document.querySelector('[name=to]:checked').value"), "after");
    browser.tab_to("[data-what=flood]");
    browser.press(" ");
    browser.wait_for("the workers compute", &computes("after", "> 0.1"));
    browser.tab_to(".leave");
    browser.press(char::from(browser::Key::Enter).to_string());
    browser.wait_for("it is left", "document.querySelector('.load.over')");
    assert!(browser.text(".load dd").starts_with("left after "), "{}", browser.text(".load dd"));
    wait_until_idle(serving.pid());
    browser.wait_for("the page shows it", &computes("after", "<= 0.1"));

    browser.tab_to("#fast .go");
    browser.press(char::from(browser::Key::Enter).to_string());
    let ran = "document.querySelector('#fast .figures').dataset.run";
    browser.wait_for("it has run", ran);
    browser.assert_no_console_errors();
}

#[test]
fn no_grave_fault_of_accessibility_at_any_width_in_any_scheme() {
    let serving = Serving::start(&[]);
    let browser = Browser::start();
    open(&browser, &serving, WIDE);
    run(&browser, "fast", "after");
    let load = send(&browser, "many", "all");
    assert_eq!(load, "1", "what is sent is numbered for itself");
    came(&browser, &load, "after");
    for (size, scheme) in [(WIDE, Scheme::Light), (WIDE, Scheme::Dark), (PHONE, Scheme::Dark)] {
        browser.look(size, scheme);
        browser.script("scrollTo(0, 0)");
        browser.settle();
        browser.assert_accessible();
        assert_eq!(browser.script(COLOURS), 5, "{scheme:?}");
        assert_eq!(
            outside(&browser, ".line, button[data-what]"),
            0,
            "on the first screen, {size:?}"
        );
        browser.script("scrollTo(0, document.body.scrollHeight)");
        browser.settle();
        assert_eq!(outside(&browser, ".line"), 0, "the lines stay while one reads, {size:?}");
    }
    browser.assert_no_console_errors();
}

/// How many colours the servers, danger and errors have.
const COLOURS: &str = "
    const style = getComputedStyle(document.documentElement);
    const names = ['before', 'threads', 'after', 'danger', 'error'];
    return new Set(names.map(name => style.getPropertyValue(`--${name}`))).size";

/// How many elements are not, or not wholly, in the window.
pub(crate) fn outside(browser: &Browser, selector: &str) -> u64 {
    let outside = format!(
        "const inside = ({{ top, bottom }}) => top >= 0 && bottom <= innerHeight && bottom > top;
        return [...document.querySelectorAll('{selector}')]
            .filter(it => !inside(it.getBoundingClientRect())).length"
    );
    browser.script(&outside).as_u64().expect("a number")
}

#[test]
fn two_visitors_share_the_queue() {
    let serving = Serving::start(&[]);
    let (ann, bob) = (Browser::start(), Browser::start());
    open(&ann, &serving, WIDE);
    open(&bob, &serving, WIDE);
    start(&ann, "parallel");
    let measuring = |what: &str| {
        format!("document.querySelector('#{what} .status').textContent.startsWith('measuring')")
    };
    bob.wait_for("bob sees what ann runs", &measuring("parallel"));
    start(&bob, "fast");
    let waits = "document.querySelector('#fast .status').textContent.includes('another visitor')";
    ann.wait_for("ann sees that bob waits", waits);
    bob.click("[data-what=many]");
    let refused = "document.querySelector('#send-refused').textContent.includes('measured')";
    bob.wait_for("no load spoils what is measured", refused);
    for (browser, experiment) in [(&ann, "fast"), (&bob, "parallel")] {
        let ran = format!("document.querySelector('#{experiment} .figures').dataset.run");
        browser.wait_for("each sees what the other ran", &ran);
    }
    // A refusal is an answer, but browsers report it.
    let errors = bob.console_errors();
    assert!(errors.iter().all(|error| error.contains("409")), "{errors:#?}");
    ann.assert_no_console_errors();
}

#[test]
fn what_is_out_of_bounds_or_from_another_site_is_refused() {
    let serving = Serving::start(&[]);
    let json = "content-type: application/json\r\n";
    let ask = |path: &str, headers: &str, body: &str| {
        post_with(&serving.after, path, &format!("{json}{headers}"), body)
    };
    let run = |experiment: &str, n: u64, requests: u64| {
        let body = format!(r#"{{"experiment":"{experiment}","n":{n},"requests":{requests}}}"#);
        ask("/live/run", "", &body)
    };
    for (experiment, n, requests) in
        [("fib", 93, 1), ("fib", 44, 101), ("fast", 0, 0), ("behind", 30, 2), ("roundtrip", 0, 1)]
    {
        let refused = run(experiment, n, requests);
        assert_eq!(refused.status, 422, "{experiment} {n} {requests}: {refused:?}");
        assert!(detail(&refused).contains(' '), "{refused:?}");
    }
    for body in ["", "{}", r#"{"what":"slow","to":"all","n":93}"#, r#"{"what":"x","to":"all"}"#] {
        let refused = ask("/live/send", "", body);
        assert!((400..500).contains(&refused.status), "{body}: {refused:?}");
        assert!(!detail(&refused).is_empty(), "{refused:?}");
    }
    assert_eq!(ask("/live/leave", "", r#"{"load":77}"#).status, 404);
    assert_eq!(ask("/live/clear", "", "{}").status, 204);

    let send = r#"{"what":"crash","to":"all"}"#;
    for foreign in ["sec-fetch-site: cross-site\r\n", "origin: http://evil.example\r\n"] {
        for path in ["/live/run", "/live/send", "/live/leave", "/live/clear"] {
            assert_eq!(ask(path, foreign, send).status, 403, "{path} {foreign}");
        }
        for server in serving.addresses() {
            for path in ["/crash", "/hoard"] {
                assert_eq!(post_with(server, path, foreign, "").status, 403, "{path} {foreign}");
            }
        }
    }
    let under_way = || ask("/live/send", "", r#"{"what":"flood","to":"after"}"#).status;
    eventually("more than so many at once are refused", || under_way() == 429);
}

fn detail(answer: &Answer) -> String {
    assert_eq!(answer.header("content-type"), Some("application/problem+json"), "{answer:?}");
    let problem: Value = serde_json::from_str(&answer.body).expect("it is JSON");
    assert_eq!(problem["status"], answer.status);
    problem["detail"].as_str().unwrap_or_default().to_owned()
}
