//! What a scheduler says of its workers: who can run what, how many threads there are.

use std::collections::{BTreeMap, HashMap};

use dask_protocol::message::{ClusterIdentity, WorkerInfo};

use super::table::Offered;
use super::wanted::{Wanted, of_pool, pool_in};

/// What a scheduler knows of its workers.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Cluster {
    workers: Vec<WorkerInfo>,
    /// By the resources that are Rust functions, the places of the workers that offer them.
    functions: HashMap<String, Vec<usize>>,
    /// By the names of pools, the places of the workers that have them.
    pools: BTreeMap<String, Vec<usize>>,
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
        let (mut functions, mut pools) = (HashMap::new(), BTreeMap::new());
        for (place, worker) in workers.iter().enumerate() {
            for name in offered(worker) {
                functions.entry(name.to_owned()).or_insert_with(Vec::new).push(place);
            }
            for pool in amounts(worker).filter_map(pool_in) {
                pools.entry(pool.to_owned()).or_insert_with(Vec::new).push(place);
            }
        }
        Self { workers, functions, pools }
    }
}

/// Whether a worker takes tasks.
fn takes_tasks(worker: &WorkerInfo) -> bool {
    worker.status.as_deref().is_none_or(|status| status == "running")
}

/// The resources of which a worker has enough for a task.
fn amounts(worker: &WorkerInfo) -> impl Iterator<Item = &str> {
    // A program beside a worker that cannot be used any more leaves zeros.
    let there = worker.resources.iter().filter(|(_, amount)| *amount >= 1.0);
    there.map(|(name, _)| name.as_str())
}

/// The resources of a worker that are Rust functions.
fn offered(worker: &WorkerInfo) -> impl Iterator<Item = &str> {
    amounts(worker).filter(|name| OURS.iter().any(|ours| name.starts_with(ours)))
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

    /// Whether a worker has what a task of Rust wants.
    pub(super) fn offers(&self, wanted: &Wanted) -> bool {
        self.with(wanted).next().is_some()
    }

    /// All resources that are functions or pools.
    pub(super) fn resources(&self) -> impl Iterator<Item = String> {
        self.functions.keys().cloned().chain(self.pools.keys().map(|pool| of_pool(pool)))
    }

    /// The names of the pools that workers have.
    pub(super) fn pools(&self) -> impl Iterator<Item = &str> {
        self.pools.keys().map(String::as_str)
    }

    /// The workers that have what a task of Rust wants.
    fn with(&self, wanted: &Wanted) -> impl Iterator<Item = &WorkerInfo> {
        let places = wanted.offer().and_then(|offer| self.functions.get(&offer));
        let places = places.into_iter().flatten().copied();
        let pool = wanted.pool.as_deref();
        places.filter(move |place| self.has(*place, pool)).map(|place| &self.workers[place])
    }

    /// Whether a worker has a pool, if one is asked for.
    fn has(&self, place: usize, pool: Option<&str>) -> bool {
        let has = |pool| self.pools.get(pool).is_some_and(|all| all.binary_search(&place).is_ok());
        pool.is_none_or(has)
    }

    /// Who offers what a task wants.
    pub(super) fn offered(&self, wanted: &Wanted) -> Offered {
        if wanted.function.python {
            let mut python = self.python_with(wanted.pool.as_deref());
            return if python.any(takes_tasks) { Offered::Here } else { Offered::Nobody };
        }
        let mut offered = if self.workers.is_empty() { Offered::Empty } else { Offered::Nobody };
        for worker in self.with(wanted) {
            match worker.executing {
                _ if takes_tasks(worker) => return Offered::Here,
                0 if offered != Offered::Busy => offered = Offered::Paused,
                _ => offered = Offered::Busy,
            }
        }
        offered
    }

    /// The workers that run Python, and have a pool if one is asked for.
    pub(super) fn python_with(&self, pool: Option<&str>) -> impl Iterator<Item = &WorkerInfo> {
        let python = self.workers.iter().enumerate().filter(|(_, worker)| !is_native(worker));
        python.filter(move |(place, _)| self.has(*place, pool)).map(|(_, worker)| worker)
    }

    /// The native workers that have what a task wants, and take tasks.
    pub(super) fn native_with(&self, wanted: &Wanted) -> impl Iterator<Item = &WorkerInfo> {
        self.with(wanted).filter(|worker| is_native(worker) && takes_tasks(worker))
    }

    /// Whether there are programs beside Python workers.
    pub(super) fn has_plugins(&self) -> bool {
        self.functions.keys().any(|name| name.starts_with(PLUGINS))
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
    use crate::task::function::TaskFunction;
    use crate::task::registry::{Function, function};

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

    fn wanted(pool: Option<&str>) -> Wanted {
        fn known<F: TaskFunction<M>, M>(_: F) -> &'static Function {
            function::<F, M>().unwrap()
        }
        Wanted { function: known(|n: u64| n), build: None, pool: pool.map(Into::into) }
    }

    #[test]
    fn a_cluster_is_what_its_workers_offer() {
        let (fib, gpu) = (wanted(None).offer().unwrap(), wanted(Some("gpu")));
        let cluster = cluster([
            ("tcp://a:1", 2, &[&fib, "pool-cpu", NATIVE]),
            ("tcp://b:1", 2, &["GPU", "pool-gpu", "outboard:shim:1"]),
        ]);
        assert_eq!(cluster.threads(), 4);
        assert!(cluster.offers(&wanted(None)) && cluster.offers(&wanted(Some("cpu"))));
        assert!(!cluster.offers(&gpu), "who has the pool does not know the function");
        assert_eq!(cluster.offered(&gpu), Offered::Nobody);
        assert!(cluster.pools().eq(["cpu", "gpu"]) && !cluster.is_native());
        assert_eq!(cluster.python_workers(), ["tcp://b:1"]);
        let python = |pool| cluster.python_with(Some(pool)).count();
        assert_eq!((python("cpu"), python("gpu")), (0, 1));
        let mut resources: Vec<_> = cluster.resources().collect();
        resources.sort_unstable();
        assert_eq!(resources, [NATIVE, &*fib, "outboard:shim:1", "pool-cpu", "pool-gpu"]);
    }

    #[test]
    fn who_offers_something_takes_tasks_or_does_not() {
        let mut identity = ClusterIdentity::default();
        let gpu = wanted(Some("gpu"));
        assert_eq!(Cluster::from(identity.clone()).offered(&gpu), Offered::Empty);
        let names = [gpu.offer().unwrap(), "pool-gpu".to_owned()];
        let resources = names.map(|name| (name, 1e9)).into();
        identity.workers.push(WorkerInfo { resources, ..WorkerInfo::default() });
        let offered = |status: &str, executing| {
            let mut identity = identity.clone();
            identity.workers[0].status = Some(status.to_owned());
            identity.workers[0].executing = executing;
            let cluster = Cluster::from(identity);
            assert_eq!(cluster.offered(&wanted(Some("tpu"))), Offered::Nobody);
            cluster.offered(&gpu)
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
