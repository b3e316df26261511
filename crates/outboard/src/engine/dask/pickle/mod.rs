//! Python's pickles, as far as values travel in them.
//!
//! No library fits: those that there are turn classes and functions that they
//! do not know into nothing, or refuse the pickle; here it is those that tell
//! which function to call and which exception was raised.

/// Rust values from pickles.
mod decode;
/// Writes pickles.
mod emit;
/// Pickles from Rust values.
mod encode;
/// Reads pickles, symbolically.
mod read;

pub(crate) use decode::from_symbols;
pub(crate) use emit::Pickle;
pub(crate) use encode::write_value;
#[cfg(all(feature = "local", target_os = "linux"))]
pub(crate) use read::{Call, widen};
pub(crate) use read::{Node, Object, Symbols};

use std::fmt;

use serde::de::DeserializeOwned;

/// Why bytes are no pickle, or none that can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PickleError {
    /// It ends too early, or takes more than it has.
    Broken(usize),
    /// Nothing that CPython writes today.
    Opcode(u8),
    /// It would cost too much memory.
    TooLarge,
}

impl fmt::Display for PickleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Broken(at) => write!(f, "the pickle is broken at byte {at}"),
            Self::Opcode(code) => write!(f, "the pickle has an opcode {code:#04x}, not understood"),
            Self::TooLarge => f.write_str("the pickle has too many parts"),
        }
    }
}

impl std::error::Error for PickleError {}

/// The Rust value that a pickle holds. Beside the pickle there are no buffers.
///
/// # Errors
///
/// A line that says what does not fit.
pub(crate) fn from_slice<T: DeserializeOwned>(pickle: &[u8]) -> Result<T, String> {
    let symbols = Symbols::read(pickle, 0).map_err(|error| error.to_string())?;
    from_symbols(&symbols, &[], symbols.root).map_err(|error| error.to_string())
}
