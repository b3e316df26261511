//! The wire protocol of Dask's `distributed`, for those who are not Python.
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod address;
mod compression;
mod document;
pub mod exception;
pub mod frames;
pub mod graph;
pub mod key;
mod malformed;
pub mod message;
pub mod pickle;
pub mod plain;
pub mod run_spec;
mod serialized;

pub use document::Pickled;
pub use malformed::Malformed;
pub use serialized::Serialized;
