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
pub(crate) use read::{Call, Node, Object, Symbols, widen};

use serde::de::DeserializeOwned;

/// The Rust value that a pickle holds. Beside the pickle there are no buffers.
///
/// # Errors
///
/// A line that says what does not fit.
pub(crate) fn from_slice<T: DeserializeOwned>(pickle: &[u8]) -> Result<T, String> {
    let symbols = Symbols::read(pickle, 0).map_err(|error| error.to_string())?;
    from_symbols(&symbols, &[], symbols.root).map_err(|error| error.to_string())
}
