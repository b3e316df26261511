//! Makes messages of what leaves for a scheduler: what is released, and the tasks
//! that start, sorted by where they may run.

use std::collections::HashMap;
use std::io;

use rmpv::Value;

use super::cluster::WITHOUT_PLUGIN;
use super::fetch::Outcome;
use super::graph::{GraphTask, Restrictions, update_graph};
use super::keeper::Talk;
use super::load::{anyone, graph_task, parts, restrictions};
use super::message::{Message, map};
use super::plugin;
use super::table::{Batch, Start};
use crate::error::Error;
use crate::task::outcome::Failure;
use crate::task::registry::{Function, unknown};

impl Talk<'_> {
    pub(super) async fn messages(&self, batch: Batch) -> io::Result<Vec<Message>> {
        let (known, unknown) = self.known(batch.started).await?;
        let keeper = self.keeper;
        keeper.conclude(self.unknown(unknown).await?);
        let mut messages = Vec::new();
        let mut release = None;
        if !batch.released.is_empty() {
            let keys = batch.released.into_iter().map(Value::from).collect();
            release = Some(map([
                ("op", "client-releases-keys".into()),
                ("keys", Value::Array(keys)),
                ("client", keeper.client_name().into()),
            ]));
        }
        for (restrictions, tasks) in known {
            for part in parts(tasks) {
                let mut message = Message::new(Value::Nil);
                let unique = keeper.shared.names.unique();
                let graph = update_graph(&mut message, &part, &restrictions, &unique);
                // In one message: each is one more that the scheduler has to read.
                message.value = Value::Array(release.take().into_iter().chain([graph]).collect());
                messages.push(message);
            }
        }
        messages.extend(release.map(|release| Message::new(Value::Array(vec![release]))));
        Ok(messages)
    }

    /// How tasks end whose functions no worker knows.
    async fn unknown(&self, tasks: Vec<Start>) -> io::Result<Vec<(String, Outcome)>> {
        let mut why = None;
        if let (false, Some(_), Some(build)) =
            (tasks.is_empty(), &self.keeper.plugin, self.build.get())
        {
            let asked = async { plugin::why_not(&mut *self.questions.lock().await, build).await };
            why = Some(self.keeper.in_time(asked).await?);
        }
        let cluster = self.keeper.shared.cluster(self.keeper.at);
        let outcome = |function: &Function| match &why {
            _ if function.python => Outcome::Failed(Failure::UnknownTask, 0),
            Some(why) => Outcome::Error(Error::unavailable(why.clone())),
            None if cluster.is_python() => Outcome::Error(unknown(function.name, WITHOUT_PLUGIN)),
            None => Outcome::Failed(Failure::UnknownTask, 0),
        };
        Ok(tasks.into_iter().map(|start| (start.key, outcome(start.function))).collect())
    }

    /// Sorts tasks by where they may run, apart from those that no worker knows.
    async fn known(
        &self,
        started: Vec<Start>,
    ) -> io::Result<(Vec<(Restrictions, Vec<GraphTask>)>, Vec<Start>)> {
        let keeper = self.keeper;
        let mut cluster = keeper.shared.cluster(keeper.at);
        let patient = self.is_patient();
        let build = || self.build.get().copied();
        if started.iter().any(|start| restrictions(start, &cluster, build()).is_none()) {
            // A worker may have come that we have not heard of.
            self.look().await?;
            cluster = keeper.shared.cluster(keeper.at);
        }
        let mut known: Vec<(Restrictions, Vec<GraphTask>)> = Vec::new();
        let mut places = HashMap::new();
        let mut unknown = Vec::new();
        for start in started {
            let found = restrictions(&start, &cluster, build());
            let anyone = || anyone(&start, build().filter(|_| keeper.plugin.is_some()));
            let Some(restrictions) = found.or_else(|| patient.then(anyone)) else {
                unknown.push(start);
                continue;
            };
            let next = known.len();
            // One whose values are lost takes along all that are in its graph.
            let values: Vec<u64> = start.values.iter().map(|value| value.id).collect();
            let place = *places.entry((restrictions.clone(), values)).or_insert(next);
            if place == next {
                known.push((restrictions, Vec::new()));
            }
            let (restrictions, tasks) = &mut known[place];
            tasks.push(graph_task(start, restrictions));
        }
        let mut table = keeper.shared.table();
        for (restrictions, tasks) in &known {
            let build = restrictions.plugin;
            tasks.iter().for_each(|task| table.placed(keeper.at, &task.key, build));
        }
        drop(table);
        Ok((known, unknown))
    }
}
