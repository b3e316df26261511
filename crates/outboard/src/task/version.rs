//! Which of the functions with one name is meant: what caller and worker compare, where they
//! are of two builds.

use std::fmt::{self, Display};

use serde::{Deserialize, Serialize};

use super::function::TaskFunction;
use crate::value::codec::is_bytes;

/// A version of a function. Types are no part of it: compilers name them differently, and
/// serde reads one as another.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub(crate) struct Version {
    pub(crate) number: u32,
    pub(crate) form: Form,
}

/// Whether arguments and result are bytes as they are, or values in the codec's form. Bytes
/// may be anything. So one must not be taken for the other.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize,
)]
pub(crate) struct Form {
    arguments: bool,
    result: bool,
}

impl Form {
    pub(super) fn of<F: TaskFunction<M>, M>() -> Self {
        Self { arguments: is_bytes::<F::Args>(), result: is_bytes::<F::Output>() }
    }
}

impl Display for Version {
    /// The number, and what of the function is bytes as they are: `2` or `2.ar`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { number, form: Form { arguments, result } } = self;
        write!(f, "{number}")?;
        f.write_str(match (arguments, result) {
            (false, false) => "",
            (true, false) => ".a",
            (false, true) => ".r",
            (true, true) => ".ar",
        })
    }
}
