#![doc = include_str!("../README.md")]
#![forbid(unsafe_code)]
#![deny(missing_docs)]

pub mod address;
mod compression;
#[doc(hidden)]
pub mod document;
pub mod exception;
pub mod frames;
pub mod key;
mod malformed;
pub mod pickle;
pub mod plain;
pub mod run_spec;
mod serialized;

pub use malformed::Malformed;
pub use serialized::Serialized;
