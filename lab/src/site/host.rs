//! One of the three servers, by its name.

use std::fmt;
use std::net::SocketAddr;

use serde::Serialize;

use super::start::Places;

/// Which of the three servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Host {
    Before,
    Threads,
    After,
}

impl Host {
    /// All servers, in the order of the table.
    pub(crate) const ALL: [Self; 3] = [Self::Before, Self::Threads, Self::After];

    /// Where it listens.
    pub(crate) fn address(self, places: &Places) -> SocketAddr {
        match self {
            Self::Before => places.before,
            Self::Threads => places.threads,
            Self::After => places.after,
        }
    }
}

impl fmt::Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Before => "before",
            Self::Threads => "threads",
            Self::After => "after",
        })
    }
}
