//! Call sites for events of other processes.
//!
//! Subscribers filter and format an event by the metadata of its call site, which lives for
//! ever: level, target, file, line, names of fields. A program has so many as it has places
//! that log, and so have its tasks. As this memory is never freed, what workers send can
//! only make so much of it.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{LazyLock, Mutex, OnceLock, PoisonError};

use tracing::callsite::{Callsite, Identifier, register};
use tracing::field::FieldSet;
use tracing::metadata::Kind;
use tracing::subscriber::Interest;
use tracing::{Dispatch, Metadata};

use super::echo::level;
use crate::task::outcome::Said;

/// How many there are at most, and how many bytes their texts have.
const MOST: usize = 1024;
const MOST_BYTES: usize = 1 << 20;

static SITES: LazyLock<Mutex<Sites>> = LazyLock::new(|| Mutex::new(Sites::new(MOST, MOST_BYTES)));

/// A place in another process that logs.
#[derive(Debug)]
pub(super) struct Site {
    metadata: OnceLock<Metadata<'static>>,
    /// What the subscribers of this process want of it.
    interest: AtomicU8,
}

const SOMETIMES: u8 = 0;
const NEVER: u8 = 1;
const ALWAYS: u8 = 2;

impl Site {
    /// That of an event with fields of these names. `None` if there are too many already.
    pub(super) fn of(said: &Said, names: &[&str]) -> Option<&'static Self> {
        let mut sites = SITES.lock().unwrap_or_else(PoisonError::into_inner);
        let (site, new) = sites.get(said, names)?;
        drop(sites);
        if new {
            // Not under the mutex: it asks the subscribers.
            register(site);
        }
        Some(site)
    }

    /// Whether a subscriber wants its events.
    pub(super) fn is_enabled(&'static self, subscriber: &Dispatch) -> bool {
        match self.interest.load(Relaxed) {
            NEVER => false,
            ALWAYS => true,
            _ => subscriber.enabled(Callsite::metadata(self)),
        }
    }

    /// Level, target and names of fields.
    pub(super) fn metadata(&'static self) -> &'static Metadata<'static> {
        self.metadata.get().expect("it is set before anyone has the site")
    }

    /// One that stays for ever.
    fn leak(said: &Said, names: &[&str]) -> &'static Self {
        let site: &'static Self = Box::leak(Box::new(Self {
            metadata: OnceLock::new(),
            interest: AtomicU8::new(SOMETIMES),
        }));
        let names: Vec<&'static str> = names.iter().map(|name| leaked(name)).collect();
        let name = match (&said.file, said.line) {
            (Some(file), Some(line)) => leaked(&format!("event {file}:{line}")),
            _ => "event",
        };
        let metadata = Metadata::new(
            name,
            leaked(&said.target),
            level(said.level),
            said.file.as_deref().map(leaked),
            said.line,
            None,
            FieldSet::new(names.leak(), Identifier(site)),
            Kind::EVENT,
        );
        site.metadata.set(metadata).expect("it was made here");
        site
    }
}

fn leaked(text: &str) -> &'static str {
    String::leak(text.to_owned())
}

impl Callsite for Site {
    fn set_interest(&self, interest: Interest) {
        let interest = match interest {
            interest if interest.is_never() => NEVER,
            interest if interest.is_always() => ALWAYS,
            _ => SOMETIMES,
        };
        self.interest.store(interest, Relaxed);
    }

    fn metadata(&self) -> &Metadata<'_> {
        self.metadata.get().expect("it is set before anyone has the site")
    }
}

/// All of them, by a hash of what their metadata has.
#[derive(Debug)]
struct Sites {
    known: HashMap<u64, Vec<&'static Site>>,
    hasher: RandomState,
    /// How many more there may be, and how many bytes of texts.
    left: usize,
    bytes_left: usize,
}

impl Sites {
    fn new(left: usize, bytes_left: usize) -> Self {
        Self { known: HashMap::new(), hasher: RandomState::new(), left, bytes_left }
    }

    /// That of an event, and whether it is new.
    fn get(&mut self, said: &Said, names: &[&str]) -> Option<(&'static Site, bool)> {
        let place = (level(said.level), &said.target, &said.file, said.line);
        let hash = self.hasher.hash_one((said.level, &said.target, &said.file, said.line, names));
        let known = self.known.entry(hash).or_default();
        let is_it = |site: &&&'static Site| {
            let metadata = site.metadata();
            let own = (
                *metadata.level(),
                &metadata.target().to_owned(),
                &metadata.file().map(str::to_owned),
                metadata.line(),
            );
            own == place
                && metadata.fields().iter().map(|field| field.name()).eq(names.iter().copied())
        };
        if let Some(site) = known.iter().find(is_it) {
            return Some((site, false));
        }
        let texts = [said.target.as_str(), said.file.as_deref().unwrap_or_default()];
        let bytes: usize = texts.iter().chain(names).map(|text| text.len()).sum();
        if self.left == 0 || bytes > self.bytes_left {
            return None;
        }
        self.left -= 1;
        self.bytes_left -= bytes;
        let site = Site::leak(said, names);
        known.push(site);
        Some((site, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn said(target: &str) -> Said {
        Said { level: 3, target: target.to_owned(), line: Some(7), ..Said::default() }
    }

    #[test]
    fn a_place_has_one_site_whatever_is_said_there() {
        let mut sites = Sites::new(10, 1_000);
        let (first, new) = sites.get(&said("a"), &["message", "n"]).unwrap();
        assert!(new);
        let metadata = first.metadata();
        assert_eq!((metadata.target(), *metadata.level()), ("a", tracing::Level::INFO));
        let again = Said { message: "other".to_owned(), ..said("a") };
        let (second, new) = sites.get(&again, &["message", "n"]).unwrap();
        assert!(!new && std::ptr::eq(first, second));
        for (said, names) in [
            (said("b"), &["message", "n"]),
            (said("a"), &["message", "m"]),
            (Said { line: Some(8), ..said("a") }, &["message", "n"]),
            (Said { level: 2, ..said("a") }, &["message", "n"]),
        ] {
            assert!(sites.get(&said, names).unwrap().1, "{said:?}");
        }
    }

    #[test]
    fn there_are_only_so_many_and_those_that_are_there_go_on() {
        let mut sites = Sites::new(2, 1_000);
        assert!(sites.get(&said("a"), &["n"]).is_some() && sites.get(&said("b"), &["n"]).is_some());
        assert!(sites.get(&said("c"), &["n"]).is_none());
        assert!(sites.get(&said("a"), &["n"]).is_some());
        let mut sites = Sites::new(100, 10);
        assert!(sites.get(&said("123456789"), &["n"]).is_some());
        assert!(sites.get(&said("x"), &["n"]).is_none());
    }
}
