//! Pages in Chromium, for the tests of the crates that serve some.
//!
//! A [`Browser`] is a Chromium of its own, with an empty profile, driven by a
//! ChromeDriver of its own on a free port. Both end when it is dropped. What a
//! test asks for and does not get is a panic that shows the page; a browser
//! that is not installed is one, too: nothing is skipped.

mod axe;
mod chromedriver;
mod console;
mod page;

use std::path::Path;

use serde_json::{Value, json};
use thirtyfour::{
    ChromeCapabilities, ChromiumLikeCapabilities, DesiredCapabilities, LoggingPrefsLogLevel,
    WebDriver,
};
use tokio::runtime::Runtime;

use chromedriver::Chromedriver;

pub use axe::Violation;
pub use thirtyfour::Key;

/// What Chromium is started with: no window, and no word to anybody but the
/// pages of the test.
const FLAGS: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--hide-scrollbars",
];

/// The scheme of colours that a visitor prefers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// Dark on light.
    Light,
    /// Light on dark.
    Dark,
}

/// A Chromium that shows one page.
///
/// Its methods block; they are not to be called inside a runtime, and panic
/// when the browser does not do what is asked.
///
/// # Drop
///
/// Ends the browser and its driver.
#[derive(Debug)]
pub struct Browser {
    runtime: Runtime,
    /// Gone only while it is dropped.
    web: Option<WebDriver>,
    _profile: tempfile::TempDir,
    // Last: it is dropped after the browser was told to quit.
    _chromedriver: Chromedriver,
}

impl Scheme {
    fn text(self) -> &'static str {
        match self {
            Self::Light => "light",
            Self::Dark => "dark",
        }
    }
}

impl Browser {
    /// Starts a browser that shows nothing yet.
    ///
    /// # Panics
    ///
    /// If Chromium or ChromeDriver is not installed, or does not start.
    pub fn start() -> Self {
        let chromedriver = Chromedriver::start();
        let profile = tempfile::tempdir().expect("a directory can be made");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.expect("a runtime can be made");
        let capabilities = capabilities(profile.path());
        let web = runtime.block_on(WebDriver::new(chromedriver.url(), capabilities));
        let web = web.unwrap_or_else(|error| {
            panic!("Chromium does not start: run script/bootstrap, which installs it ({error})")
        });
        Self { runtime, web: Some(web), _profile: profile, _chromedriver: chromedriver }
    }

    /// Shows the page of a URL in a window so wide and high, in CSS pixels, to a
    /// visitor who prefers `scheme`, and returns when it is loaded.
    pub fn open(&self, url: &str, size: [u32; 2], scheme: Scheme) {
        self.look(size, scheme);
        let opened = self.runtime.block_on(self.web().goto(url));
        opened.unwrap_or_else(|error| panic!("cannot open {url}: {error}"));
    }

    /// Shows the page that is open in a window so wide and high, in CSS pixels,
    /// to a visitor who prefers `scheme`.
    pub fn look(&self, [width, height]: [u32; 2], scheme: Scheme) {
        let size = json!({
            "width": width, "height": height, "deviceScaleFactor": 1, "mobile": false,
        });
        self.devtools("Emulation.setDeviceMetricsOverride", &size);
        let feature = json!({ "name": "prefers-color-scheme", "value": scheme.text() });
        self.devtools("Emulation.setEmulatedMedia", &json!({ "features": [feature] }));
    }

    /// Sends a command of Chrome's DevTools protocol, and gives what it returns.
    pub fn devtools(&self, method: &str, parameters: &Value) -> Value {
        let sent = self.web().cdp();
        let sent = self.runtime.block_on(sent.send_raw(method, parameters));
        sent.unwrap_or_else(|error| panic!("{method}: {error}"))
    }

    fn web(&self) -> &WebDriver {
        self.web.as_ref().expect("it is there until the drop")
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        if let Some(web) = self.web.take() {
            // ChromeDriver's group is killed after it, whatever comes of this.
            let _ = self.runtime.block_on(web.quit());
        }
    }
}

fn capabilities(profile: &Path) -> ChromeCapabilities {
    let mut capabilities = DesiredCapabilities::chrome();
    let profile = format!("--user-data-dir={}", profile.display());
    for flag in FLAGS.into_iter().chain([profile.as_str()]) {
        capabilities.add_arg(flag).expect("a flag is text");
    }
    let level = LoggingPrefsLogLevel::All;
    capabilities.set_browser_log_level(level).expect("the level is one");
    capabilities
}
