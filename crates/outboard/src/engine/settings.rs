//! How an engine on this machine is set up.

use std::ffi::OsString;
use std::fmt;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Limits;
use super::option::{ABOVE_ZERO, EngineOption, Form, Kind, Older, Value, find};
use crate::observe::snapshot::Host;
use crate::sched::ledger::Bounds;
use crate::sched::placement::Rules;
use crate::sched::quarantine::Terms;
use crate::sched::strength::Strength;
use crate::sched::strength::count::{self, WorkerCount};
use crate::task::interpreter::Python;
use crate::task::limits::WorkerLimits;
use crate::task::sandbox::Sandbox;
use crate::task::start::Config;
use crate::trace::WorkerOutput;

/// The default bounds: as in the crate's documentation.
const QUEUE_TASKS: usize = 16_384;
const QUEUE_BYTES: usize = 256 << 20;
const MAX_PAYLOAD: usize = 128 << 20;

/// How long a side looks at most, whatever was said.
const SPIN: Duration = Duration::from_micros(50);

/// The most that `max_payload` can be.
pub(crate) const MOST_PAYLOAD: usize = 2 << 30;

/// How an engine on this machine is set up.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) workers: WorkerCount,
    /// How long a worker of an elastic pool may have nothing to do.
    pub(crate) idle: Duration,
    pub(crate) spares: usize,
    pub(crate) recycling: Recycling,
    pub(crate) limits: Limits,
    pub(crate) worker: WorkerLimits,
    pub(crate) sandbox: Option<Sandbox>,
    pub(crate) output: WorkerOutput,
    /// Threads of a library in each worker, if that was said; 0 for any number.
    pub(crate) library_threads: Option<usize>,
    pub(crate) niceness: u8,
    /// How long a worker looks for its next task, and a caller for its answer, before it sleeps
    /// for it.
    pub(crate) spin: Duration,
    pub(crate) start_timeout: Duration,
    pub(crate) warm_up_timeout: Duration,
    /// What tasks say is taken from workers at this level and above, from 0 to 5,
    /// whatever this process shows itself.
    pub(crate) said: u8,
    /// The client is there before its first worker.
    pub(crate) lazy: bool,
    /// What `#[on_start]` functions are given.
    pub(crate) config: Option<Arc<Config>>,
    /// The program whose workers execute the tasks, if that is not this one.
    pub(crate) program: Option<PathBuf>,
    /// Its workers are Python; of the client itself, those of a pool beside it.
    pub(crate) python: Option<Python>,
    /// No two workers of one slot are there at once.
    pub(crate) exclusive: bool,
    /// What the environment of a slot's worker has beside the server's.
    pub(crate) env: Option<Env>,
    /// The pools beside the default one, by name.
    pub(crate) pools: Vec<(Arc<str>, Settings)>,
}

/// After what workers are replaced; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recycling {
    /// Tasks executed.
    pub(crate) tasks: Option<u64>,
    pub(crate) age: Option<Duration>,
    /// Memory of its own between tasks.
    pub(crate) memory_bytes: Option<u64>,
    /// A change of its process that was set back.
    pub(crate) changed: bool,
}

/// Gives the variables for a slot.
#[derive(Clone)]
pub(crate) struct Env(pub(crate) Arc<dyn Fn(usize) -> Vec<(OsString, OsString)> + Send + Sync>);

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Env")
    }
}

impl Settings {
    /// How many workers there are to be, and of what kind their slots are.
    pub(crate) fn strength(&self) -> Strength {
        match self.exclusive {
            true => Strength::exclusive(self.workers.least()),
            false => Strength::new(self.workers.least(), self.spares),
        }
        .following(self.workers, self.idle)
    }

    /// The same, of an engine where none stand by and all slots are alike to who has them.
    pub(crate) fn without_reserve(&self) -> Strength {
        Strength::new(self.workers.least(), 0).following(self.workers, self.idle)
    }

    /// How long a side looks at most, before it sleeps. On one core nobody else gets on while
    /// it does, and Python has no part in the memory that is looked at.
    pub(crate) fn spin(&self) -> Duration {
        if Host::cores() > 1 && self.python.is_none() { self.spin } else { Duration::ZERO }
    }

    /// How many workers stand by. Where each has its slot from its start, nobody can.
    pub(crate) fn spares(&self) -> usize {
        if self.exclusive { 0 } else { self.spares }
    }

    /// How many threads a library may start in each worker, if that is to be said.
    pub(crate) fn threads_of_a_library(&self) -> Option<usize> {
        let share = (Host::cores() / self.workers.most().max(1)).max(1);
        Some(self.library_threads.unwrap_or(share)).filter(|threads| *threads > 0)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: Host::cores().into(),
            idle: Duration::from_secs(60),
            spares: 1,
            recycling: Recycling::default(),
            limits: Limits {
                queue: Bounds { tasks: QUEUE_TASKS, bytes: QUEUE_BYTES },
                payload: MAX_PAYLOAD,
                tenants: Rules::default(),
                tenant_kills: None,
                quarantine: None,
            },
            worker: WorkerLimits::default(),
            sandbox: None,
            output: WorkerOutput::default(),
            library_threads: None,
            niceness: 10,
            spin: Duration::ZERO,
            start_timeout: Duration::from_secs(10),
            warm_up_timeout: Duration::from_secs(300),
            said: 0,
            lazy: false,
            config: None,
            program: None,
            python: None,
            exclusive: false,
            env: None,
            pools: Vec::new(),
        }
    }
}

impl Settings {
    /// Sets an option to a value that the program has, not a URL.
    ///
    /// # Errors
    ///
    /// A line that says which bound it is beyond.
    pub(crate) fn set(&mut self, name: &str, value: Value<'_>) -> Result<(), String> {
        find(OPTIONS, name).expect("the table has all options").set(name, value, self)
    }

    fn python(&mut self) -> &mut Python {
        self.python.get_or_insert_with(|| Python::new("python3"))
    }

    fn terms(&mut self) -> &mut Terms {
        self.limits.quarantine.get_or_insert_default()
    }
}

const EVERY_ENGINE: &[&str] = &["inline", "local", "dask"];
const THIS_MACHINE: &[&str] = &["inline", "local"];
const PROCESSES: &[&str] = &["local"];
const CRASHING: &[&str] = &["local", "dask"];

/// Any number that fits in memory.
const ANY_SIZE: RangeInclusive<u64> = 0..=usize::MAX as u64;
const ONE_OR_MORE: RangeInclusive<u64> = 1..=usize::MAX as u64;

const SECOND: Duration = Duration::from_secs(1);
const MILLISECOND: Duration = Duration::from_millis(1);

/// All options that settings have. The documentation of `Client::connect` shows them in
/// this order.
pub(crate) const OPTIONS: &[EngineOption<Settings>] = &[
    EngineOption {
        name: "workers",
        example: "4",
        kind: Kind::Text(
            Form { wants: count::WANTS, fits: |text| WorkerCount::parse(text).is_some() },
            |settings, text| {
                settings.workers = WorkerCount::parse(text).unwrap_or(settings.workers)
            },
        ),
        engines: THIS_MACHINE,
        says: "How many workers, or threads of `inline`; of a range as many as the load asks for; by default one for each core.",
    },
    EngineOption {
        name: "idle",
        example: "5m",
        kind: Kind::Time(MILLISECOND, None, |settings, idle| settings.idle = idle),
        engines: THIS_MACHINE,
        says: "After how long without a task a worker ends, if `workers` is a range; by default 1m.",
    },
    EngineOption {
        name: "spares",
        example: "2",
        kind: Kind::Count(ANY_SIZE, |settings, spares| settings.spares = spares as usize),
        engines: PROCESSES,
        says: "How many more workers stand by; by default 1.",
    },
    EngineOption {
        name: "queue_tasks",
        example: "1000",
        kind: Kind::Count(ANY_SIZE, |settings, tasks| settings.limits.queue.tasks = tasks as usize),
        engines: EVERY_ENGINE,
        says: "How many tasks may wait; by default 16384.",
    },
    EngineOption {
        name: "queue_bytes",
        example: "64MiB",
        kind: Kind::Bytes(ANY_SIZE, |settings, bytes| settings.limits.queue.bytes = bytes as usize),
        engines: EVERY_ENGINE,
        says: "How many bytes of encoded arguments, keys and names of tenants may be held; by default 256MiB.",
    },
    EngineOption {
        name: "max_payload",
        example: "16MiB",
        kind: Kind::Bytes(0..=MOST_PAYLOAD as u64, |settings, bytes| {
            settings.limits.payload = bytes as usize
        }),
        engines: EVERY_ENGINE,
        says: "The most bytes of one task's arguments, and of its result; by default 128MiB.",
    },
    EngineOption {
        name: "max_wait",
        example: "1s",
        kind: Kind::Time(
            Duration::ZERO,
            Some(Older { name: "max_wait_ms", unit: MILLISECOND }),
            |settings, wait| settings.limits.tenants.max_wait = Some(wait),
        ),
        engines: EVERY_ENGINE,
        says: "The longest that a task may be expected to wait; by default unbounded.",
    },
    EngineOption {
        name: "lifo_above",
        example: "100",
        kind: Kind::Count(ANY_SIZE, |settings, tasks| {
            settings.limits.tenants.lifo_above = tasks as usize
        }),
        engines: EVERY_ENGINE,
        says: "How many tasks of a tenant must wait before the newest goes first; by default never.",
    },
    EngineOption {
        name: "ageing",
        example: "10s",
        kind: Kind::Time(MILLISECOND, None, |settings, wait| {
            settings.limits.tenants.ageing = Some(wait)
        }),
        engines: EVERY_ENGINE,
        says: "How long a task waits to count one priority higher; by default priorities are strict.",
    },
    EngineOption {
        name: "tenant_limit",
        example: "2",
        kind: Kind::Count(ONE_OR_MORE, |settings, workers| {
            settings.limits.tenants.tenant_limit = workers as usize
        }),
        engines: EVERY_ENGINE,
        says: "How many workers one tenant may hold at once; by default all.",
    },
    EngineOption {
        name: "tenant_queue",
        example: "100",
        kind: Kind::Count(ANY_SIZE, |settings, tasks| {
            settings.limits.tenants.tenant_queue = tasks as usize
        }),
        engines: EVERY_ENGINE,
        says: "How many tasks of one tenant may wait; by default as many as there is room for.",
    },
    EngineOption {
        name: "tenant_reserve",
        example: "0",
        kind: Kind::Flag(|settings, reserve| settings.limits.tenants.reserve = reserve),
        engines: EVERY_ENGINE,
        says: "Whether one worker is kept free of a tenant's tasks; by default 1.",
    },
    EngineOption {
        name: "tenant_kills",
        example: "5",
        kind: Kind::Count(1..=u32::MAX as u64, |settings, kills| {
            settings.limits.tenant_kills = Some(kills as u32)
        }),
        engines: PROCESSES,
        says: "How many workers one tenant may cost in a second; by default a quarter of the workers' time.",
    },
    EngineOption {
        name: "recycle_after_tasks",
        example: "1000",
        kind: Kind::Count(1..=u64::MAX, |settings, tasks| settings.recycling.tasks = Some(tasks)),
        engines: PROCESSES,
        says: "After how many tasks a worker is replaced; by default never.",
    },
    EngineOption {
        name: "recycle_after",
        example: "12h",
        kind: Kind::Time(SECOND, None, |settings, age| settings.recycling.age = Some(age)),
        engines: PROCESSES,
        says: "At which age a worker is replaced; by default never.",
    },
    EngineOption {
        name: "recycle_above",
        example: "256MiB",
        kind: Kind::Bytes(0..=u64::MAX, |settings, bytes| {
            settings.recycling.memory_bytes = Some(bytes)
        }),
        engines: PROCESSES,
        says: "Above how much memory of its own a worker is replaced; by default never.",
    },
    EngineOption {
        name: "recycle_changed",
        example: "1",
        kind: Kind::Flag(|settings, changed| settings.recycling.changed = changed),
        engines: PROCESSES,
        says: "Whether a worker is replaced whose process a task has changed; by default 0.",
    },
    EngineOption {
        name: "niceness",
        example: "5",
        kind: Kind::Count(0..=19, |settings, niceness| settings.niceness = niceness as u8),
        engines: PROCESSES,
        says: "How far workers stand back for other processes; by default 10.",
    },
    EngineOption {
        name: "spin",
        example: "20us",
        kind: Kind::Time(Duration::ZERO, None, |settings, time| settings.spin = time.min(SPIN)),
        engines: PROCESSES,
        says: "How long a worker and a caller look before they sleep, where that pays; by default 0s, at most 50us.",
    },
    EngineOption {
        name: "memory_limit",
        example: "512MiB",
        kind: Kind::Bytes(16 << 20..=u64::MAX, |settings, bytes| {
            settings.worker.memory_bytes = Some(bytes)
        }),
        engines: PROCESSES,
        says: "The most memory of a worker; by default unlimited.",
    },
    EngineOption {
        name: "cpu_limit",
        example: "9s",
        kind: Kind::Time(
            ABOVE_ZERO,
            Some(Older { name: "cpu_limit_s", unit: SECOND }),
            |settings, time| settings.worker.cpu_s = Some(whole_seconds(time)),
        ),
        engines: PROCESSES,
        says: "The most CPU time of one task, rounded up to whole seconds; by default unlimited.",
    },
    EngineOption {
        name: "stack_size",
        example: "1MiB",
        kind: Kind::Bytes(64 << 10..=usize::MAX as u64, |settings, bytes| {
            settings.worker.stack_bytes = Some(bytes)
        }),
        engines: PROCESSES,
        says: "The stack that tasks run on; by default that of the worker's main thread.",
    },
    EngineOption {
        name: "open_files",
        example: "64",
        kind: Kind::Count(16..=u64::MAX, |settings, files| {
            settings.worker.open_files = Some(files)
        }),
        engines: PROCESSES,
        says: "How many files and sockets a worker may have open; by default as many as the server.",
    },
    EngineOption {
        name: "sandbox",
        example: "no_network,no_exec",
        kind: Kind::Text(
            Form {
                wants: "1, or names of `no_network`, `no_exec`, `read_only:/PATH`, \
                        `read_write:/PATH`, `best_effort` with commas between",
                fits: |text| Sandbox::parse(text).is_some(),
            },
            |settings, text| settings.sandbox = Sandbox::parse(text),
        ),
        engines: PROCESSES,
        says: "What workers may no longer do after `#[on_start]`; by default they may do all.",
    },
    EngineOption {
        name: "output",
        example: "events",
        kind: Kind::Text(
            Form {
                wants: "`prefixed`, `raw` or `events`",
                fits: |text| WorkerOutput::named(text).is_some(),
            },
            |settings, text| settings.output = WorkerOutput::named(text).unwrap_or_default(),
        ),
        engines: PROCESSES,
        says: "What becomes of lines that workers print; by default they are printed with the worker's number.",
    },
    EngineOption {
        name: "lazy",
        example: "1",
        kind: Kind::Flag(|settings, lazy| settings.lazy = lazy),
        engines: PROCESSES,
        says: "Whether the client is there before its first worker is ready; by default 0.",
    },
    EngineOption {
        name: "exclusive",
        example: "1",
        kind: Kind::Flag(|settings, exclusive| settings.exclusive = exclusive),
        engines: PROCESSES,
        says: "Whether the worker of a slot starts when the one before is gone, without spares; by default 0.",
    },
    EngineOption {
        name: "program",
        example: "/opt/app/tasks",
        kind: Kind::Text(
            Form { wants: "an absolute path", fits: |path| Path::new(path).is_absolute() },
            |settings, path| settings.program = Some(path.into()),
        ),
        engines: PROCESSES,
        says: "The program whose workers execute the tasks; by default this one.",
    },
    EngineOption {
        name: "python",
        example: ".venv/bin/python",
        kind: Kind::Text(
            Form { wants: "an interpreter", fits: |text| !text.is_empty() },
            |settings, program| settings.python().program = program.into(),
        ),
        engines: PROCESSES,
        says: "The interpreter of a pool named `python`, whose workers call Python's functions; by default there is none.",
    },
    EngineOption {
        name: "python.path",
        example: "models",
        kind: Kind::Text(
            Form { wants: "directories with colons between", fits: |text| !text.is_empty() },
            |settings, paths| settings.python().paths = std::env::split_paths(paths).collect(),
        ),
        engines: PROCESSES,
        says: "Where Python looks for modules first; by default nowhere else than usual.",
    },
    EngineOption {
        name: "python.preload",
        example: "app.model",
        kind: Kind::Text(
            Form { wants: "modules with commas between", fits: |text| !text.is_empty() },
            |settings, modules| {
                settings.python().modules = modules.split(',').map(str::to_owned).collect();
            },
        ),
        engines: PROCESSES,
        says: "What Python's workers import before they are ready; by default nothing.",
    },
    EngineOption {
        name: "library_threads",
        example: "2",
        kind: Kind::Count(ANY_SIZE, |settings, threads| {
            settings.library_threads = Some(threads as usize)
        }),
        engines: PROCESSES,
        says: "How many threads a library may start in each worker, 0 for any number; by default the worker's share of the cores.",
    },
    EngineOption {
        name: "quarantine",
        example: "5",
        kind: Kind::Count(1..=u32::MAX as u64, |settings, crashes| {
            settings.terms().crashes = crashes as u32
        }),
        engines: CRASHING,
        says: "After how many crashes arguments are refused; by default never, and 3 if `quarantine_time` is given.",
    },
    EngineOption {
        name: "quarantine_time",
        example: "1h",
        kind: Kind::Time(
            ABOVE_ZERO,
            Some(Older { name: "quarantine_s", unit: SECOND }),
            |settings, time| settings.terms().time = time,
        ),
        engines: CRASHING,
        says: "How long a crash counts; 10m if only `quarantine` is given.",
    },
    EngineOption {
        name: "start_timeout",
        example: "30s",
        kind: Kind::Time(Duration::ZERO, None, |settings, timeout| {
            settings.start_timeout = timeout
        }),
        engines: PROCESSES,
        says: "How long a worker may take from its start to `init`; by default 10s.",
    },
    EngineOption {
        name: "warm_up_timeout",
        example: "1m",
        kind: Kind::Time(
            Duration::ZERO,
            Some(Older { name: "warm_up_timeout_s", unit: SECOND }),
            |settings, timeout| settings.warm_up_timeout = timeout,
        ),
        engines: PROCESSES,
        says: "How long a worker may take from `init` to its first task; by default 5m.",
    },
];

/// What the system counts CPU time in.
fn whole_seconds(time: Duration) -> u64 {
    time.as_secs().saturating_add(u64::from(time.subsec_nanos() > 0))
}

#[cfg(test)]
mod tests {
    use super::super::option::rows_of_connect;
    use super::*;
    use crate::engine::url::Url;

    fn complaint(url: &str) -> String {
        parsed(url).expect_err(url).to_string()
    }

    fn parsed(url: &str) -> Result<Settings, crate::error::Error> {
        Url::parse(url)?.settings("local")
    }

    #[test]
    fn a_url_names_an_engine_and_its_options() {
        let settings = parsed("local://?workers=3&queue_tasks=7").expect("a good URL");
        assert_eq!(settings.workers, 3.into());
        assert_eq!(settings.limits.queue.tasks, 7);
    }

    #[test]
    fn a_range_is_written_as_in_rust() {
        let settings = parsed("local://?workers=0..=8&idle=5s").expect("a good URL");
        assert_eq!((settings.workers, settings.idle), ((0..=8).into(), Duration::from_secs(5)));
        assert_eq!(settings.strength().bounds(), (0, 8));
    }

    #[test]
    fn a_url_limits_workers() {
        let url = "local://?memory_limit=256MiB&cpu_limit=8500ms&stack_size=65536&open_files=64\
                   &library_threads=0&warm_up_timeout=7s";
        let settings = parsed(url).expect("a good URL");
        let limits = settings.worker;
        assert_eq!((limits.memory_bytes, limits.cpu_s), (Some(256 << 20), Some(9)));
        assert_eq!((limits.stack_bytes, limits.open_files), (Some(64 << 10), Some(64)));
        assert_eq!(settings.threads_of_a_library(), None);
        assert_eq!(settings.warm_up_timeout, Duration::from_secs(7));
        assert!(complaint("local://?memory_limit=1").contains("must be at least 16MiB, not 1"));
        assert!(complaint("local://?cpu_limit=0s").contains("must be greater than 0"));
        assert!(complaint("local://?stack_size=1").contains("must be at least 64KiB"));
        assert!(complaint("local://?open_files=15").contains("must be at least 16"));
        assert!(complaint("local://?niceness=20").contains("must be at most 19"));
    }

    #[test]
    fn the_documentation_is_the_table() {
        let rows: Vec<_> = OPTIONS.iter().map(EngineOption::row_of_connect).collect();
        let documented = rows_of_connect().into_iter().take(rows.len());
        assert_eq!(documented.collect::<Vec<_>>().join("\n"), rows.join("\n"));
    }

    #[test]
    fn an_older_name_has_the_unit_that_it_says() {
        for (older, new) in [
            ("cpu_limit_s=9", "cpu_limit=9s"),
            ("max_wait_ms=20", "max_wait=20ms"),
            ("quarantine_s=60", "quarantine_time=1m"),
            ("warm_up_timeout_s=7", "warm_up_timeout=7s"),
        ] {
            let settings = |option| {
                let url = format!("local://?{option}");
                format!("{:?}", parsed(&url).expect(option))
            };
            assert_eq!(settings(older), settings(new));
        }
        assert!(complaint("local://?cpu_limit_s=0").contains("must be greater than 0"));
        assert!(complaint("local://?max_wait_ms=18446744073709551616").contains("too large"));
    }

    #[test]
    fn each_half_of_a_quarantine_brings_the_other() {
        let terms = |url| parsed(url).expect(url).limits.quarantine;
        let default = Terms::default();
        assert_eq!(terms("local://"), None);
        assert_eq!(terms("local://?quarantine=5"), Some(Terms { crashes: 5, ..default }));
        let minute = Duration::from_secs(60);
        assert_eq!(terms("local://?quarantine_time=1m"), Some(Terms { time: minute, ..default }));
    }

    #[test]
    fn libraries_share_the_cores_between_workers() {
        let threads = |workers: usize| {
            let settings = Settings { workers: workers.into(), ..Settings::default() };
            settings.threads_of_a_library().expect("it is said by default")
        };
        assert_eq!(threads(1), crate::observe::snapshot::Host::cores());
        assert_eq!(threads(usize::MAX), 1);
    }

    #[test]
    fn a_wrong_url_says_what_is_wrong() {
        assert!(complaint("localhost").contains("names no engine"));
        assert!(complaint("local://?workers=many").contains("wants a whole number"));
        assert!(complaint("local://?workers=0").contains("at least 1"));
        assert!(complaint("local://?workers=0..8").contains("a range such as `0..=8`, not `0..8`"));
        assert!(complaint("local://?tenant_kills=4294967296").contains("at most 4294967295"));
        assert!(complaint("local://?max_payload=3GiB").contains("at most 2GiB"));
        for option in OPTIONS {
            let name = option.name;
            let empty = complaint(&format!("local://?{name}"));
            let says = format!("; for example `{name}={}`", option.example);
            assert!(empty.contains(" wants ") && empty.ends_with(&says), "{empty}");
        }
    }
}
