//! What a URL of a cluster says: schedulers, certificates, patience.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_rustls::rustls::ClientConfig;

use super::address::{Address, Files, Role, Scheme};
use super::plugin::Plugin;
use super::tls;
use super::window::Window;
use crate::engine::url::Url;
use crate::error::Error;

/// How long a scheduler may say nothing before it counts as lost.
const SILENCE: Duration = Duration::from_secs(30);

/// Which cluster to connect to, and how.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) addresses: Vec<Address>,
    files: Files,
    pub(crate) silence: Duration,
    /// Which program is to be beside Python workers.
    pub(crate) plugin: Option<Plugin>,
    /// How many tasks a scheduler is given at once.
    pub(crate) window: Window,
}

impl Settings {
    /// What a URL says of a cluster; its options are taken from it.
    ///
    /// # Errors
    ///
    /// `InvalidUrl`, saying what is wrong.
    pub(crate) fn of(url: &mut Url) -> Result<Self, Error> {
        let cluster = Self::parse(url.scheme(), url.hosts());
        let not_one = || Err("a worker joins a cluster: dask://…".into());
        let mut cluster = cluster.unwrap_or_else(not_one).map_err(|reason| url.wrong(reason))?;
        url.take(|name, value| cluster.set(name, value))?;
        Ok(cluster)
    }

    /// What a URL with that scheme and those hosts names; `None` if no cluster has
    /// such a scheme.
    ///
    /// # Errors
    ///
    /// A line that says what is wrong.
    pub(crate) fn parse(scheme: &str, hosts: &str) -> Option<Result<Self, String>> {
        let scheme = match scheme {
            "dask" | "tcp" => Scheme::Tcp,
            "tls" => Scheme::Tls,
            _ => return None,
        };
        let hosts = hosts.strip_suffix('/').unwrap_or(hosts);
        let addresses = hosts.split(',').map(|host| Address::new(scheme, host));
        Some(addresses.collect::<Result<Vec<_>, _>>().and_then(|addresses| {
            let mut sorted: Vec<_> = addresses.iter().collect();
            sorted.sort_unstable();
            if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
                return Err("a scheduler is named twice".into());
            }
            Ok(Self {
                addresses,
                files: Files::default(),
                silence: SILENCE,
                window: Window::default(),
                plugin: None,
            })
        }))
    }

    /// Takes an option of the URL; false if it has no such option.
    ///
    /// # Errors
    ///
    /// A line that says what is wrong with its value.
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
        let file = || match value {
            "" => Err(format!("`{name}` wants a file")),
            value => Ok(Some(PathBuf::from(value))),
        };
        match name {
            "tls_ca" => self.files.ca = file()?,
            "tls_cert" => self.files.cert = file()?,
            "tls_key" => self.files.key = file()?,
            "silence_ms" => match value.parse() {
                Ok(ms @ 1_000..) => self.silence = Duration::from_millis(ms),
                _ => return Err("`silence_ms` must be at least 1000".into()),
            },
            "window" => match value.parse() {
                Ok(tasks @ 1..) => self.window = Window::limited(tasks),
                _ => return Err("`window` must be at least 1".into()),
            },
            "plugin" => self.plugin.get_or_insert_default().set_program(value)?,
            _ => match (name.strip_prefix("plugin."), &mut self.plugin) {
                (Some(name), Some(plugin)) => plugin.set_option(name, value)?,
                (Some(_), None) => return Err(format!("`{name}` comes after `plugin`")),
                (None, _) => return Ok(false),
            },
        }
        Ok(true)
    }

    /// The certificates, where the cluster needs them. Given in a URL, they say
    /// that it does.
    ///
    /// # Errors
    ///
    /// A line that says what is missing or cannot be used.
    pub(crate) fn tls(&self) -> Result<Option<Arc<ClientConfig>>, String> {
        if self.addresses.iter().all(|address| address.scheme == Scheme::Tcp) {
            return match self.files.is_empty() {
                true => Ok(None),
                false => Err("certificates are given: write tls://host:port".into()),
            };
        }
        tls::client(&self.files(Role::Client)).map(Some)
    }

    /// The files of the certificates.
    pub(crate) fn files(&self, role: Role) -> Files {
        self.files.clone().or_from_env(role)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_one_scheduler_or_several() {
        let settings = Settings::parse("dask", "a:8786,b:1/").expect("a cluster").unwrap();
        let addresses: Vec<_> = settings.addresses.iter().map(ToString::to_string).collect();
        assert_eq!(addresses, ["tcp://a:8786", "tcp://b:1"]);
        assert!(Settings::parse("redis", "a:1").is_none());
        for wrong in ["", "a", "a:1,", "a:1,a:1", "a:b"] {
            assert!(Settings::parse("tcp", wrong).expect("a cluster").is_err(), "{wrong}");
        }
    }

    #[test]
    fn tls_needs_certificates() {
        let mut settings = Settings::parse("tls", "a:1").expect("a cluster").unwrap();
        assert_eq!(settings.set("tls_ca", "/no/such/file"), Ok(true));
        assert_eq!(settings.set("speed", "1"), Ok(false));
        assert!(settings.set("silence_ms", "5").is_err());
        assert!(settings.set("window", "0").is_err());
        assert!(settings.tls().unwrap_err().contains("/no/such/file"));
    }
}
