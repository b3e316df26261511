//! What a scheduler says of its workers: who can run what, how many threads there are.

use std::collections::HashSet;

use dask_protocol::message::{ClusterIdentity, WorkerInfo};

/// What a scheduler knows of its workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Cluster {
    pub(crate) threads: usize,
    pub(crate) workers: Vec<WorkerEntry>,
    /// Of all workers together.
    resources: HashSet<String>,
}

/// One worker of a cluster.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct WorkerEntry {
    pub(crate) address: String,
    pub(crate) threads: usize,
    /// It runs Rust functions, and no others.
    pub(crate) native: bool,
    /// It takes tasks.
    pub(crate) running: bool,
    /// Its resources that are Rust functions.
    offered: HashSet<String>,
    pub(crate) pid: u32,
    pub(crate) memory_bytes: Option<u64>,
    /// How much it may use; 0 where it does not say.
    pub(crate) memory_limit: u64,
    pub(crate) busy: bool,
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
pub(crate) const NATIVE: &str = "outboard:native";

impl From<ClusterIdentity> for Cluster {
    fn from(identity: ClusterIdentity) -> Self {
        let mut cluster = Self::default();
        for worker in identity.workers.into_iter().map(WorkerEntry::from) {
            cluster.threads += worker.threads;
            cluster.resources.extend(worker.offered.iter().cloned());
            cluster.workers.push(worker);
        }
        cluster
    }
}

impl From<WorkerInfo> for WorkerEntry {
    fn from(worker: WorkerInfo) -> Self {
        // A program beside a worker that cannot be used any more leaves zeros.
        let offers = |name: &str, amount: f64| {
            amount > 0.0 && OURS.iter().any(|ours| name.starts_with(ours))
        };
        let native = worker.resources.iter().any(|(name, _)| name == NATIVE);
        let offered = worker.resources.into_iter();
        let offered = offered.filter(|(name, amount)| offers(name, *amount));
        Self {
            address: worker.address,
            threads: worker.nthreads.min(THREADS) as usize,
            native,
            running: worker.status.is_none_or(|status| status == "running"),
            offered: offered.map(|(name, _)| name).collect(),
            pid: worker.pid.unwrap_or(0),
            memory_bytes: worker.memory,
            memory_limit: worker.memory_limit,
            busy: worker.executing > 0,
        }
    }
}

impl Cluster {
    /// Whether a worker has a resource.
    pub(crate) fn offers(&self, resource: &str) -> bool {
        self.resources.contains(resource)
    }

    /// The native workers that have a resource.
    pub(crate) fn native_with(&self, resource: &str) -> impl Iterator<Item = &WorkerEntry> {
        self.workers.iter().filter(move |it| it.native && it.offered.contains(resource))
    }

    /// Whether there are programs beside Python workers.
    pub(crate) fn has_plugins(&self) -> bool {
        self.resources.iter().any(|name| name.starts_with(PLUGINS))
    }

    /// Whether there are workers, and none of them runs Python.
    pub(crate) fn is_native(&self) -> bool {
        !self.workers.is_empty() && self.workers.iter().all(|worker| worker.native)
    }

    /// Whether the worker at that address runs Rust functions and no others.
    pub(crate) fn is_native_at(&self, address: &str) -> bool {
        self.workers.iter().any(|it| it.native && it.address == address)
    }

    /// Whether there are workers, and all of them run Python.
    pub(crate) fn is_python(&self) -> bool {
        !self.workers.is_empty() && self.workers.iter().all(|worker| !worker.native)
    }

    /// The workers that run Python, where others are among them.
    pub(crate) fn python_workers(&self) -> Vec<String> {
        if self.workers.iter().all(|worker| !worker.native) {
            return Vec::new();
        }
        let python = self.workers.iter().filter(|worker| !worker.native);
        python.map(|worker| worker.address.clone()).collect()
    }

    /// How much memory the workers may use together, in bytes.
    pub(crate) fn memory_limit(&self) -> u64 {
        self.workers.iter().fold(0, |sum: u64, worker| sum.saturating_add(worker.memory_limit))
    }

    /// What arguments of this client may take at the native workers, in bytes.
    pub(crate) fn room(&self) -> usize {
        let native = self.workers.iter().filter(|worker| worker.native);
        let bytes = native.fold(0, |sum: u64, worker| sum.saturating_add(worker.memory_limit));
        usize::try_from(bytes / ROOM_SHARE).unwrap_or(usize::MAX)
    }

    /// The number of a worker, from 1; 0 of one that is not known.
    pub(crate) fn number(&self, address: &str) -> usize {
        let place = self.workers.iter().position(|worker| worker.address == address);
        place.map_or(0, |place| place + 1)
    }

    /// The address of the one worker that there is.
    pub(crate) fn only_worker(&self) -> Option<&str> {
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
        assert_eq!(cluster.threads, 4);
        assert!(cluster.offers("outboard:fib:1") && cluster.offers("outboard:shim:1"));
        assert!(!cluster.offers("GPU") && !cluster.is_native());
        assert_eq!(cluster.python_workers(), ["tcp://b:1"]);
    }

    #[test]
    fn what_cannot_be_is_not_believed_of_a_worker() {
        let cluster = cluster([("tcp://a:1", u64::MAX, &[]), ("tcp://b:1", u64::MAX, &[])]);
        assert_eq!(cluster.threads, 2 << 16);
        assert_eq!(cluster.memory_limit(), u64::MAX);
    }
}
