//! What a test does with a page: look, wait, click, type, take a picture.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;
use thirtyfour::{By, WebElement};

use crate::Browser;

/// Long enough for anything that works, on a machine that is busy.
const DEADLINE: Duration = Duration::from_secs(60);

/// How long to wait before looking again.
const PAUSE: Duration = Duration::from_millis(50);

/// How much of a page's text a failure shows, in characters.
const SHOWN_CHARACTERS: usize = 4000;

impl Browser {
    /// Runs the body of a function in the page; what it returns, as JSON.
    pub fn script(&self, body: &str) -> Value {
        let ran = self.runtime.block_on(self.web().execute(body, Vec::new()));
        ran.unwrap_or_else(|error| panic!("{error} in {}", shortened(body))).json().clone()
    }

    /// Waits until an expression of JavaScript has a value that counts as true,
    /// and gives that.
    ///
    /// # Panics
    ///
    /// With `what`, the page's text and the console's errors, if it has none
    /// within a minute.
    pub fn wait_for(&self, what: &str, expression: &str) -> Value {
        let deadline = Instant::now() + DEADLINE;
        let body = format!("return (({expression}) || null)");
        loop {
            let value = self.script(&body);
            if !value.is_null() {
                return value;
            }
            assert!(Instant::now() < deadline, "{what}: not in {DEADLINE:?}; {}", self.state());
            std::thread::sleep(PAUSE);
        }
    }

    /// The text of the first element that a CSS selector finds, as it is shown.
    pub fn text(&self, selector: &str) -> String {
        let text = self.runtime.block_on(self.find(selector).text());
        text.unwrap_or_else(|error| panic!("{selector}: {error}"))
    }

    /// Clicks on the first element that a CSS selector finds.
    pub fn click(&self, selector: &str) {
        let clicked = self.runtime.block_on(self.find(selector).click());
        clicked.unwrap_or_else(|error| panic!("{selector}: {error}; {}", self.state()));
    }

    /// Types on the keyboard, into whatever has the focus; the keys without a
    /// character are those of [`Key`](crate::Key).
    pub fn press(&self, keys: impl AsRef<str>) {
        let typed = self.web().action_chain().send_keys(keys.as_ref());
        let typed = self.runtime.block_on(typed.perform());
        typed.unwrap_or_else(|error| panic!("{:?}: {error}", keys.as_ref()));
    }

    /// Presses Tab until the element that a CSS selector finds has the focus.
    ///
    /// # Panics
    ///
    /// If two hundred times do not lead to it.
    pub fn tab_to(&self, selector: &str) {
        let focused = format!("return document.activeElement.matches({selector:?})");
        for _ in 0..200 {
            self.press(char::from(thirtyfour::Key::Tab).to_string());
            if self.script(&focused) == true {
                return;
            }
        }
        panic!("the keyboard does not lead to {selector}; {}", self.state());
    }

    /// Waits until what was changed is drawn.
    pub fn settle(&self) {
        let drawn = "const done = arguments[0];
            requestAnimationFrame(() => requestAnimationFrame(() => done(null)));";
        let drawn = self.runtime.block_on(self.web().execute_async(drawn, Vec::new()));
        drawn.unwrap_or_else(|error| panic!("nothing is drawn: {error}"));
    }

    /// Writes what the window shows to a file, as PNG.
    pub fn screenshot(&self, file: &Path) {
        let picture = self.runtime.block_on(self.web().screenshot_as_png());
        let picture = picture.unwrap_or_else(|error| panic!("no screenshot: {error}"));
        fs::write(file, picture).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }

    fn find(&self, selector: &str) -> WebElement {
        let found = self.runtime.block_on(self.web().find(By::Css(selector)));
        found.unwrap_or_else(|error| panic!("no {selector}: {error}; {}", self.state()))
    }

    /// Where the page is, what it shows, and what is on the console.
    fn state(&self) -> String {
        let page = self.script("return location.href + '\\n' + document.body.innerText");
        let errors = self.console_errors();
        format!("the page: {}\nerrors: {errors:#?}", shortened(page.as_str().unwrap_or_default()))
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(SHOWN_CHARACTERS).collect()
}
