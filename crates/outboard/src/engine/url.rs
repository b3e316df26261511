//! What a URL says of an engine: its scheme, its hosts, and options.

use percent_encoding::percent_decode_str;

use super::option::{EngineOption, find, unknown};
use super::pools;
use super::registry;
use super::settings::{OPTIONS, Settings};
use crate::error::{Error, Repr};

/// What precedes the options of a pool, and its name.
const POOL: &str = "pool.";

/// A URL of the form `scheme://hosts?name=value&name=value`.
#[derive(Clone, Debug)]
pub(crate) struct Url {
    text: String,
    scheme: String,
    hosts: String,
    /// The options that nobody has taken, decoded.
    options: Vec<(String, String)>,
    /// The names of options that were asked for.
    known: Vec<String>,
}

impl Url {
    /// Takes a URL apart.
    ///
    /// # Errors
    ///
    /// `InvalidUrl`, if it has no scheme, or if an option is not UTF-8.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
        let (hosts, query) = rest.split_once('?').unwrap_or((rest, ""));
        let mut url = Self { text: text.to_owned(), hosts: hosts.to_owned(), ..Self::bare(scheme) };
        if scheme.is_empty() {
            return Err(url.wrong(format!("names no engine; {}", registry::known())));
        }
        url.options = pairs(query).map_err(|reason| url.wrong(reason))?;
        Ok(url)
    }

    /// A URL that says nothing but the engine.
    pub(crate) fn bare(scheme: &str) -> Self {
        let (options, known) = (Vec::new(), Vec::new());
        let (text, scheme) = (format!("{scheme}://"), scheme.to_owned());
        Self { text, scheme, hosts: String::new(), options, known }
    }

    pub(crate) fn scheme(&self) -> &str {
        &self.scheme
    }

    #[cfg_attr(not(feature = "dask"), expect(dead_code, reason = "a cluster has hosts"))]
    pub(crate) fn hosts(&self) -> &str {
        &self.hosts
    }

    /// Sets the options of a table. `engine` is who asks; it heeds some of them.
    ///
    /// # Errors
    ///
    /// `InvalidUrl`, if one has a wrong value or is given twice.
    pub(crate) fn take<T>(
        &mut self,
        options: &[EngineOption<T>],
        engine: &str,
        target: &mut T,
    ) -> Result<(), Error> {
        self.take_below("", options, engine, target).map(drop)
    }

    /// Sets the options of a table whose names have a prefix here; gives those without it.
    ///
    /// # Errors
    ///
    /// As [`take`](Self::take).
    pub(crate) fn take_below<T>(
        &mut self,
        prefix: &str,
        options: &[EngineOption<T>],
        engine: &str,
        target: &mut T,
    ) -> Result<Vec<(String, String)>, Error> {
        let mut taken = Vec::new();
        let mut given = Vec::new();
        let mut left = Vec::new();
        for (written, value) in std::mem::take(&mut self.options) {
            let name = written.strip_prefix(prefix);
            let Some((name, option)) = name.and_then(|name| Some((name, find(options, name)?)))
            else {
                left.push((written, value));
                continue;
            };
            if taken.contains(&option.name) {
                return Err(self.wrong(format!("`{prefix}{}` is given twice", option.name)));
            }
            let set = option.set_text(&written, &value, target);
            set.map_err(|reason| self.wrong(reason))?;
            taken.push(option.name);
            given.push((name.to_owned(), value));
        }
        self.options = left;
        let heeded = options.iter().filter(|option| option.engines.contains(&engine));
        self.known.extend(heeded.map(|option| format!("{prefix}{}", option.name)));
        Ok(given)
    }

    /// The settings that all engines share, of the options that are left.
    ///
    /// # Errors
    ///
    /// `InvalidUrl`, if one of them has a wrong value, is given twice or is not known.
    pub(crate) fn settings(&mut self, engine: &str) -> Result<Settings, Error> {
        let mut settings = Settings::default();
        self.take(OPTIONS, engine, &mut settings)?;
        self.name_pool_of_python();
        for pool in self.pools()? {
            let mut own = pools::begin(&settings);
            let prefix = format!("{POOL}{pool}.");
            self.take_below(&prefix, OPTIONS, engine, &mut own)?;
            pools::add(&mut settings, &pool, own).map_err(|reason| self.wrong(reason))?;
        }
        match self.options.first() {
            Some((name, _)) => Err(self.wrong(unknown(name, &self.known))),
            None => Ok(settings),
        }
    }

    /// Of the options that are left, `python.NAME` is one of that pool.
    fn name_pool_of_python(&mut self) {
        for (name, _) in &mut self.options {
            if name.starts_with("python.") {
                *name = format!("{POOL}{name}");
            }
        }
    }

    /// The pools that options are about which are left.
    fn pools(&self) -> Result<Vec<String>, Error> {
        let below =
            self.options.iter().filter_map(|(name, _)| Some((name, name.strip_prefix(POOL)?)));
        let names = below.map(|(name, rest)| match rest.split_once('.') {
            Some((pool, _)) => Ok(pool.to_owned()),
            None => Err(self.wrong(format!(
                "`{name}` names no option of a pool; for example `{POOL}gpu.workers=2`"
            ))),
        });
        let mut pools = Vec::new();
        for name in names {
            let name = name?;
            if !pools.contains(&name) {
                pools.push(name);
            }
        }
        Ok(pools)
    }

    /// Refuses pools, where an engine has none.
    ///
    /// # Errors
    ///
    /// `InvalidUrl`, if there is one.
    #[cfg(feature = "dask")]
    pub(crate) fn refuse_pools(&self) -> Result<(), Error> {
        match self.pools()?.first() {
            None => Ok(()),
            Some(pool) => Err(self.wrong(format!(
                "the pools of a cluster are those of its workers: give the options of \
                 `{POOL}{pool}` to them, as `outboard worker --pool {pool}` does"
            ))),
        }
    }

    /// Refuses hosts, where an engine has none.
    ///
    /// # Errors
    ///
    /// `InvalidUrl`, if there is one.
    pub(crate) fn refuse_hosts(&self) -> Result<(), Error> {
        let (scheme, hosts) = (&self.scheme, &self.hosts);
        if hosts.contains('=') {
            return Err(self.wrong(format!("options follow a `?`: {scheme}://?{hosts}")));
        }
        if !hosts.is_empty() && hosts != "/" {
            return Err(self.wrong(format!("`{hosts}` is a host, and {scheme}:// has none")));
        }
        Ok(())
    }

    /// The error of this URL.
    pub(crate) fn wrong(&self, reason: String) -> Error {
        Error::new(Repr::InvalidUrl { url: self.text.clone(), reason })
    }
}

/// The names and values of `name=value&name=value`, percent-decoded. A `+` is a `+`, as
/// in paths.
///
/// # Errors
///
/// A line that names what is not UTF-8.
pub(crate) fn pairs(query: &str) -> Result<Vec<(String, String)>, String> {
    let decoded = |text: &str| match percent_decode_str(text).decode_utf8() {
        Ok(decoded) => Ok(decoded.into_owned()),
        Err(_) => Err(format!("`{text}` is not UTF-8 when it is decoded")),
    };
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let pairs = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
    pairs.map(|(name, value)| Ok((decoded(name)?, decoded(value)?))).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What is wrong with a URL of an engine.
    fn complaint(text: &str) -> String {
        let parsed = Url::parse(text).and_then(|mut url| {
            url.refuse_hosts()?;
            url.settings("local")
        });
        parsed.expect_err(text).to_string()
    }

    #[test]
    fn an_engine_without_hosts_refuses_them() {
        let error = Url::parse("inline://host").unwrap().refuse_hosts().unwrap_err();
        assert!(error.to_string().contains("`host` is a host"), "{error}");
        assert!(Url::parse("inline:///").unwrap().refuse_hosts().is_ok());
        let forgotten = complaint("local://workers=4");
        assert!(forgotten.ends_with("options follow a `?`: local://?workers=4"), "{forgotten}");
    }

    #[test]
    fn options_are_decoded_percent_by_percent() {
        let text = "a=%2Ftmp%2Fx%26y%3Dz&b+c=d+e&%77=100%&%zz&&f==g";
        let expected =
            [("a", "/tmp/x&y=z"), ("b+c", "d+e"), ("w", "100%"), ("%zz", ""), ("f", "=g")];
        assert_eq!(pairs(text).unwrap(), expected.map(|(n, v)| (n.to_owned(), v.to_owned())));
        assert_eq!(pairs("a=%ff").unwrap_err(), "`%ff` is not UTF-8 when it is decoded");
        let mut url = Url::parse("local://?%77orkers=%33").unwrap();
        assert_eq!(url.settings("local").unwrap().workers, 3.into());
    }

    #[test]
    fn an_option_given_twice_is_refused_by_its_name() {
        for (url, name) in [
            ("local://?workers=1&spares=0&workers=1", "workers"),
            ("local://?cpu_limit=9s&cpu_limit_s=9", "cpu_limit"),
            ("local://?max_wait_ms=9&max%5Fwait=9ms", "max_wait"),
        ] {
            let complaint = complaint(url);
            assert!(complaint.ends_with(&format!("`{name}` is given twice")), "{complaint}");
        }
    }

    #[test]
    fn an_option_below_a_prefix_is_one_of_its_own() {
        let mut url = Url::parse("local://?workers=1&sub.workers=2&sub.cpu_limit=1s").unwrap();
        let mut settings = Settings::default();
        let given = url.take_below("sub.", OPTIONS, "local", &mut settings).unwrap();
        assert_eq!(settings.workers, 2.into());
        let names: Vec<_> = given.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["workers", "cpu_limit"]);
        assert_eq!(url.settings("local").unwrap().workers, 1.into());
        let mut url = Url::parse("local://?sub.workers=2&sub.workers=2").unwrap();
        let twice = url.take_below("sub.", OPTIONS, "local", &mut settings).unwrap_err();
        assert!(twice.to_string().ends_with("`sub.workers` is given twice"), "{twice}");
    }

    #[test]
    fn an_unknown_option_names_what_is_meant() {
        let typo = complaint("local://?worker=4");
        assert!(typo.ends_with("no option is named `worker`; did you mean `workers`?"), "{typo}");
        let mut url = Url::parse("inline://?speed=9").unwrap();
        let unknown = url.settings("inline").unwrap_err().to_string();
        assert!(unknown.contains("no option is named `speed`; known are workers, "), "{unknown}");
        assert!(!unknown.contains("spares"), "threads have none: {unknown}");
    }

    #[test]
    fn an_unknown_scheme_says_which_there_are() {
        let error = registry::find(&Url::bare("redis")).err().expect("there is no such engine");
        let text = error.to_string();
        assert!(text.contains("no engine is named `redis`"), "{text}");
        assert!(text.contains("inline://"), "{text}");
        assert!(registry::find(&Url::bare("inline")).is_ok());
    }

    #[test]
    fn an_engine_is_there_or_says_what_would_bring_it() {
        let local = cfg!(all(feature = "local", unix));
        let dask = cfg!(feature = "dask");
        for (scheme, built, feature) in [
            ("local", local, "`local`"),
            ("dask", dask, "`dask`"),
            ("tcp", dask, "`dask`"),
            ("tls", dask, "`dask`"),
        ] {
            match registry::find(&Url::bare(scheme)) {
                Ok(entry) => assert!(built && entry.schemes.contains(&scheme), "{scheme}"),
                Err(error) => {
                    let says = format!("`{scheme}://` needs the feature {feature}");
                    assert!(!built && error.is_unavailable(), "{error}");
                    assert!(error.to_string().contains(&says), "{error}");
                }
            }
        }
    }

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,60}|[a-z]{0,6}://[a-z0-9:,/]{0,8}\\?[-a-z_=&%0-9.+]{0,60}") {
            if let Ok(mut url) = Url::parse(&text) {
                let _ = (url.refuse_hosts(), url.settings("local"));
            }
        }

        #[test]
        fn no_value_of_an_option_panics(
            at in 0..OPTIONS.len(),
            value in "[-+]?[0-9]{0,21}[.]?[0-9]{0,3}[a-zA-Z]{0,3}|.{0,20}",
        ) {
            let mut settings = Settings::default();
            let _ = OPTIONS[at].set_text(OPTIONS[at].name, &value, &mut settings);
        }
    }
}
