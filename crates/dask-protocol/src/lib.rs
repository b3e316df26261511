//! The wire protocol of Dask's `distributed`, for those who are not Python.
#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

#[cfg(feature = "wire")]
pub mod address;
#[cfg(feature = "wire")]
mod compression;
#[cfg(feature = "wire")]
mod document;
pub mod exception;
#[cfg(feature = "wire")]
pub mod frames;
#[cfg(feature = "wire")]
pub mod graph;
#[cfg(feature = "wire")]
pub mod key;
#[cfg(feature = "wire")]
mod malformed;
#[cfg(feature = "wire")]
pub mod message;
pub mod pickle;
#[cfg(feature = "wire")]
pub mod plain;
#[cfg(feature = "wire")]
pub mod run_spec;
#[cfg(feature = "wire")]
mod serialized;

#[cfg(feature = "wire")]
pub use document::Pickled;
#[cfg(feature = "wire")]
pub use malformed::Malformed;
#[cfg(feature = "wire")]
pub use serialized::Serialized;
