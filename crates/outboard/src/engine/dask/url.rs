//! What a URL of a cluster says: schedulers, certificates, patience.

use std::sync::Arc;
use std::time::Duration;

use dask_protocol::address::{Address, Scheme};
use tokio_rustls::rustls::ClientConfig;

use super::plugin::Plugin;
use super::tls::{self, Files, Role};
use super::window::Window;
use crate::engine::option::{EngineOption, Form, Kind, Older};
use crate::engine::settings::{OPTIONS as LOCAL, Settings as LocalSettings};
use crate::engine::url::Url;
use crate::error::Error;

/// How long a scheduler may say nothing before it counts as lost.
const SILENCE: Duration = Duration::from_secs(30);

/// What precedes the options of the programs beside Python workers.
const PLUGIN: &str = "plugin.";

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
    /// Whether workers are reached from here.
    pub(crate) direct: bool,
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
        url.take(OPTIONS, "dask", &mut cluster)?;
        let of_programs = url.take_below(PLUGIN, LOCAL, "local", &mut LocalSettings::default())?;
        match (&mut cluster.plugin, &of_programs[..]) {
            (Some(plugin), given) => plugin.set_options(given),
            (None, []) => {}
            (None, [(name, _), ..]) => {
                return Err(url.wrong(format!("`{PLUGIN}{name}` needs `plugin` as well")));
            }
        }
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
        let addresses = hosts
            .split(',')
            .map(|host| Address::new(scheme, host).map_err(|error| error.to_string()));
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
                direct: true,
                plugin: None,
            })
        }))
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
    pub(super) fn files(&self, role: Role) -> Files {
        self.files.clone().or_from_env(role)
    }
}

const CLUSTER: &[&str] = &["dask"];

const FILE: Form = Form { wants: "a file", fits: |path| !path.is_empty() };

/// A path at the workers, or nothing.
const PROGRAM: Form =
    Form { wants: "an absolute path", fits: |path| path.is_empty() || path.starts_with('/') };

/// The options that only a cluster has.
pub(crate) const OPTIONS: &[EngineOption<Settings>] = &[
    EngineOption {
        name: "tls_ca",
        example: "/etc/app/ca.pem",
        kind: Kind::Text(FILE, |cluster, path| cluster.files.ca = Some(path.into())),
        engines: CLUSTER,
        says: "The certificate authority, in PEM; by default what Dask's own variables name.",
    },
    EngineOption {
        name: "tls_cert",
        example: "/etc/app/cert.pem",
        kind: Kind::Text(FILE, |cluster, path| cluster.files.cert = Some(path.into())),
        engines: CLUSTER,
        says: "The certificate; by default as for `tls_ca`.",
    },
    EngineOption {
        name: "tls_key",
        example: "/etc/app/key.pem",
        kind: Kind::Text(FILE, |cluster, path| cluster.files.key = Some(path.into())),
        engines: CLUSTER,
        says: "Its key; by default as for `tls_ca`.",
    },
    EngineOption {
        name: "silence",
        example: "1m",
        kind: Kind::Time(
            Duration::from_secs(1),
            Some(Older { name: "silence_ms", unit: Duration::from_millis(1) }),
            |cluster, silence| cluster.silence = silence,
        ),
        engines: CLUSTER,
        says: "How long a scheduler may be silent before it counts as lost; by default 30s.",
    },
    EngineOption {
        name: "window",
        example: "8",
        kind: Kind::Count(1..=usize::MAX as u64, |cluster, tasks| {
            cluster.window = Window::limited(tasks as usize);
        }),
        engines: CLUSTER,
        says: "How many tasks a scheduler is given at once; by default as the cluster keeps up.",
    },
    EngineOption {
        name: "direct",
        example: "0",
        kind: Kind::Flag(|cluster, direct| cluster.direct = direct),
        engines: CLUSTER,
        says: "Whether data goes straight to and from workers that can be reached from here; if 0, \
               all goes through the scheduler; by default 1.",
    },
    EngineOption {
        name: "plugin",
        example: "/opt/app/program",
        kind: Kind::Text(PROGRAM, |cluster, path| cluster.plugin = Some(Plugin::new(path))),
        engines: CLUSTER,
        says: "This program's path on the machines of Python workers, beside which it is kept; \
               if empty, what `OUTBOARD_PLUGIN` of a worker says.",
    },
];

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::option::rows_of_connect;

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

    fn of(url: &str) -> Result<Settings, Error> {
        Settings::of(&mut Url::parse(url)?)
    }

    fn complaint(url: &str) -> String {
        of(url).expect_err(url).to_string()
    }

    #[test]
    fn tls_needs_certificates() {
        let settings = of("tls://a:1?tls_ca=%2Fno/such%20file&speed=1").unwrap();
        assert!(settings.tls().unwrap_err().contains("/no/such file"));
        assert!(complaint("tls://a:1?tls_ca=").contains("`tls_ca` wants a file"));
    }

    #[test]
    fn a_cluster_has_options_of_its_own() {
        let settings = of("dask://a:1?silence=2s&window=8&plugin=").unwrap();
        assert_eq!(settings.silence, Duration::from_secs(2));
        assert_eq!(settings.plugin, Some(Plugin::default()));
        assert_eq!(of("dask://a:1?silence_ms=2000").unwrap().silence, settings.silence);
        for (option, says) in [
            ("silence=5ms", "`silence` must be at least 1s, not 5ms"),
            ("silence_ms=5", "`silence_ms` must be at least 1s, not 5ms"),
            ("silence=1s&silence_ms=1000", "`silence` is given twice"),
            ("window=0", "`window` must be at least 1, not 0"),
            ("plugin=relative", "`plugin` wants an absolute path, not `relative`"),
            ("plugin.spares=0", "`plugin.spares` needs `plugin` as well"),
            ("plugin=/p&plugin.spares=x", "`plugin.spares` wants a whole number, not `x`"),
            ("plugin.spares=0&plugin=/p&plugin.spares=0", "`plugin.spares` is given twice"),
        ] {
            let complaint = complaint(&format!("dask://a:1?{option}"));
            assert!(complaint.contains(says), "{complaint}");
        }
        let mut url = Url::parse("dask://a:1?plugin=/p&plugin.spare=0").unwrap();
        Settings::of(&mut url).unwrap();
        let unknown = url.settings("dask").unwrap_err().to_string();
        assert!(unknown.ends_with("did you mean `plugin.spares`?"), "{unknown}");
    }

    #[test]
    fn the_documentation_is_the_table() {
        let rows: Vec<_> = OPTIONS.iter().map(EngineOption::row_of_connect).collect();
        let documented = rows_of_connect().into_iter().skip(LOCAL.len());
        assert_eq!(documented.collect::<Vec<_>>().join("\n"), rows.join("\n"));
    }

    #[test]
    fn each_example_is_one() {
        let sets = [
            ("tls_ca", r#"ca: Some("/etc/app/ca.pem")"#),
            ("tls_cert", r#"cert: Some("/etc/app/cert.pem")"#),
            ("tls_key", r#"key: Some("/etc/app/key.pem")"#),
            ("silence", "silence: 60s"),
            ("window", "limit: 8"),
            ("direct", "direct: false"),
            ("plugin", r#"program: "/opt/app/program""#),
        ];
        assert_eq!(OPTIONS.iter().map(|it| it.name).collect::<Vec<_>>(), sets.map(|it| it.0));
        for (option, (name, sets)) in OPTIONS.iter().zip(sets) {
            let settings = of(&format!("dask://a:1?{name}={}", option.example)).unwrap();
            assert!(format!("{settings:?}").contains(sets), "{settings:?}");
        }
    }
}
