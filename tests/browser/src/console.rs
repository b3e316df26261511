//! What pages wrote to the browser's console.

use crate::Browser;

impl Browser {
    /// The errors on the console since the last call: what a page logged as one,
    /// what it threw and nobody caught, what it could not load, and what a policy
    /// forbade.
    pub fn console_errors(&self) -> Vec<String> {
        let entries = self.runtime.block_on(self.web().browser_log());
        let entries = entries.unwrap_or_else(|error| panic!("the console's log: {error}"));
        let severe = entries.into_iter().filter(|entry| entry.level == "SEVERE");
        severe.map(|entry| entry.message).collect()
    }

    /// Panics, with all of them, if there is an error on the console.
    pub fn assert_no_console_errors(&self) {
        let errors = self.console_errors();
        assert!(errors.is_empty(), "errors on the console: {errors:#?}");
    }
}
