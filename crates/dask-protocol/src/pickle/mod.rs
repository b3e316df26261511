//! Python's pickles, as far as values travel in them.
//!
//! [`Symbols`] reads a pickle without ever importing or calling: which function to
//! call and which exception was raised stay symbols. [`Pickle`] writes one, opcode
//! by opcode. [`from_slice`] and [`to_vec`] are for values that serde knows.
//!
//! # Examples
//!
//! ```
//! use dask_protocol::pickle;
//!
//! let pickle = pickle::to_vec(&(1, "a"))?;
//! assert_eq!(pickle::from_slice::<(u8, String)>(&pickle)?, (1, "a".to_owned()));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

/// Arrays of numbers.
mod array;
/// Rust values from pickles.
mod decode;
/// Writes pickles.
mod emit;
/// Pickles from Rust values.
mod encode;
/// Objects whose names are known.
mod objects;
/// Where in a value something is wrong.
mod place;
/// Reads pickles, symbolically.
mod read;
/// What was read.
mod symbols;

pub use array::ARRAY;
pub use decode::{Mismatch, from_symbols};
pub use emit::Pickle;
pub use encode::{Unsupported, write_value, write_value_within};
#[cfg(feature = "wire")]
pub(crate) use objects::{FORTRAN, Known, Source, advice, is_part};
pub use symbols::{Call, Node, Object, Span, Symbols};

use std::fmt;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// How deep a value may be nested: what reads and writes it recurses.
const DEPTH: usize = 128;

/// Why bytes are no pickle, or none that can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PickleError {
    /// It ends too early, or takes more than it has, at that byte.
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
/// If it is no pickle, or holds something else.
pub fn from_slice<T: DeserializeOwned>(pickle: &[u8]) -> Result<T, Mismatch> {
    let symbols = Symbols::read(pickle, 0)?;
    from_symbols(&symbols, &[], symbols.root())
}

/// The pickle of a Rust value.
///
/// # Errors
///
/// If it has no form in Python, or if serde cannot say what it is.
pub fn to_vec<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, Unsupported> {
    let mut pickle = Pickle::new();
    write_value(value, &mut pickle)?;
    Ok(pickle.finish())
}
