//! The numbers by which the parts name tasks, waiters, slots and tenants to each
//! other.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;

/// Names a task of one client, as text like `2f.0`; never reused within two
/// billion tasks.
///
/// From [`TaskFuture::id`](crate::TaskFuture::id) and from events; `Display` and
/// `FromStr` take it to a page and back. A later task has a higher one, until
/// they start over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TaskId(pub(crate) Tagged);

/// Names a waiter; never reused within four billion waiters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct WaiterId(pub(crate) Tagged);

/// A place in a slab, with a number that tells its occupants apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Tagged {
    tag: NonZeroU32,
    index: u32,
}

impl Tagged {
    /// The occupant with that number, at a key of its slab.
    ///
    /// # Panics
    ///
    /// If there are four billion places.
    pub(crate) fn new(key: usize, tag: NonZeroU32) -> Self {
        Self { tag, index: short(key) }
    }

    /// The key in its slab.
    pub(crate) fn key(self) -> usize {
        self.index as usize
    }

    pub(crate) fn tag(self) -> NonZeroU32 {
        self.tag
    }
}

/// The numbers of occupants, one after the other. Of several such sequences, no two have a
/// number in common.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tags {
    first: NonZeroU32,
    step: NonZeroU32,
    last: Option<NonZeroU32>,
}

impl Tags {
    /// One of so many sequences, counted from 0.
    pub(crate) fn new(at: u32, of: NonZeroU32) -> Self {
        Self { first: NonZeroU32::MIN.saturating_add(at), step: of, last: None }
    }

    /// The next number; they start over at the end.
    pub(crate) fn next(&mut self) -> NonZeroU32 {
        let next = self.last.and_then(|last| last.checked_add(self.step.get()));
        *self.last.insert(next.unwrap_or(self.first))
    }
}

impl Default for Tags {
    fn default() -> Self {
        Self::new(0, NonZeroU32::MIN)
    }
}

fn short(key: usize) -> u32 {
    u32::try_from(key).expect("far fewer places than four billion")
}

/// Names a slot; reused after `slot_down`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct SlotId(u32);

impl SlotId {
    /// That at a key of its slab.
    pub(crate) fn at(key: usize) -> Self {
        Self(short(key))
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Names a tenant that has tasks, or was seen of late.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TenantId(u32);

impl TenantId {
    /// That at a key of its slab.
    pub(crate) fn at(key: usize) -> Self {
        Self(short(key))
    }

    pub(crate) fn index(self) -> usize {
        self.0 as usize
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.0.tag, self.0.index)
    }
}

/// The error of a text that is no [`TaskId`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ParseTaskIdError;

impl fmt::Display for ParseTaskIdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text names no task: it is like `2f.0`")
    }
}

impl std::error::Error for ParseTaskIdError {}

impl FromStr for TaskId {
    type Err = ParseTaskIdError;

    fn from_str(text: &str) -> Result<Self, ParseTaskIdError> {
        let number = |text| u32::from_str_radix(text, 16).map_err(|_| ParseTaskIdError);
        let (tag, index) = text.split_once('.').ok_or(ParseTaskIdError)?;
        let tag = NonZeroU32::new(number(tag)?).ok_or(ParseTaskIdError)?;
        Ok(Self(Tagged { tag, index: number(index)? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_sequences_have_no_number_in_common() {
        for at in 0..3 {
            let mut tags = Tags::new(at, NonZeroU32::new(3).unwrap());
            let four = |tags: &mut Tags| [0; 4].map(|_| tags.next().get());
            assert_eq!(four(&mut tags), [1, 4, 7, 10].map(|number| number + at));
            // The largest number is a multiple of three.
            tags.last = NonZeroU32::new(u32::MAX - 5 + at);
            let over = four(&mut tags);
            assert!(over.iter().all(|number| (number - 1) % 3 == at), "{over:?}");
            assert!(over.contains(&(1 + at)), "they start over: {over:?}");
        }
    }

    #[test]
    fn a_name_survives_as_text() {
        let id = TaskId(Tagged { tag: NonZeroU32::MIN.saturating_add(0x2e), index: 10 });
        assert_eq!(id.to_string(), "2f.a");
        assert_eq!("2f.a".parse(), Ok(id));
        for text in ["", "2f", "2f.", "x.1", "1.2.3", "fffffffff.0", "0.1"] {
            assert_eq!(text.parse::<TaskId>(), Err(ParseTaskIdError), "{text}");
        }
    }
}
