//! How many workers a pool is to have: so many, or as many as its load asks for within a range.

use std::fmt;
use std::ops::RangeInclusive;

/// How many workers a pool has: a number, or a range in which it follows its load.
///
/// It is made from a number (`4`) or a range (`0..=8`). Such a pool is **elastic**:
/// [`LocalBuilder::workers`](crate::LocalBuilder::workers) says when a worker starts and when it
/// ends.
///
/// # Examples
///
/// ```
/// use outboard::WorkerCount;
///
/// assert_eq!(WorkerCount::from(4).to_string(), "4");
/// assert_eq!(WorkerCount::from(0..=8).to_string(), "0..=8");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WorkerCount {
    least: usize,
    most: usize,
}

/// What a text has to be that says how many.
pub(crate) const WANTS: &str = "a whole number, at least 1, or a range such as `0..=8`";

impl WorkerCount {
    /// Reads a number, or a range as Rust has it; `None` if it is neither, or has no worker.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let number = |text: &str| text.parse::<usize>().ok();
        let count = match text.split_once("..=") {
            Some((least, most)) => Self { least: number(least)?, most: number(most)? },
            None => Self::from(number(text)?),
        };
        (count.most >= count.least.max(1)).then_some(count)
    }

    /// The fewest.
    pub(crate) fn least(self) -> usize {
        self.least
    }

    /// The most.
    pub(crate) fn most(self) -> usize {
        self.most
    }

    /// Whether it follows the load.
    pub(crate) fn is_elastic(self) -> bool {
        self.least < self.most
    }
}

impl From<usize> for WorkerCount {
    fn from(workers: usize) -> Self {
        Self { least: workers, most: workers }
    }
}

impl From<RangeInclusive<usize>> for WorkerCount {
    fn from(range: RangeInclusive<usize>) -> Self {
        Self { least: *range.start(), most: *range.end() }
    }
}

/// As a URL has it.
impl fmt::Display for WorkerCount {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.least == self.most {
            true => write!(f, "{}", self.most),
            false => write!(f, "{}..={}", self.least, self.most),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_read_as_it_is_shown() {
        for text in ["1", "4", "0..=8", "1..=2"] {
            assert_eq!(WorkerCount::parse(text).map(|it| it.to_string()).as_deref(), Some(text));
        }
        assert_eq!(WorkerCount::parse("3..=3"), Some(WorkerCount::from(3)));
        for text in ["", "0", "many", "0..=0", "2..=1", "0..8", "..=8", "0..=", "-1", "0-8"] {
            assert_eq!(WorkerCount::parse(text), None, "{text}");
        }
    }
}
