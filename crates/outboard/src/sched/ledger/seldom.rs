//! What few tasks have, and the others pay no memory for.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Backoff, Key, Options};
use crate::sched::placement::affinity::Home;
use crate::sched::stamp::Stamp;

#[derive(Debug, Default)]
pub(super) struct Seldom {
    pub(super) key: Option<Arc<Key>>,
    /// The pool of workers that it is for, where its gate has workers of several.
    pub(super) pool: Option<Arc<str>>,
    /// How long it may go on after it was asked to stop, if that was said.
    pub(super) grace: Option<Duration>,
    /// How long it rests before each further attempt, if it does.
    pub(super) backoff: Option<Backoff>,
    /// Until when it rests, if it does now.
    pub(super) until: Option<Stamp>,
    /// It runs in no batch: one that it was in has failed, or it was asked for.
    pub(super) alone: bool,
    /// Where it would like to go.
    pub(super) home: Option<Home>,
}

impl Seldom {
    pub(super) fn of(key: Option<Arc<Key>>, options: &Options, now: Instant) -> Option<Box<Self>> {
        let Options { grace, backoff, alone, .. } = *options;
        let (home, pool) = (Home::of(options, now), options.pool.clone());
        let terms = grace.is_some() || backoff.is_some() || alone;
        let any = terms || key.is_some() || home.is_some() || pool.is_some();
        let seldom = Self { key, pool, grace, backoff, alone, home, ..Self::default() };
        any.then(|| Box::new(seldom))
    }
}
