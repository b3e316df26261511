//! Where schedulers and workers are.

use std::fmt;

/// A place to connect to.
///
/// # Examples
///
/// ```
/// use dask_protocol::address::{Address, Scheme};
///
/// let address = Address::parse("tls://scheduler:8786").expect("an address");
/// assert_eq!(address.scheme, Scheme::Tls);
/// assert_eq!(address.place, "scheduler:8786");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Address {
    /// Whether bytes go as they are.
    pub scheme: Scheme,
    /// Host and port, as the system's resolver takes them.
    pub place: String,
}

/// Whether bytes go as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// They do.
    Tcp,
    /// They go through TLS, with certificates on both sides.
    Tls,
}

impl Address {
    /// An address as Dask writes it: `tcp://host:port` or `tls://host:port`.
    pub fn parse(text: &str) -> Option<Self> {
        let (scheme, place) = text.split_once("://")?;
        let scheme = match scheme {
            "tcp" => Scheme::Tcp,
            "tls" => Scheme::Tls,
            _ => return None,
        };
        Self::new(scheme, place).ok()
    }

    /// An address of a host and port.
    ///
    /// # Errors
    ///
    /// If one of them is missing.
    pub fn new(scheme: Scheme, place: &str) -> Result<Self, NoAddress> {
        let (host, port) = place.rsplit_once(':').unwrap_or((place, ""));
        let missing = |what| NoAddress { place: place.to_owned(), what };
        if host.is_empty() {
            return Err(missing("host: write host:port"));
        }
        match port.parse::<u16>() {
            Ok(1..) => Ok(Self { scheme, place: place.to_owned() }),
            _ => Err(missing("port: write host:port (Dask's default is 8786)")),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Tcp => "tcp",
            Scheme::Tls => "tls",
        };
        write!(f, "{scheme}://{}", self.place)
    }
}

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoAddress {
    place: String,
    what: &'static str,
}

impl fmt::Display for NoAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` has no {}", self.place, self.what)
    }
}

impl std::error::Error for NoAddress {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_dask_does() {
        for text in ["tcp://127.0.0.1:8786", "tls://scheduler:1", "tcp://[::1]:65535"] {
            assert_eq!(Address::parse(text).expect(text).to_string(), text);
        }
        for text in ["127.0.0.1:8786", "ucx://a:1", "tcp://a", "tcp://:1", "tcp://a:0", "tcp://a:x"]
        {
            assert_eq!(Address::parse(text), None, "{text}");
        }
    }
}
