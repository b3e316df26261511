//! The page in Chromium, and visitors that leave.

use std::io::Read;

use browser::{Browser, Scheme};
use testing::{Server, kill};

const WIDE: [u32; 2] = [1280, 800];
const NARROW: [u32; 2] = [390, 844];

/// Draws strokes, whose points are parts of the canvas, with a pointer.
const DRAW: &str = "
    const send = (type, [x, y]) => {
        const box = pad.getBoundingClientRect();
        const at = { clientX: box.left + x * box.width, clientY: box.top + y * box.height };
        pad.dispatchEvent(new PointerEvent(type, { pointerId: 1, bubbles: true, ...at }));
    };
    pad.setPointerCapture = () => {};
    document.getElementById('clear').click();
    for (const stroke of STROKES) {
        send('pointerdown', stroke[0]);
        for (let n = 1; n < stroke.length; n++) {
            const [from, to] = [stroke[n - 1], stroke[n]];
            for (let part = 0.1; part < 1.05; part += 0.1) {
                send('pointermove', [0, 1].map(k => from[k] + (to[k] - from[k]) * part));
            }
        }
        send('pointerup', stroke.at(-1));
    }";

/// Digits as people write them.
const DRAWN: [(&str, &str); 10] = [
    (
        "0",
        "[[[.5,.1],[.36,.18],[.29,.36],[.28,.6],[.36,.83],[.5,.9],[.64,.83],[.72,.6],[.71,.36],[.64,.18],[.5,.1]]]",
    ),
    ("1", "[[[.4,.25],[.54,.1],[.54,.9]]]"),
    ("2", "[[[.3,.28],[.38,.13],[.55,.1],[.68,.2],[.68,.36],[.55,.56],[.3,.88],[.72,.88]]]"),
    (
        "3",
        "[[[.3,.15],[.5,.1],[.66,.18],[.66,.36],[.48,.47],[.66,.58],[.68,.76],[.52,.9],[.3,.85]]]",
    ),
    ("4", "[[[.55,.1],[.28,.6],[.74,.6]],[[.6,.38],[.58,.92]]]"),
    ("5", "[[[.7,.1],[.36,.1],[.34,.45],[.52,.4],[.68,.52],[.69,.72],[.54,.9],[.3,.86]]]"),
    (
        "6",
        "[[[.62,.1],[.42,.28],[.32,.55],[.34,.8],[.5,.9],[.66,.8],[.66,.62],[.52,.53],[.35,.63]]]",
    ),
    ("7", "[[[.28,.12],[.72,.12],[.58,.45],[.46,.9]]]"),
    (
        "8",
        "[[[.5,.48],[.35,.36],[.36,.18],[.5,.1],[.64,.18],[.65,.36],[.5,.48],[.34,.62],[.34,.82],[.5,.9],[.66,.82],[.66,.62],[.5,.48]]]",
    ),
    ("9", "[[[.66,.36],[.5,.48],[.36,.38],[.36,.2],[.5,.1],[.65,.18],[.67,.4],[.6,.7],[.48,.9]]]"),
];

const ZERO: &str = "[0,0,5,13,9,1,0,0,0,0,13,15,10,15,5,0,0,3,15,2,0,11,8,0,0,4,12,0,0,8,8,0,\
    0,5,8,0,0,9,8,0,0,4,11,0,1,12,7,0,0,2,14,5,10,12,0,0,0,0,6,13,10,0,0,0]";

fn server() -> Server {
    Server::start(env!("CARGO_BIN_EXE_digits"), &[])
}

fn draw(browser: &Browser, strokes: &str) {
    browser.script(&DRAW.replace("STROKES", strokes));
}

/// Asks as a visitor who is not the page.
fn post(path: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.0\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n{body}"
    )
}

fn answer(server: &Server, path: &str, body: &str) -> String {
    let mut text = String::new();
    server.ask(&post(path, body)).read_to_string(&mut text).unwrap();
    text
}

#[test]
fn what_is_drawn_is_recognized() {
    let (server, browser) = (server(), Browser::start());
    browser.open(&server.url("/"), WIDE, Scheme::Light);
    for (digit, strokes) in DRAWN {
        draw(&browser, strokes);
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
    draw(&browser, DRAWN[3].1);
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
    let crowd = server.ask(&post("/crowd", ZERO));
    kill(server.busy_workers(1)[0]);
    let mut text = String::new();
    { crowd }.read_to_string(&mut text).unwrap();
    // At most: the worker may have been between two tasks.
    let whole = ["\"done\":10000,\"failed\":0", "\"done\":9999,\"failed\":1"];
    assert!(whole.iter().any(|counts| text.contains(counts)), "{text}");
    assert_eq!(server.status()["restarts"]["lost"], 1);
    assert!(answer(&server, "/classify", ZERO).starts_with("HTTP/1.0 200"));
}

#[test]
fn a_drawing_of_another_size_is_refused() {
    let text = answer(&server(), "/classify", "[1, 2]");
    assert!(text.starts_with("HTTP/1.0 400") && text.contains("\"detail\""), "{text}");
}
