//! What schedulers and workers say of themselves.

use std::fmt;

use rmpv::Value;

use super::fields::Fields;
use crate::document::{map, text};
use crate::malformed::Malformed;

/// The oldest release of `distributed` that has these messages.
const OLDEST: [u32; 3] = [2025, 4, 0];

/// Which releases of which packages a scheduler or worker has: passed on as they are.
///
/// # Examples
///
/// ```
/// use dask_protocol::message::Packages;
///
/// assert_eq!(Packages::of_release("2026.8.0").supported()?, "2026.8.0");
/// assert!(Packages::of_release("2024.12.0").supported().is_err());
/// # Ok::<(), dask_protocol::message::Unsupported>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Packages(Value);

impl Packages {
    /// Those of somebody who has nothing but that release of `distributed`.
    pub fn of_release(release: &str) -> Self {
        Self(map([("distributed", release.into())]))
    }

    /// The release of `distributed`, if its messages are those of this crate.
    ///
    /// # Errors
    ///
    /// If they are not, or it is not known which it is.
    pub fn supported(&self) -> Result<&str, Unsupported> {
        let release = text(&self.0, "distributed").ok_or(Unsupported(None))?;
        match numbers(release) {
            Some(numbers) if numbers >= OLDEST => Ok(release),
            _ => Err(Unsupported(Some(release.to_owned()))),
        }
    }

    pub(crate) fn of(value: Option<Value>) -> Self {
        Self(value.unwrap_or(Value::Nil))
    }

    pub(crate) fn into_value(self) -> Value {
        self.0
    }
}

/// Year, month and patch of a release.
fn numbers(release: &str) -> Option<[u32; 3]> {
    let mut parts = release.split('.').map(|part| part.parse().ok());
    let [year, month, patch] = [(); 3].map(|()| parts.next().flatten());
    Some([year?, month?, patch.unwrap_or(0)])
}

/// Why it is not known how to speak to a peer: the release that it runs, if it says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported(Option<String>);

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [year, month, patch] = OLDEST;
        match &self.0 {
            None => f.write_str("it does not say which release of distributed it runs"),
            Some(release) if numbers(release).is_none() => {
                write!(f, "it runs distributed {release}, which is no release that is known")
            }
            Some(release) => write!(
                f,
                "it runs distributed {release}, and {year}.{month}.{patch} is the oldest that is \
                 supported"
            ),
        }
    }
}

impl std::error::Error for Unsupported {}

/// What a scheduler says of itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClusterIdentity {
    /// Its workers.
    pub workers: Vec<WorkerInfo>,
}

/// What a scheduler says of a worker.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct WorkerInfo {
    /// Where it listens.
    pub address: String,
    /// How many tasks it computes at once.
    pub nthreads: u64,
    /// `running`, `paused` and so on.
    pub status: Option<String>,
    /// What it has, and how much of it.
    pub resources: Vec<(String, f64)>,
    /// How many bytes it may hold; 0 if it does not say.
    pub memory_limit: u64,
    /// How many bytes of memory it takes, if it says.
    pub memory: Option<u64>,
    /// The number of its process, if it is one that says so in its `extra`.
    pub pid: Option<u32>,
    /// How many tasks it executes.
    pub executing: u64,
}

impl ClusterIdentity {
    pub(crate) fn read(mut fields: Fields<'_>) -> Result<Self, Malformed> {
        if !fields.has("workers") {
            return Err(fields.wrong("workers", "is missing"));
        }
        let workers = fields.each("workers", |address, mut fields| {
            // What is only shown is not worth losing the others for.
            let figure = |fields: &mut Fields<'_>, name| fields.count(name).ok().flatten();
            let mut metrics = fields.nested("metrics")?;
            let memory = figure(&mut metrics, "memory");
            let executing = figure(&mut metrics.nested("task_counts")?, "executing");
            Ok(WorkerInfo {
                address: address.to_owned(),
                nthreads: fields.count("nthreads")?.unwrap_or_default(),
                status: fields.text("status")?,
                resources: fields.amounts("resources")?,
                memory_limit: figure(&mut fields, "memory_limit").unwrap_or_default(),
                memory,
                pid: figure(&mut fields, "pid").and_then(|pid| u32::try_from(pid).ok()),
                executing: executing.unwrap_or_default(),
            })
        })?;
        Ok(Self { workers })
    }

    pub(crate) fn write(self) -> Value {
        let worker = |worker: WorkerInfo| {
            let counts = map([("executing", worker.executing.into())]);
            let memory = worker.memory.map_or(Value::Nil, Value::from);
            let entry = map([
                ("type", "Worker".into()),
                ("nthreads", worker.nthreads.into()),
                ("status", worker.status.map_or(Value::Nil, Value::from)),
                ("resources", super::fields::amounts(worker.resources)),
                ("memory_limit", worker.memory_limit.into()),
                ("pid", worker.pid.map_or(Value::Nil, Value::from)),
                ("metrics", map([("memory", memory), ("task_counts", counts)])),
            ]);
            (worker.address.into(), entry)
        };
        let workers = Value::Map(self.workers.into_iter().map(worker).collect());
        map([("type", "Scheduler".into()), ("workers", workers)])
    }
}

/// What a worker says of itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerIdentity {
    /// Its name.
    pub name: String,
    /// The address of its scheduler.
    pub scheduler: String,
    /// How many tasks it computes at once.
    pub nthreads: u64,
    /// How many bytes it may hold.
    pub memory_limit: u64,
}

impl WorkerIdentity {
    pub(crate) fn write(self) -> Value {
        map([
            ("type", "Worker".into()),
            ("id", self.name.into()),
            ("scheduler", self.scheduler.into()),
            ("nthreads", self.nthreads.into()),
            ("memory_limit", self.memory_limit.into()),
        ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::document::Document;

    #[test]
    fn releases_before_the_oldest_are_refused() {
        for fine in ["2025.4.0", "2025.4.1", "2025.12.0", "2026.8.0", "2026.9.0+3.gabc", "2027.1"] {
            assert!(Packages::of_release(fine).supported().is_ok(), "{fine}");
        }
        for refused in ["2025.3.1", "2024.12.0", "1.2", "main"] {
            let error = Packages::of_release(refused).supported().unwrap_err().to_string();
            assert!(error.contains(refused), "{error}");
        }
        assert!(Packages::of(None).supported().is_err());
    }

    #[test]
    fn what_a_scheduler_says_of_its_workers_comes_back() {
        let worker = WorkerInfo {
            address: "tcp://a:1".into(),
            nthreads: 4,
            status: Some("running".into()),
            resources: vec![("GPU".into(), 2.0)],
            memory_limit: 1000,
            memory: Some(7),
            pid: Some(8),
            executing: 3,
        };
        let identity = ClusterIdentity { workers: vec![worker] };
        let mut document = Document::new(Value::Nil);
        let value = identity.clone().write();
        let fields = Fields::of("identity", value, &mut document).unwrap();
        assert_eq!(ClusterIdentity::read(fields), Ok(identity));
    }
}
