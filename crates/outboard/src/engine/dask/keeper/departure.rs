//! Makes messages of what leaves for a scheduler: what is released, and the tasks
//! that start, sorted by where they may run.

use std::borrow::Cow;
use std::io;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

use dask_protocol::frames::Frames;
use dask_protocol::key::Key;
use dask_protocol::message::ClientToScheduler;

use super::Talk;
use super::ends::Ended;
use crate::engine::dask::cluster::{Cluster, WITHOUT_PLUGIN};
use crate::engine::dask::graph::{Graphs, is_known};
use crate::engine::dask::plugin;
use crate::engine::dask::table::{Batch, Start};
use crate::engine::dask::wanted::{Wanted, of_pool, version_in};
use crate::engine::pools::DEFAULT;
use crate::task::outcome::{Failure, OTHER_BUILD};
use crate::task::registry::Function;

impl Talk<'_> {
    pub(super) async fn messages(&self, mut batch: Batch) -> io::Result<Vec<Frames>> {
        let listens = self.listen(&mut batch.started);
        let (graphs, unknown) = self.sorted(batch.started).await?;
        let keeper = self.keeper;
        keeper.conclude(self.unknown(unknown).await?);
        let keys: Vec<_> = batch.released.into_iter().map(Key::from).collect();
        let some = !keys.is_empty();
        let release = || ClientToScheduler::ReleaseKeys { keys, client: keeper.client_name() };
        let mut release = some.then(release);
        let graphs = graphs.updates(|| keeper.shared.names.unique()).into_iter();
        let mut messages: Vec<_> =
            listens.map(|listens| ClientToScheduler::encode([listens])).into_iter().collect();
        for graph in graphs.map(ClientToScheduler::UpdateGraph) {
            // In one message: each is one more that the scheduler has to read.
            messages.push(ClientToScheduler::encode(release.take().into_iter().chain([graph])));
        }
        messages.extend(release.map(|release| ClientToScheduler::encode([release])));
        Ok(messages)
    }

    /// Names the topic of this client to tasks that stream. A scheduler has one for each client
    /// anyway, and forgets what was said there some time after that has left. The first of
    /// these tasks has this client listen.
    fn listen(&self, started: &mut [Start]) -> Option<ClientToScheduler> {
        let client = self.keeper.client_name();
        let streams = started.iter_mut().filter(|start| start.stream.is_some());
        let named = streams.map(|start| start.terms.topic = Some(client.clone())).count();
        let first = named > 0 && !self.listens.swap(true, Relaxed);
        first.then(|| ClientToScheduler::SubscribeTopic { topic: client.clone(), client })
    }

    /// How tasks end whose functions no worker knows.
    async fn unknown(&self, tasks: Vec<Start>) -> io::Result<Vec<(String, Ended)>> {
        let mut why = None;
        if let (false, Some(_), Some(build)) =
            (tasks.is_empty(), &self.keeper.plugin, self.build.get())
        {
            let asked = async { plugin::why_not(&mut *self.questions.lock().await, build).await };
            why = Some(self.keeper.in_time(asked).await?);
        }
        let cluster = self.keeper.shared.cluster(self.keeper.at);
        let failure = |start: &Start| match (lacks_pool(&start.wanted(None), &cluster), &why) {
            (Some(advice), _) => Failure::UnknownTask { advice: advice.into() },
            _ if start.function.python => Failure::UnknownTask { advice: OTHER_BUILD },
            (_, Some(why)) => Failure::Unavailable(why.clone()),
            _ if cluster.is_python() => Failure::UnknownTask { advice: WITHOUT_PLUGIN.into() },
            _ => Failure::UnknownTask { advice: offered_instead(start.function, &cluster) },
        };
        let ended = |start: Start| {
            let ended = Ended::failed(failure(&start));
            (start.key, ended)
        };
        Ok(tasks.into_iter().map(ended).collect())
    }

    /// Sorts tasks by where they may run, apart from those that no worker knows.
    async fn sorted(&self, started: Vec<Start>) -> io::Result<(Graphs, Vec<Start>)> {
        let keeper = self.keeper;
        let mut cluster = keeper.shared.cluster(keeper.at);
        let build = || self.build.get().copied();
        if started.iter().any(|start| !is_known(start, &cluster, build())) {
            // A worker may have come that we have not heard of.
            self.look().await?;
            cluster = keeper.shared.cluster(keeper.at);
        }
        let may_come = |start: &Start| self.may_come(start, &cluster);
        let (graphs, unknown) = Graphs::sort(started, &cluster, build(), may_come);
        let mut table = keeper.shared.table();
        graphs.keys().for_each(|(key, build)| table.placed(keeper.at, key, build));
        drop(table);
        Ok((graphs, unknown))
    }

    /// Whether a worker may come that can execute a task, which none can now. It is a native
    /// one, or one with a program of this build beside it.
    fn may_come(&self, start: &Start, cluster: &Cluster) -> Option<Option<&'static str>> {
        let build = self.build.get().copied();
        let shipped = build.filter(|_| self.keeper.plugin.is_some());
        if start.function.python {
            return self.is_patient().then_some(None);
        }
        let ever = self.keeper.ever.lock().unwrap_or_else(PoisonError::into_inner);
        let was_there = |way: &Option<&'static str>| {
            start.wanted(*way).resources().iter().all(|name| ever.contains(name))
        };
        let ways = std::iter::once(None).chain(build.map(Some));
        // What was sent before, or came when there is no worker, makes a cluster grow
        // that adapts to what waits.
        let empty = shipped.is_some() && cluster.workers().is_empty();
        let waits = start.again || empty || self.is_patient();
        ways.into_iter().find(was_there).or(waits.then_some(shipped))
    }
}

/// That no worker has the pool of a task, or that none of those knows its function. `None` if the
/// pool is not what is missing.
pub(super) fn lacks_pool(wanted: &Wanted, cluster: &Cluster) -> Option<String> {
    let pool = wanted.pool.as_deref()?;
    if cluster.pools().any(|name| name == pool) {
        let anywhere = Wanted { pool: None, ..wanted.clone() };
        let known = wanted.function.python || cluster.offers(&anywhere);
        return known
            .then(|| format!("the cluster's workers of the pool `{pool}` do not offer it"));
    }
    let others = cluster.pools().filter(|name| *name != DEFAULT);
    let pools: String = others.map(|name| format!(", `{name}`")).collect();
    let resource = of_pool(pool);
    Some(format!(
        "the cluster's workers have no pool `{pool}`, only `{DEFAULT}`{pools}: start one with \
         `outboard worker --pool {pool}`, or Dask's own with `--resources {resource}=1`"
    ))
}

/// What native workers offer of a function whose version none of them has.
fn offered_instead(function: &Function, cluster: &Cluster) -> Cow<'static, str> {
    let wanted = function.version;
    let resources: Vec<_> = cluster.resources().collect();
    let offered = resources.iter().filter_map(|resource| version_in(resource, function));
    let (same, others): (Vec<_>, Vec<_>) =
        offered.partition(|(version, _)| *version == wanted.to_string());
    if !same.is_empty() {
        return "the workers that offer it are of another release of Outboard".into();
    }
    let number = |(version, _): (&str, &str)| version.split('.').next()?.parse::<u32>().ok();
    let mut numbers: Vec<u32> = others.into_iter().filter_map(number).collect();
    numbers.sort_unstable();
    numbers.dedup();
    match &numbers[..] {
        [] => OTHER_BUILD,
        numbers if numbers.contains(&wanted.number) => format!(
            "the workers offer version {} with other types, of which one is nothing but bytes: \
             give the new function another `version`",
            wanted.number
        )
        .into(),
        numbers => {
            let numbers: Vec<_> = numbers.iter().map(u32::to_string).collect();
            let (wanted, numbers) = (wanted.number, numbers.join(", "));
            format!("version {wanted} is asked for, and the workers offer version {numbers}").into()
        }
    }
}
