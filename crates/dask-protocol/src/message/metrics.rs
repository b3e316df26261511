//! What a worker says of itself with each sign of life.

use rmpv::Value;

use crate::document::map;

/// What Dask takes a network for before it has measured one, in bytes a second.
const BANDWIDTH: u64 = 100_000_000;

/// How a worker is: for the scheduler's decisions, and for Dask's dashboard.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Metrics {
    /// The time, in seconds since 1970.
    pub time: f64,
    /// How many bytes of memory it takes, with all of its processes.
    pub memory: u64,
    /// How many bytes it holds for the cluster.
    pub managed_bytes: u64,
    /// How busy it is, in percent of one core.
    pub cpu: f64,
    /// How many files it has open.
    pub num_fds: u64,
    /// How many tasks execute.
    pub executing: u64,
    /// How many tasks could execute.
    pub ready: u64,
    /// How many tasks wait for what they need.
    pub waiting: u64,
    /// How many values it holds.
    pub in_memory: u64,
}

impl Metrics {
    pub(crate) fn value(self) -> Value {
        let empty = || Value::Map(Vec::new());
        let bandwidth =
            map([("total", BANDWIDTH.into()), ("workers", empty()), ("types", empty())]);
        let none = ["incoming", "outgoing"].into_iter().flat_map(|way| {
            ["bytes", "count", "count_total"].map(|what| (format!("{way}_{what}").into(), 0.into()))
        });
        let rates = || map([("read_bps", 0.0.into()), ("write_bps", 0.0.into())]);
        let counts = map([
            ("executing", self.executing.into()),
            ("ready", self.ready.into()),
            ("waiting", self.waiting.into()),
            ("memory", self.in_memory.into()),
        ]);
        map([
            ("bandwidth", bandwidth),
            ("digests_total_since_heartbeat", empty()),
            ("memory", self.memory.into()),
            ("spilled_bytes", map([("memory", 0.into()), ("disk", 0.into())])),
            ("managed_bytes", self.managed_bytes.into()),
            ("cpu", self.cpu.into()),
            ("time", self.time.into()),
            ("num_fds", self.num_fds.into()),
            ("task_counts", counts),
            ("event_loop_interval", 0.02.into()),
            ("transfer", Value::Map(none.collect())),
            ("host_net_io", rates()),
            ("host_disk_io", rates()),
        ])
    }
}
