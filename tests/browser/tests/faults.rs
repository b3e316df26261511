//! The harness sees what is wrong with a page.

use std::io::{Read, Write};
use std::net::TcpListener;

use browser::{Browser, Scheme};

const PAGE: &str = "<!doctype html><title>faults</title><style>
    body { color: black } @media (prefers-color-scheme: dark) { body { color: white } }
    </style><img src='data:,'><button onclick='this.textContent = \"clicked\"'>click</button>
    <script>
    console.error('said aloud');
    setTimeout(() => { throw new Error('nobody catches it') });
    </script>";

/// Serves the page to whoever comes, on a free port; its URL.
fn serve() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let _ = stream.read(&mut [0; 4096]);
            let head = "HTTP/1.1 200 OK\r\ncontent-type: text/html\r\nconnection: close\r\n";
            let _ = write!(stream, "{head}content-length: {}\r\n\r\n{PAGE}", PAGE.len());
        }
    });
    format!("http://{address}/")
}

#[test]
fn the_harness_sees_what_is_wrong_with_a_page() {
    let browser = Browser::start();
    browser.open(&serve(), [640, 480], Scheme::Dark);
    let errors = browser.console_errors().join("\n");
    for message in ["said aloud", "nobody catches it"] {
        assert!(errors.contains(message), "no {message:?} in {errors}");
    }
    let found = browser.violations();
    let unnamed = found.iter().find(|violation| violation.rule == "image-alt");
    assert_eq!(unnamed.map(|it| it.impact.as_str()), Some("critical"), "{found:#?}");

    let color = "return getComputedStyle(document.body).color";
    assert_eq!(browser.script(color), "rgb(255, 255, 255)");
    assert_eq!(browser.script("return innerWidth"), 640);
    browser.tab_to("button");
    browser.press(" ");
    browser.wait_for("the key clicks", "document.querySelector('button').textContent == 'clicked'");
    assert_eq!(browser.text("button"), "clicked");
}
