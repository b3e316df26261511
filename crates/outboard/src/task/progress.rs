//! How far a running task says that it is.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use super::current;

/// The longest text that is kept, in bytes.
pub(crate) const TEXT_BYTES: usize = 120;

/// How far a running task has come, as it last said with [`progress`](crate::progress).
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Progress {
    /// How much is done.
    pub done: u64,
    /// How much there is to do; 0 where the task does not know.
    pub total: u64,
    /// What it does now, in at most 120 bytes.
    pub text: String,
}

/// For people: `7 of 10, reading page 7`.
impl fmt::Display for Progress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.done)?;
        if self.total > 0 {
            write!(f, " of {}", self.total)?;
        }
        if self.text.is_empty() { Ok(()) } else { write!(f, ", {}", self.text) }
    }
}

/// Says how far the running task has come: `done` of `total`, and what it does now.
///
/// The latest value wins. It is shown by [`TaskFuture::progress`](crate::TaskFuture::progress),
/// in snapshots and on the status page. A text of more than 120 bytes is cut. It never blocks,
/// and costs less than 100 ns whether somebody looks or not.
///
/// In a worker any thread of the task may say it, on `inline` the task's own. Outside a task,
/// and on a cluster, it does nothing.
///
/// # Examples
///
/// ```
/// #[outboard::task]
/// fn read(pages: u64) {
///     for page in 1..=pages {
///         outboard::progress(page, pages, "reading");
///         // ...
///     }
/// }
/// ```
pub fn progress(done: u64, total: u64, text: &str) {
    current::note(&Noted::new(done, total, text));
}

/// As it is kept while the task runs: without memory of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Noted {
    pub(crate) done: u64,
    pub(crate) total: u64,
    pub(crate) length: u8,
    pub(crate) text: [u8; TEXT_BYTES],
}

impl Noted {
    pub(crate) fn new(done: u64, total: u64, text: &str) -> Self {
        let mut length = text.len().min(TEXT_BYTES);
        while !text.is_char_boundary(length) {
            length -= 1;
        }
        let mut bytes = [0; TEXT_BYTES];
        bytes[..length].copy_from_slice(&text.as_bytes()[..length]);
        Self { done, total, length: length as u8, text: bytes }
    }
}

impl From<Noted> for Progress {
    fn from(noted: Noted) -> Self {
        let Noted { done, total, length, text } = noted;
        let text = &text[..usize::from(length).min(TEXT_BYTES)];
        // A worker may have written anything there.
        let text = String::from_utf8_lossy(text).chars().filter(|c| !c.is_control()).collect();
        Self { done, total, text }
    }
}

/// What a task of `inline` said.
#[derive(Debug, Default)]
pub(crate) struct Board(Mutex<Option<Noted>>);

impl Board {
    /// Writes, unless somebody reads at this moment.
    pub(crate) fn note(&self, noted: &Noted) {
        if let Ok(mut board) = self.0.try_lock() {
            *board = Some(*noted);
        }
    }

    pub(crate) fn read(&self) -> Option<Progress> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).map(Progress::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_text_is_cut_between_characters() {
        let said = |text: &str| Progress::from(Noted::new(1, 2, text)).text;
        assert_eq!(said("reading page 7"), "reading page 7");
        assert_eq!(said(&"x".repeat(500)), "x".repeat(TEXT_BYTES));
        assert_eq!(said(&"ä".repeat(61)), "ä".repeat(60));
        assert_eq!(said(&format!("x{}", "ä".repeat(61))), format!("x{}", "ä".repeat(59)));
        assert_eq!(said("two\nlines"), "twolines");
    }

    #[test]
    fn people_read_what_is_known() {
        let shown = |total, text| Progress::from(Noted::new(7, total, text)).to_string();
        assert_eq!(shown(10, "reading page 7"), "7 of 10, reading page 7");
        assert_eq!(shown(0, ""), "7");
    }
}
