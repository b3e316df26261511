//! What a URL says to a worker: which scheduler, which certificates, how many
//! tasks at once.

use std::sync::Arc;
use std::time::Duration;

use dask_protocol::address::{Address, Scheme};
use tokio_rustls::rustls::{ClientConfig, ServerConfig};

use crate::engine::dask::tls::{self, Role};
use crate::engine::dask::url::Settings as ClusterSettings;
use crate::engine::option::{EngineOption, Form, Kind};
use crate::engine::pools::DEFAULT;
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
        url.take(OPTIONS, "dask", &mut own)?;
        let cluster = ClusterSettings::of(&mut url)?;
        let mut local = url.settings("local")?;
        // Callers elsewhere show what tasks say.
        local.said = crate::trace::INFO;
        local.pools.iter_mut().for_each(|(_, pool)| pool.said = crate::trace::INFO);
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
        let threads: usize = lanes(&local).map(|(_, threads)| threads).sum();
        let share = threads as f64 / Host::cores() as f64;
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

    /// The pools for functions of Rust, the default one first: their names, and how many tasks
    /// each executes at once.
    pub(super) fn lanes(&self) -> impl Iterator<Item = (&str, usize)> {
        lanes(&self.local)
    }

    /// How many tasks all pools execute at once.
    pub(super) fn threads(&self) -> usize {
        self.lanes().map(|(_, threads)| threads).sum()
    }
}

fn lanes(local: &LocalSettings) -> impl Iterator<Item = (&str, usize)> {
    let named = local.pools.iter().filter(|(_, pool)| pool.python.is_none());
    let named = named.map(|(name, pool)| (&**name, pool));
    std::iter::once((DEFAULT, local)).chain(named).map(|(name, pool)| (name, pool.workers.most()))
}

/// What only workers can be told.
#[derive(Debug, Default)]
pub(super) struct Own {
    mixed: bool,
    listen: Option<String>,
    name: Option<String>,
    held_bytes: Option<usize>,
}

const CLUSTER: &[&str] = &["dask"];

/// The options that only workers have. The documentation of `ClusterWorker::new` shows
/// them in this order.
pub(super) const OPTIONS: &[EngineOption<Own>] = &[
    EngineOption {
        name: "listen",
        example: "10.0.0.1:9000",
        kind: Kind::Text(
            Form { wants: "a value of the form host:port", fits: |place| !place.is_empty() },
            |own, place| own.listen = Some(place.to_owned()),
        ),
        engines: CLUSTER,
        says: "Where to listen; by default a free port of the address from which the scheduler \
               is reached.",
    },
    EngineOption {
        name: "name",
        example: "worker-1",
        kind: Kind::Text(Form { wants: "a value", fits: |name| !name.is_empty() }, |own, name| {
            own.name = Some(name.to_owned())
        }),
        engines: CLUSTER,
        says: "Its name in Dask's dashboard; by default its address.",
    },
    EngineOption {
        name: "held_bytes",
        example: "4GiB",
        kind: Kind::Bytes(1..=usize::MAX as u64, |own, bytes| {
            own.held_bytes = Some(bytes as usize);
        }),
        engines: CLUSTER,
        says: "How many bytes of results are held; by default its share of the machine's memory.",
    },
    EngineOption {
        name: "mixed",
        example: "1",
        kind: Kind::Flag(|own, mixed| own.mixed = mixed),
        engines: CLUSTER,
        says: "Whether to join a scheduler that has Python workers too; by default 0.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_says_where_to_work_and_how() {
        let settings =
            Settings::parse("dask://a:8786?workers=3&mixed=1&held_bytes=7KiB&sandbox=no_exec")
                .unwrap();
        assert_eq!(settings.scheduler.to_string(), "tcp://a:8786");
        assert_eq!((settings.local.workers, settings.mixed), (3.into(), true));
        assert!(settings.local.sandbox.is_some_and(|sandbox| sandbox.no_exec));
        assert_eq!(settings.held_bytes, 7 << 10);
        let pools = Settings::parse("dask://a:1?workers=3&pool.gpu.workers=2&pool.b.workers=0..=4");
        let pools = pools.unwrap();
        assert!(pools.lanes().eq([("default", 3), ("gpu", 2), ("b", 4)]));
        assert_eq!(pools.threads(), 9);
        assert!(Settings::parse("dask://a:8786").unwrap().held_bytes > 0);
    }

    #[test]
    fn each_example_is_one_and_documented() {
        let default = format!("{:?}", Own::default());
        let docs = include_str!("mod.rs");
        for option in OPTIONS {
            let mut own = Own::default();
            option.set_text(option.name, option.example, &mut own).unwrap();
            assert_ne!(format!("{own:?}"), default, "{}", option.name);
            let row = option.row();
            assert!(docs.contains(&format!("    /// {row}\n")), "not documented: {row}");
        }
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (url, said) in [
            ("local://", "joins a cluster"),
            ("dask://a:1,b:1", "one scheduler"),
            ("dask://a:1?mixed=yes", "0 or 1"),
            ("dask://a:1?held_bytes=0", "`held_bytes` must be at least 1"),
            ("dask://a:1?held_bytes=1MiB&held_bytes=2MiB", "`held_bytes` is given twice"),
            ("dask://a:1?listen=", "`listen` wants a value of the form host:port"),
            ("dask://a:1?nonsense=1", "known are listen, name, held_bytes, mixed, tls_ca"),
            ("dask://a:1?heldbytes=1", "did you mean `held_bytes`?"),
            ("tls://a:1?tls_ca=/no/such/file", "/no/such/file"),
        ] {
            let error = Settings::parse(url).unwrap_err().to_string();
            assert!(error.contains(said), "{url}: {error}");
        }
    }
}
