//! What the tour shows on stderr while it works.

use std::io::{self, IsTerminal};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar on a terminal, a line for each step elsewhere.
pub(super) struct Progress {
    bar: ProgressBar,
    terminal: bool,
}

impl Progress {
    /// Begins without knowing how many steps there will be.
    pub(super) fn start() -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        let template = "{spinner} {msg}";
        bar.set_style(ProgressStyle::with_template(template).expect("the template is well formed"));
        bar.enable_steady_tick(Duration::from_millis(100));
        Self { bar, terminal: io::stderr().is_terminal() }
    }

    /// Says what happens now.
    pub(super) fn say(&self, text: &str) {
        if self.terminal {
            self.bar.set_message(text.to_owned());
        } else {
            eprintln!("{text}");
        }
    }

    /// From here on there are so many steps.
    pub(super) fn expect(&self, steps: usize) {
        self.bar.set_length(steps as u64);
        let template = "{spinner} {bar:30} {pos:>2}/{len} {msg}";
        let style = ProgressStyle::with_template(template).expect("the template is well formed");
        self.bar.set_style(style);
    }

    /// The next step begins.
    pub(super) fn next(&self, text: &str) {
        self.bar.inc(1);
        if self.terminal {
            self.bar.set_message(text.to_owned());
        } else {
            let (step, steps) = (self.bar.position(), self.bar.length().unwrap_or_default());
            eprintln!("{step:2}/{steps} {text}");
        }
    }

    /// Leaves the terminal as it was.
    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
