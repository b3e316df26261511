//! What a URL says to a worker: which scheduler, which certificates, how many
//! tasks at once.

use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use crate::engine::dask::address::{Address, Role, Scheme};
use crate::engine::dask::tls;
use crate::engine::dask::url::Settings as ClusterSettings;
use crate::engine::settings::Settings as LocalSettings;
use crate::engine::url::Url;
use crate::error::Error;
use crate::observe::snapshot::Host;

/// What is held for the cluster where this machine does not tell its memory.
const MEMORY: usize = 4 << 30;

/// See the module's documentation.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) scheduler: Address,
    pub(super) dialing: Option<Arc<ClientConfig>>,
    pub(super) listening: Option<Arc<ServerConfig>>,
    /// How long a scheduler may say nothing before it counts as lost.
    pub(super) silence: Duration,
    /// Whether there may be Python workers beside this one.
    pub(super) mixed: bool,
    /// Where to listen, if that is not to be found out.
    pub(super) listen: Option<String>,
    pub(super) name: Option<String>,
    /// How many bytes may be held for the cluster.
    pub(super) held_bytes: usize,
    pub(super) local: LocalSettings,
}

impl Settings {
    /// Reads a URL of the form `dask://host:port?option=value`.
    pub(super) fn parse(url: &str) -> Result<Self, Error> {
        let mut url = Url::parse(url)?;
        let mut own = Own::default();
        url.take(|name, value| own.set(name, value))?;
        let cluster = ClusterSettings::of(&mut url)?;
        let mut local = url.settings()?;
        // Callers elsewhere show what tasks say.
        local.said = crate::trace::INFO;
        let wrong = |reason| url.wrong(reason);
        let [scheduler] = &cluster.addresses[..] else {
            return Err(wrong("a worker joins one scheduler: start one worker for each".into()));
        };
        let (dialing, listening) = match scheduler.scheme {
            // It says so if there are certificates all the same.
            Scheme::Tcp => (cluster.tls().map_err(wrong)?, None),
            Scheme::Tls => {
                let files = cluster.files(Role::Worker);
                let (client, server) = (tls::client(&files), tls::server(&files));
                (Some(client.map_err(wrong)?), Some(server.map_err(wrong)?))
            }
        };
        let share = local.workers as f64 / Host::cores() as f64;
        let memory = Host::memory_bytes() as f64 * share.min(1.0);
        let memory = if memory > 0.0 { memory as usize } else { MEMORY };
        Ok(Self {
            scheduler: scheduler.clone(),
            dialing,
            listening,
            silence: cluster.silence,
            mixed: own.mixed,
            listen: own.listen,
            name: own.name,
            held_bytes: own.held_bytes.unwrap_or(memory),
            local,
        })
    }
}

/// The options that only workers have.
#[derive(Debug, Default)]
struct Own {
    mixed: bool,
    listen: Option<String>,
    name: Option<String>,
    held_bytes: Option<usize>,
}

impl Own {
    fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let text = || match value {
            "" => Err(format!("`{name}` wants a value")),
            value => Ok(Some(value.to_owned())),
        };
        match name {
            "mixed" if value == "1" || value == "0" => self.mixed = value == "1",
            "mixed" => return Err("`mixed` is 0 or 1".into()),
            "listen" => self.listen = text()?,
            "name" => self.name = text()?,
            "held_bytes" => match value.parse() {
                Ok(bytes @ 1..) => self.held_bytes = Some(bytes),
                _ => return Err("`held_bytes` wants a number of bytes".into()),
            },
            _ => return Ok(false),
        }
        Ok(true)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_to_work_and_how() {
        let settings = Settings::parse("dask://a:8786?workers=3&mixed=1&held_bytes=7").unwrap();
        assert_eq!(settings.scheduler.to_string(), "tcp://a:8786");
        assert_eq!((settings.local.workers, settings.mixed), (3, true));
        assert_eq!(settings.held_bytes, 7);
        assert!(Settings::parse("dask://a:8786").unwrap().held_bytes > 0);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (url, said) in [
            ("local://", "joins a cluster"),
            ("dask://a:1,b:1", "one scheduler"),
            ("dask://a:1?mixed=yes", "0 or 1"),
            ("dask://a:1?held_bytes=0", "number of bytes"),
            ("dask://a:1?nonsense=1", "no option is named"),
            ("tls://a:1?tls_ca=/no/such/file", "/no/such/file"),
        ] {
            let error = Settings::parse(url).unwrap_err().to_string();
            assert!(error.contains(said), "{url}: {error}");
        }
    }
}
