//! What a URL says of an engine: its name, and its options.

use std::time::Duration;

use super::{LEAST_FILES, LEAST_MEMORY, LEAST_STACK, Settings};
use crate::client::Client;
use crate::error::{Error, Repr};
use crate::quarantine::Terms;

/// All options, for whoever mistypes one.
const KNOWN: &str = "workers, spares, queue_tasks, queue_bytes, max_payload, tenant_limit, \
                     tenant_queue, tenant_reserve, tenant_kills, max_wait_ms, lifo_above, \
                     memory_limit, cpu_limit_s, stack_size, open_files, library_threads, \
                     quarantine, quarantine_s, warm_up_timeout_s";

/// Starts the engine that a URL names.
pub(crate) async fn connect(url: &str) -> Result<Client, Error> {
    let (engine, settings) = Settings::parse(url)?;
    match engine {
        #[cfg(feature = "dask")]
        EngineName::Dask(cluster) => {
            let client = Client::new(crate::engine::dask::start(cluster, settings.limits)?);
            client.when_up().await
        }
        EngineName::Local => settings.start_local().await,
        EngineName::Inline => settings.start_inline(),
    }
}

/// Which engine a URL names.
#[derive(Clone, Debug)]
pub(crate) enum EngineName {
    Local,
    Inline,
    #[cfg(feature = "dask")]
    Dask(crate::engine::dask::Settings),
}

#[cfg(feature = "dask")]
const KNOWN_ENGINES: &str =
    "known are local:// and inline://, and dask://, tcp:// and tls:// of clusters";
#[cfg(not(feature = "dask"))]
const KNOWN_ENGINES: &str =
    "known are local:// and inline:// (and dask:// with the feature `dask`)";

impl EngineName {
    #[cfg(feature = "dask")]
    fn cluster(scheme: &str, hosts: &str) -> Result<Self, String> {
        match crate::engine::dask::Settings::parse(scheme, hosts) {
            Some(settings) => settings.map(Self::Dask),
            None => Err(format!("no engine is named `{scheme}`; {KNOWN_ENGINES}")),
        }
    }

    #[cfg(not(feature = "dask"))]
    fn cluster(scheme: &str, _: &str) -> Result<Self, String> {
        Err(format!("no engine is named `{scheme}`; {KNOWN_ENGINES}"))
    }

    #[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
    pub(crate) fn into_cluster(self) -> Option<crate::engine::dask::Settings> {
        match self {
            Self::Dask(cluster) => Some(cluster),
            _ => None,
        }
    }

    fn is_cluster(&self) -> bool {
        !matches!(self, Self::Local | Self::Inline)
    }

    /// Takes an option that only this engine has; false if it has none of that
    /// name.
    fn set(&mut self, name: &str, value: &str) -> Result<bool, String> {
        match self {
            #[cfg(feature = "dask")]
            Self::Dask(cluster) => cluster.set(name, value),
            _ => {
                let _ = (name, value);
                Ok(false)
            }
        }
    }
}

impl Settings {
    pub(crate) fn parse(url: &str) -> Result<(EngineName, Self), Error> {
        let wrong = |reason| Error::new(Repr::InvalidUrl { url: url.to_owned(), reason });
        let known = KNOWN_ENGINES;
        let (scheme, rest) =
            url.split_once("://").ok_or_else(|| wrong(format!("has no engine; {known}")))?;
        let (host, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut engine = match scheme {
            "local" => EngineName::Local,
            "inline" => EngineName::Inline,
            _ => EngineName::cluster(scheme, host).map_err(wrong)?,
        };
        if !engine.is_cluster() && !host.is_empty() && host != "/" {
            return Err(wrong(format!("`{host}` is a host, and {scheme}:// has none")));
        }
        let mut settings = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if !engine.set(name, value).map_err(wrong)? {
                settings.set(name, value).map_err(wrong)?;
            }
        }
        Ok((engine, settings))
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number: usize =
            value.parse().map_err(|_| format!("`{name}` wants a whole number, not `{value}`"))?;
        match name {
            "workers" if number == 0 => return Err("`workers` must be at least 1".into()),
            "workers" => self.workers = number,
            "spares" => self.spares = number,
            "tenant_kills" if number == 0 => return Err("`tenant_kills` must be at least 1".into()),
            "tenant_kills" => {
                self.limits.tenant_kills = Some(u32::try_from(number).unwrap_or(u32::MAX));
            }
            "queue_tasks" => self.limits.queue.tasks = number,
            "queue_bytes" => self.limits.queue.bytes = number,
            "max_payload" => self.limits.payload = number.min(2 << 30),
            "tenant_limit" if number == 0 => return Err("`tenant_limit` must be at least 1".into()),
            "tenant_limit" => self.limits.tenants.tenant_limit = number,
            "tenant_queue" => self.limits.tenants.tenant_queue = number,
            "max_wait_ms" => {
                self.limits.tenants.max_wait = Some(Duration::from_millis(number as u64));
            }
            "lifo_above" => self.limits.tenants.lifo_above = number,
            "tenant_reserve" if number > 1 => return Err("`tenant_reserve` is 0 or 1".into()),
            "tenant_reserve" => self.limits.tenants.reserve = number == 1,
            _ => return self.set_of_workers(name, number as u64),
        }
        Ok(())
    }

    /// Options about what a worker may use and do; threads of `inline` have none.
    fn set_of_workers(&mut self, name: &str, number: u64) -> Result<(), String> {
        let least = match name {
            "memory_limit" => LEAST_MEMORY,
            "stack_size" => LEAST_STACK as u64,
            "open_files" => LEAST_FILES,
            "cpu_limit_s" | "quarantine" | "quarantine_s" => 1,
            _ => 0,
        };
        if number < least {
            return Err(format!("`{name}` must be at least {least}"));
        }
        match name {
            "memory_limit" => self.worker.memory_bytes = Some(number),
            "cpu_limit_s" => self.worker.cpu_s = Some(number),
            "stack_size" => self.worker.stack_bytes = Some(number),
            "open_files" => self.worker.open_files = Some(number),
            "library_threads" => self.library_threads = Some(number as usize),
            "quarantine" => self.terms().crashes = u32::try_from(number).unwrap_or(u32::MAX),
            "quarantine_s" => self.terms().time = Duration::from_secs(number),
            "warm_up_timeout_s" => self.warm_up_timeout = Duration::from_secs(number),
            _ => return Err(format!("no option is named `{name}`; known are {KNOWN}")),
        }
        Ok(())
    }

    fn terms(&mut self) -> &mut Terms {
        self.limits.quarantine.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(url: &str) -> String {
        Settings::parse(url).expect_err(url).to_string()
    }

    #[test]
    fn a_url_names_an_engine_and_its_options() {
        let (engine, settings) =
            Settings::parse("local://?workers=3&queue_tasks=7").expect("a good URL");
        assert!(matches!(engine, EngineName::Local));
        assert_eq!(settings.workers, 3);
        assert_eq!(settings.limits.queue.tasks, 7);
    }

    #[test]
    fn a_url_limits_workers() {
        let url = "local://?memory_limit=268435456&cpu_limit_s=9&stack_size=65536&open_files=64\
                   &library_threads=0&warm_up_timeout_s=7";
        let (_, settings) = Settings::parse(url).expect("a good URL");
        let limits = settings.worker;
        assert_eq!((limits.memory_bytes, limits.cpu_s), (Some(256 << 20), Some(9)));
        assert_eq!((limits.stack_bytes, limits.open_files), (Some(64 << 10), Some(64)));
        assert_eq!(settings.threads_of_a_library(), None);
        assert_eq!(settings.warm_up_timeout, Duration::from_secs(7));
        assert!(complaint("local://?memory_limit=1").contains("must be at least 16777216"));
        assert!(complaint("local://?cpu_limit_s=0").contains("must be at least 1"));
    }

    #[test]
    fn each_half_of_a_quarantine_brings_the_other() {
        let terms = |url| Settings::parse(url).expect(url).1.limits.quarantine;
        let default = Terms::default();
        assert_eq!(terms("local://"), None);
        assert_eq!(terms("local://?quarantine=5"), Some(Terms { crashes: 5, ..default }));
        let minute = Duration::from_secs(60);
        assert_eq!(terms("local://?quarantine_s=60"), Some(Terms { time: minute, ..default }));
    }

    #[test]
    fn libraries_share_the_cores_between_workers() {
        let threads = |workers| {
            let settings = Settings { workers, ..Settings::default() };
            settings.threads_of_a_library().expect("it is said by default")
        };
        assert_eq!(threads(1), crate::snapshot::Host::cores());
        assert_eq!(threads(usize::MAX), 1);
    }

    #[test]
    fn a_wrong_url_says_what_is_wrong() {
        assert!(complaint("localhost").contains("has no engine"));
        assert!(complaint("redis://x").contains("no engine is named `redis`"));
        assert!(complaint("local://host").contains("`host` is a host"));
        assert!(complaint("local://?workers=many").contains("wants a whole number"));
        assert!(complaint("local://?workers=0").contains("at least 1"));
        let unknown = complaint("inline://?speed=1");
        assert!(unknown.contains("no option is named `speed`"));
        for name in KNOWN.split(", ") {
            let known = complaint(&format!("local://?{name}=x"));
            assert!(known.contains("wants a whole number"), "{known}");
        }
    }
}
