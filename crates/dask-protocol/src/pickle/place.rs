//! Where in a value something is wrong.

use std::fmt;

/// Why, and the way to it, innermost step first: steps are added while an error goes up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Trouble {
    pub(super) reason: String,
    path: Vec<Step>,
}

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A field, a variant, or a key that is text.
    Name(String),
    Index(usize),
}

impl Step {
    #[cold]
    pub(super) fn name(name: &str) -> Self {
        /// The longest part of a key that is shown.
        const SHOWN: usize = 60;
        Self::Name(name.chars().take(SHOWN).collect())
    }
}

impl Trouble {
    pub(super) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), path: Vec::new() }
    }

    /// The same, seen from outside of that step.
    #[cold]
    pub(super) fn inside(mut self, step: Step) -> Self {
        self.path.push(step);
        self
    }
}

/// How many steps into a value are shown.
const SHOWN_STEPS: usize = 12;

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)?;
        if self.path.is_empty() {
            return Ok(());
        }
        f.write_str(", at `")?;
        for (at, step) in self.path.iter().rev().take(SHOWN_STEPS).enumerate() {
            let dot = if at == 0 { "" } else { "." };
            match step {
                Step::Name(name) if is_plain(name) => write!(f, "{dot}{name}")?,
                Step::Name(name) => write!(f, "[{name:?}]")?,
                Step::Index(index) => write!(f, "[{index}]")?,
            }
        }
        f.write_str(if self.path.len() > SHOWN_STEPS { "…`" } else { "`" })
    }
}

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}
