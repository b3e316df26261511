//! What a URL says of an engine: its scheme, its hosts, and options.

use super::registry;
use super::settings::Settings;
use crate::error::{Error, Repr};

/// A URL of the form `scheme://hosts?name=value&name=value`.
#[derive(Clone, Debug)]
pub(crate) struct Url {
    text: String,
    scheme: String,
    hosts: String,
    /// The options that nobody has taken.
    options: Vec<(String, String)>,
}

impl Url {
    /// Takes a URL apart.
    ///
    /// # Errors
    ///
    /// `InvalidUrl`, if it has no scheme.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        let Some((scheme, rest)) = text.split_once("://") else {
            let reason = format!("has no engine; {}", registry::known());
            return Err(Error::new(Repr::InvalidUrl { url: text.to_owned(), reason }));
        };
        let (hosts, query) = rest.split_once('?').unwrap_or((rest, ""));
        let pairs = query.split('&').filter(|pair| !pair.is_empty());
        let options = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, "")));
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let (scheme, hosts) = (scheme.to_owned(), hosts.to_owned());
        Ok(Self { text: text.to_owned(), scheme, hosts, options: options.collect() })
    }

    /// A URL that says nothing but the engine.
    pub(crate) fn bare(scheme: &str) -> Self {
        let (text, scheme) = (format!("{scheme}://"), scheme.to_owned());
        Self { text, scheme, hosts: String::new(), options: Vec::new() }
    }

    pub(crate) fn scheme(&self) -> &str {
        &self.scheme
    }

    #[cfg_attr(
        not(feature = "dask"),
        expect(dead_code, reason = "a cluster has hosts, and options of its own")
    )]
    pub(crate) fn hosts(&self) -> &str {
        &self.hosts
    }

    /// Has each option taken by what knows it: `take` says whether it does.
    ///
    /// # Errors
    ///
    /// `InvalidUrl`, with what `take` says is wrong.
    #[cfg_attr(
        not(feature = "dask"),
        expect(dead_code, reason = "a cluster has hosts, and options of its own")
    )]
    pub(crate) fn take(
        &mut self,
        mut take: impl FnMut(&str, &str) -> Result<bool, String>,
    ) -> Result<(), Error> {
        let mut left = Vec::new();
        for (name, value) in std::mem::take(&mut self.options) {
            if !take(&name, &value).map_err(|reason| self.wrong(reason))? {
                left.push((name, value));
            }
        }
        self.options = left;
        Ok(())
    }

    /// The settings that all engines share, of the options that are left.
    ///
    /// # Errors
    ///
    /// `InvalidUrl`, if one of them has a wrong value or is not known.
    pub(crate) fn settings(&self) -> Result<Settings, Error> {
        let mut settings = Settings::default();
        for (name, value) in &self.options {
            settings.set(name, value).map_err(|reason| self.wrong(reason))?;
        }
        Ok(settings)
    }

    /// Refuses hosts, where an engine has none.
    ///
    /// # Errors
    ///
    /// `InvalidUrl`, if there is one.
    pub(crate) fn refuse_hosts(&self) -> Result<(), Error> {
        let (scheme, hosts) = (&self.scheme, &self.hosts);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_engine_without_hosts_refuses_them() {
        let error = Url::parse("inline://host").unwrap().refuse_hosts().unwrap_err();
        assert!(error.to_string().contains("`host` is a host"), "{error}");
        assert!(Url::parse("inline:///").unwrap().refuse_hosts().is_ok());
    }

    #[test]
    fn an_unknown_scheme_says_which_there_are() {
        let error = registry::find(&Url::bare("redis")).err().expect("there is no such engine");
        let text = error.to_string();
        assert!(text.contains("no engine is named `redis`"), "{text}");
        assert!(text.contains("inline://"), "{text}");
        assert!(registry::find(&Url::bare("inline")).is_ok());
    }

    #[cfg(not(feature = "dask"))]
    #[test]
    fn an_absent_engine_says_what_would_bring_it() {
        let error = registry::find(&Url::bare("dask")).err().expect("it is not built");
        assert!(error.is_unavailable(), "{error}");
        assert!(error.to_string().contains("needs the feature `dask`"), "{error}");
    }
}
