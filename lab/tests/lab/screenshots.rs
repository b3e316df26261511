use std::path::Path;

use browser::{Browser, Scheme};

use crate::live::{open, send, start};
use crate::program::Serving;

/// Where the documents have their pictures.
const DIRECTORY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/live");

/// Makes the pictures of the guide and README.md again:
/// `cargo test -p lab --test lab screenshots -- --ignored`.
#[test]
#[ignore = "it writes the pictures in docs/live"]
fn screenshots() {
    let serving = Serving::start(&[]);
    let browser = Browser::start();
    open(&browser, &serving, [1280, 800]);
    run_experiment(&browser, "behind");
    // The picture is worth showing when it has half a minute of quiet and a stall.
    browser.wait_for("the picture is full", "document.querySelector('.line').dataset.frames > 150");
    send(&browser, "slow", "all");
    browser.wait_for("it is answered", "document.querySelector('.load.over')");
    send(&browser, "crash", "all");
    let back = "document.querySelectorAll('.load.over').length == 2
        && !document.querySelector('.line.gone') && document.querySelector('#down').hidden";
    browser.wait_for("all are back", back);
    for (width, height) in [(1280, 800), (390, 844)] {
        for (scheme, name) in [(Scheme::Light, "light"), (Scheme::Dark, "dark")] {
            browser.look([width, height], scheme);
            for (section, show) in [
                ("picture", "scrollTo(0, 0)"),
                ("behind", "document.querySelector('#behind form').scrollIntoView()"),
            ] {
                browser.script(show);
                browser.settle();
                browser.screenshot(
                    &Path::new(DIRECTORY).join(format!("{section}-{width}-{name}.png")),
                );
            }
        }
    }
}

fn run_experiment(browser: &Browser, experiment: &str) {
    start(browser, experiment);
    let ran = format!("document.querySelector('#{experiment} .figures').dataset.run");
    browser.wait_for("it has run", &ran);
}
