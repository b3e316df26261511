//! What a scheduler says of itself and its workers: its version, who can run
//! what, how many threads there are.

use std::collections::HashSet;

use rmpv::Value;

use dask_protocol::document::{field, text};

/// The oldest release of `distributed` whose messages are those of `graph`.
const OLDEST: [u32; 3] = [2025, 4, 0];

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

impl Cluster {
    /// Reads what `identity` answered.
    pub(crate) fn read(identity: &Value) -> Option<Self> {
        let workers = field(identity, "workers")?.as_map()?;
        let mut cluster = Self::default();
        for (address, entry) in workers {
            let Some(read) = worker(address.as_str(), entry) else { continue };
            cluster.threads += read.threads;
            cluster.resources.extend(read.offered.iter().cloned());
            cluster.workers.push(read);
        }
        Some(cluster)
    }

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
    pub(crate) fn is_native_at(&self, address: &Value) -> bool {
        self.workers.iter().any(|it| it.native && Some(it.address.as_str()) == address.as_str())
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

fn offered(entry: &Value) -> HashSet<String> {
    let resources = field(entry, "resources").and_then(Value::as_map);
    // A program beside a worker that cannot be used any more leaves zeros.
    let offered = resources.into_iter().flatten();
    let offered = offered.filter(|(_, amount)| amount.as_f64() > Some(0.0));
    let names = offered.filter_map(|(name, _)| name.as_str());
    names.filter(|name| OURS.iter().any(|ours| name.starts_with(ours))).map(str::to_owned).collect()
}

fn worker(address: Option<&str>, entry: &Value) -> Option<WorkerEntry> {
    let number = |value: Option<&Value>| value.and_then(Value::as_u64);
    let metrics = field(entry, "metrics");
    let metric = |name| metrics.and_then(|metrics| field(metrics, name));
    let executing = metric("task_counts").and_then(|counts| field(counts, "executing"));
    let resources = field(entry, "resources").and_then(Value::as_map);
    let native = |name: &Value| name.as_str() == Some(NATIVE);
    Some(WorkerEntry {
        address: address?.to_owned(),
        threads: number(field(entry, "nthreads"))?.min(THREADS) as usize,
        native: resources.is_some_and(|all| all.iter().any(|(name, _)| native(name))),
        running: text(entry, "status").is_none_or(|status| status == "running"),
        offered: offered(entry),
        pid: number(field(entry, "pid")).and_then(|pid| u32::try_from(pid).ok()).unwrap_or(0),
        memory_bytes: number(metric("memory")),
        memory_limit: number(field(entry, "memory_limit")).unwrap_or(0),
        busy: number(executing).is_some_and(|executing| executing > 0),
    })
}

/// Whether a scheduler that answers `versions` so is one that we know how to
/// speak to.
///
/// # Errors
///
/// A line that says why not.
pub(crate) fn check_version(versions: &Value) -> Result<String, String> {
    let release = field(versions, "packages").and_then(|packages| text(packages, "distributed"));
    let release = release.ok_or("it does not say which release of distributed it runs")?;
    let mut parts = release.split('.').map(|part| part.parse::<u32>().ok());
    let numbers = [0; 3].map(|_| parts.next().flatten());
    let [Some(year), Some(month), patch] = numbers else {
        return Err(format!("it runs distributed {release}, which is no release that is known"));
    };
    if [year, month, patch.unwrap_or(0)] < OLDEST {
        let [year, month, patch] = OLDEST;
        return Err(format!(
            "it runs distributed {release}, and {year}.{month}.{patch} is the oldest that is \
             supported"
        ));
    }
    Ok(release.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dask_protocol::document::map;

    fn entry(resources: &[&str]) -> Value {
        let resources = resources.iter().map(|name| ((*name).into(), 1e9.into())).collect();
        map([("nthreads", 2.into()), ("resources", Value::Map(resources))])
    }

    #[test]
    fn a_cluster_is_what_its_workers_offer() {
        let workers = map([
            ("tcp://a:1", entry(&["outboard:fib:1", NATIVE])),
            ("tcp://b:1", entry(&["GPU", "outboard:shim:1"])),
        ]);
        let cluster = Cluster::read(&map([("workers", workers)])).expect("an identity");
        assert_eq!(cluster.threads, 4);
        assert!(cluster.offers("outboard:fib:1") && cluster.offers("outboard:shim:1"));
        assert!(!cluster.offers("GPU") && !cluster.is_native());
        assert_eq!(cluster.python_workers(), ["tcp://b:1"]);
    }

    #[test]
    fn what_cannot_be_is_not_believed_of_a_worker() {
        let worker = || map([("nthreads", u64::MAX.into()), ("memory_limit", u64::MAX.into())]);
        let workers = map([("tcp://a:1", worker()), ("tcp://b:1", worker())]);
        let cluster = Cluster::read(&map([("workers", workers)])).expect("an identity");
        assert_eq!(cluster.threads, 2 << 16);
        assert_eq!(cluster.memory_limit(), u64::MAX);
    }

    #[test]
    fn releases_before_the_oldest_are_refused() {
        let said = |release: &str| {
            check_version(&map([("packages", map([("distributed", release.into())]))]))
        };
        for fine in ["2025.4.0", "2025.4.1", "2025.12.0", "2026.8.0", "2026.9.0+3.gabc", "2027.1"] {
            assert!(said(fine).is_ok(), "{fine}");
        }
        for refused in ["2025.3.1", "2024.12.0", "1.2", "main"] {
            assert!(said(refused).unwrap_err().contains(refused));
        }
        assert!(check_version(&Value::Nil).is_err());
    }
}
