//! Executes one task on the worker processes of this machine, for whoever asked.

use std::sync::Arc;
use std::time::Duration;

use dask_protocol::key::Key;

use super::super::outcome::{self, Raised};
use super::super::spec::{Needed, Spec};
use super::messages::streams;
use super::{Ended, Stay};
use crate::engine::dask::graph::Terms;
use crate::engine::dask::outflow::Opened;
use crate::engine::pools::DEFAULT;
use crate::error::Error;
use crate::sched::ledger::Report;
use crate::task::registry::Function;
use crate::trace::Origin;
use crate::value::args::Args;
use crate::value::scatter::Entry;

/// How long a timeout is kept back: its client says so itself, unless it cannot.
const BEHIND: Duration = Duration::from_millis(200);

impl Stay {
    /// What is asked for, done: by a function, if it calls one.
    pub(super) async fn execute(
        &self,
        key: &Key,
        spec: Spec,
        needed: Needed,
        scattered: Vec<Arc<Entry>>,
        by: Option<(&'static Function, usize)>,
    ) -> Ended {
        let by_us = spec.is_by_us();
        let raises = matches!(spec, Spec::Values { raises: true, .. });
        let wrong = |line: String| Raised::new("TypeError", &line, None);
        let here = |key: &Key| needed.get(key).map(|value| &**value);
        let (args, terms) = match spec {
            Spec::Payload { args, terms, .. } => (args.into_bytes(&needed).map_err(wrong)?, terms),
            Spec::Values { args, .. } => {
                let args = args.fill(here).map_err(|error| wrong(error.to_string()))?;
                (args, Terms::default())
            }
            Spec::Alias(key) => {
                let value = needed.get(&key).cloned();
                return Ok((value.ok_or_else(|| wrong("what it names is missing".into()))?, 0));
            }
            Spec::Value(value) => {
                let value = value.fill(here).map_err(|error| wrong(error.to_string()))?;
                return Ok((Arc::new(outcome::value(value)), 0));
            }
        };
        drop(needed);
        let nothing = || Raised::new("RuntimeError", "it calls nothing", None);
        let (function, lane) = by.ok_or_else(nothing)?;
        let opened = terms.topic.as_ref().filter(|_| function.streams).map(|topic| {
            let opened = self.outflows.begin();
            self.say(vec![streams(topic, key, &opened.name)]);
            opened
        });
        // What is shared has one key on the cluster already; an equal call of another
        // tenant has another.
        let shared = function.pure && opened.is_none();
        let pool = self.settings.lanes().nth(lane).map_or(DEFAULT, |(name, _)| name);
        let mut client = self.client.pool(pool);
        client = if shared { client.key(key) } else { client };
        client = terms.timeout.map_or(client.clone(), |timeout| client.timeout(timeout));
        client = terms.grace.map_or(client.clone(), |grace| client.grace(grace));
        let channel = opened.as_ref().map(Opened::channel);
        let args = Args::lent(args, scattered).streaming(channel);
        let origin = Origin::elsewhere(function.name, key, terms.context, terms.level);
        let task = client.submit_encoded(function, args, origin.clone());
        let progress = task.progress();
        let running = self.executions.begin(key, Box::new(move || progress.now()));
        let reply = task.encoded().await;
        drop(running);
        if let Some(opened) = &opened {
            opened.arrived().await;
        }
        if by_us && reply.as_ref().is_err_and(Error::is_timed_out) {
            tokio::time::sleep(BEHIND).await;
        }
        let said = origin.take_said();
        let reply = reply.map_err(|error| match by_us {
            true => Raised::for_rust(&error, &self.address, &said),
            false => Raised::for_python(&error),
        })?;
        let report = Report::from(reply.ran);
        let value = match by_us {
            true => outcome::reply(&reply.payload, &report, said),
            false => outcome::of_values(&reply.payload, raises)?,
        };
        Ok((Arc::new(value), report.worker))
    }
}
