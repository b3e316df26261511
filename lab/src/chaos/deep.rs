//! Values that are nested deeply: within what may travel, and beyond it.

use serde::{Deserialize, Serialize};

/// Within the bound, and so far beyond it that decoding it would overflow a stack.
pub(super) const DEEP: usize = 60;
pub(super) const TOO_DEEP: usize = 60_000;

/// A value in a value in a value.
#[derive(Serialize, Deserialize)]
pub(super) struct Nest {
    inner: Option<Box<Nest>>,
}

impl Nest {
    /// One of so many levels.
    pub(super) fn of(levels: usize) -> Self {
        (1..levels).fold(Self { inner: None }, |nest, _| Self { inner: Some(Box::new(nest)) })
    }

    /// How many levels it has.
    pub(super) fn levels(&self) -> usize {
        std::iter::successors(Some(self), |nest| nest.inner.as_deref()).count()
    }
}

/// One after the other: the depth is no matter for it.
impl Drop for Nest {
    fn drop(&mut self) {
        let mut next = self.inner.take();
        while let Some(mut nest) = next {
            next = nest.inner.take();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_as_many_levels_as_asked_for() {
        for levels in [1, DEEP, TOO_DEEP] {
            assert_eq!(Nest::of(levels).levels(), levels);
        }
    }
}
