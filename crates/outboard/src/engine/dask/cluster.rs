//! What a scheduler says of its workers: who can run what, how many threads there are.

use std::collections::HashSet;

use dask_protocol::message::{ClusterIdentity, WorkerInfo};

use super::table::Offered;

/// What a scheduler knows of its workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cluster {
    workers: Vec<WorkerInfo>,
    /// Those of all workers together that are Rust functions.
    resources: HashSet<String>,
    /// Of those, what workers have that take tasks, and that execute some.
    open: HashSet<String>,
    busy: HashSet<String>,
}

/// The most threads that a worker is believed to have.
const THREADS: u64 = 1 << 16;

/// What resources of Rust functions begin with; those of programs beside Python
/// workers go on with their build.
const OURS: [&str; 2] = ["outboard:", PLUGINS];
const PLUGINS: &str = "outboard@";

/// What to do about workers that run Python alone.
pub(super) const WITHOUT_PLUGIN: &str = "the cluster's workers run Python, and none has this build of this program beside it: \
     connect with `plugin=/path/of/the/program`, or start native workers on a cluster of their own";

/// What part of the workers' memory arguments of one client may take.
const ROOM_SHARE: u64 = 4;

/// What workers that run nothing else say of themselves.
pub(super) const NATIVE: &str = "outboard:native";

impl From<ClusterIdentity> for Cluster {
    fn from(identity: ClusterIdentity) -> Self {
        let mut workers = identity.workers;
        workers.iter_mut().for_each(|worker| worker.nthreads = worker.nthreads.min(THREADS));
        let of = |which: fn(&&WorkerInfo) -> bool| {
            workers.iter().filter(which).flat_map(offered).map(str::to_owned).collect()
        };
        let resources = of(|_| true);
        let (open, busy) = (of(|worker| takes_tasks(worker)), of(|worker| worker.executing > 0));
        Self { workers, resources, open, busy }
    }
}

/// Whether a worker takes tasks.
fn takes_tasks(worker: &WorkerInfo) -> bool {
    worker.status.as_deref().is_none_or(|status| status == "running")
}

/// The resources of a worker that are Rust functions.
fn offered(worker: &WorkerInfo) -> impl Iterator<Item = &str> {
    // A program beside a worker that cannot be used any more leaves zeros.
    let there = worker.resources.iter().filter(|(_, amount)| *amount > 0.0);
    let names = there.map(|(name, _)| name.as_str());
    names.filter(|name| OURS.iter().any(|ours| name.starts_with(ours)))
}

/// Whether a worker runs Rust functions, and no others.
fn is_native(worker: &WorkerInfo) -> bool {
    worker.resources.iter().any(|(name, _)| name == NATIVE)
}

impl Cluster {
    /// All workers.
    pub(super) fn workers(&self) -> &[WorkerInfo] {
        &self.workers
    }

    /// How many threads all workers have together.
    pub(super) fn threads(&self) -> usize {
        self.workers.iter().map(|worker| worker.nthreads as usize).sum()
    }

    /// Whether a worker has a resource.
    pub(super) fn offers(&self, resource: &str) -> bool {
        self.resources.contains(resource)
    }

    /// All that is offered.
    pub(super) fn resources(&self) -> impl Iterator<Item = &str> {
        self.resources.iter().map(String::as_str)
    }

    /// Who offers a resource.
    pub(super) fn offered(&self, resource: &str) -> Offered {
        match () {
            () if self.open.contains(resource) => Offered::Here,
            () if self.busy.contains(resource) => Offered::Busy,
            () if self.resources.contains(resource) => Offered::Paused,
            () if self.workers.is_empty() => Offered::Empty,
            () => Offered::Nobody,
        }
    }

    /// Who offers to execute functions of Python.
    pub(super) fn offered_python(&self) -> Offered {
        let mut python = self.workers.iter().filter(|worker| !is_native(worker));
        if python.any(takes_tasks) { Offered::Here } else { Offered::Nobody }
    }

    /// The native workers that have a resource, and take tasks.
    pub(super) fn native_with(&self, resource: &str) -> impl Iterator<Item = &WorkerInfo> {
        let native = self.workers.iter().filter(|worker| is_native(worker));
        let running = native.filter(|worker| takes_tasks(worker));
        running.filter(move |worker| offered(worker).any(|name| name == resource))
    }

    /// Whether there are programs beside Python workers.
    pub(super) fn has_plugins(&self) -> bool {
        self.resources.iter().any(|name| name.starts_with(PLUGINS))
    }

    /// Whether there are workers, and none of them runs Python.
    pub(super) fn is_native(&self) -> bool {
        !self.workers.is_empty() && self.workers.iter().all(is_native)
    }

    /// Whether the worker at that address runs Rust functions and no others.
    pub(super) fn is_native_at(&self, address: &str) -> bool {
        self.workers.iter().any(|worker| is_native(worker) && worker.address == address)
    }

    /// Whether the worker at that address runs Rust functions, alone or beside Python's.
    pub(super) fn is_ours_at(&self, address: &str) -> bool {
        let mut there = self.workers.iter().filter(|worker| worker.address == address);
        there.any(|worker| offered(worker).next().is_some())
    }

    /// Whether there are workers, and all of them run Python.
    pub(super) fn is_python(&self) -> bool {
        !self.workers.is_empty() && !self.workers.iter().any(is_native)
    }

    /// Whether there is a worker that runs Python.
    pub(super) fn has_python(&self) -> bool {
        !self.workers.iter().all(is_native)
    }

    /// The workers that run Python, where others are among them.
    pub(super) fn python_workers(&self) -> Vec<String> {
        if !self.workers.iter().any(is_native) {
            return Vec::new();
        }
        let python = self.workers.iter().filter(|worker| !is_native(worker));
        python.map(|worker| worker.address.clone()).collect()
    }

    /// How much memory the workers may use together, in bytes.
    pub(super) fn memory_limit(&self) -> u64 {
        self.workers.iter().fold(0, |sum: u64, worker| sum.saturating_add(worker.memory_limit))
    }

    /// What arguments of this client may take at the native workers, in bytes.
    pub(super) fn room(&self) -> usize {
        let native = self.workers.iter().filter(|worker| is_native(worker));
        let bytes = native.fold(0, |sum: u64, worker| sum.saturating_add(worker.memory_limit));
        usize::try_from(bytes / ROOM_SHARE).unwrap_or(usize::MAX)
    }

    /// The number of a worker, from 1; 0 of one that is not known.
    pub(super) fn number(&self, address: &str) -> usize {
        let place = self.workers.iter().position(|worker| worker.address == address);
        place.map_or(0, |place| place + 1)
    }

    /// The address of the one worker that there is.
    pub(super) fn only_worker(&self) -> Option<&str> {
        match &self.workers[..] {
            [one] => Some(&one.address),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster(workers: [(&str, u64, &[&str]); 2]) -> Cluster {
        let workers = workers.into_iter().map(|(address, number, resources)| WorkerInfo {
            address: address.into(),
            nthreads: number,
            memory_limit: number,
            resources: resources.iter().map(|name| ((*name).into(), 1e9)).collect(),
            ..WorkerInfo::default()
        });
        ClusterIdentity { workers: workers.collect() }.into()
    }

    #[test]
    fn a_cluster_is_what_its_workers_offer() {
        let cluster = cluster([
            ("tcp://a:1", 2, &["outboard:fib:1", NATIVE]),
            ("tcp://b:1", 2, &["GPU", "outboard:shim:1"]),
        ]);
        assert_eq!(cluster.threads(), 4);
        assert!(cluster.offers("outboard:fib:1") && cluster.offers("outboard:shim:1"));
        assert!(!cluster.offers("GPU") && !cluster.is_native());
        assert_eq!(cluster.python_workers(), ["tcp://b:1"]);
    }

    #[test]
    fn who_offers_something_takes_tasks_or_does_not() {
        let mut identity = ClusterIdentity::default();
        assert_eq!(Cluster::from(identity.clone()).offered("outboard:fib:1"), Offered::Empty);
        let resources = vec![("outboard:fib:1".to_owned(), 1e9)];
        identity.workers.push(WorkerInfo { resources, ..WorkerInfo::default() });
        let offered = |status: &str, executing| {
            let mut identity = identity.clone();
            identity.workers[0].status = Some(status.to_owned());
            identity.workers[0].executing = executing;
            let cluster = Cluster::from(identity);
            assert_eq!(cluster.offered("outboard:other:1"), Offered::Nobody);
            cluster.offered("outboard:fib:1")
        };
        assert_eq!(offered("running", 0), Offered::Here);
        assert_eq!(offered("paused", 1), Offered::Busy);
        assert_eq!(offered("closing_gracefully", 0), Offered::Paused);
    }

    #[test]
    fn what_cannot_be_is_not_believed_of_a_worker() {
        let cluster = cluster([("tcp://a:1", u64::MAX, &[]), ("tcp://b:1", u64::MAX, &[])]);
        assert_eq!(cluster.threads(), 2 << 16);
        assert_eq!(cluster.memory_limit(), u64::MAX);
    }
}
