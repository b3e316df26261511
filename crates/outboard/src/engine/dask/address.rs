//! Where schedulers and workers are, and which certificates go with it.

use std::fmt;
use std::path::PathBuf;

/// A place to connect to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Address {
    pub(crate) scheme: Scheme,
    /// Host and port, as the system's resolver takes them.
    pub(crate) place: String,
}

/// Whether bytes go as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Scheme {
    Tcp,
    Tls,
}

/// The files of a certificate authority, a certificate and its key, in PEM.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Files {
    pub(crate) ca: Option<PathBuf>,
    pub(crate) cert: Option<PathBuf>,
    pub(crate) key: Option<PathBuf>,
}

/// Who connects: Dask has certificates for each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Client,
    Worker,
}

impl Address {
    /// An address as Dask writes it: `tcp://host:port` or `tls://host:port`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (scheme, place) = text.split_once("://")?;
        let scheme = match scheme {
            "tcp" => Scheme::Tcp,
            "tls" => Scheme::Tls,
            _ => return None,
        };
        Self::new(scheme, place).ok()
    }

    /// Host and port.
    ///
    /// # Errors
    ///
    /// A line that says what is missing.
    pub(crate) fn new(scheme: Scheme, place: &str) -> Result<Self, String> {
        let (host, port) = place.rsplit_once(':').unwrap_or((place, ""));
        if host.is_empty() {
            return Err(format!("`{place}` has no host: write host:port"));
        }
        match port.parse::<u16>() {
            Ok(1..) => Ok(Self { scheme, place: place.to_owned() }),
            _ => Err(format!("`{place}` has no port: write host:port (Dask's default is 8786)")),
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

impl Files {
    /// Takes what is not given from the variables that Dask's own programs read.
    pub(crate) fn or_from_env(self, role: Role) -> Self {
        let variable = |name: &str| {
            let value = std::env::var_os(format!("DASK_DISTRIBUTED__COMM__TLS__{name}"));
            value.filter(|value| !value.is_empty()).map(PathBuf::from)
        };
        let role = match role {
            Role::Client => "CLIENT",
            Role::Worker => "WORKER",
        };
        Self {
            ca: self.ca.or_else(|| variable("CA_FILE")),
            cert: self.cert.or_else(|| variable(&format!("{role}__CERT"))),
            key: self.key.or_else(|| variable(&format!("{role}__KEY"))),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

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
