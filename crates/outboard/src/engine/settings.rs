//! How an engine on this machine is set up.

use std::time::Duration;

use super::Limits;
use crate::observe::snapshot::Host;
use crate::sched::ledger::Bounds;
use crate::sched::placement::Rules;
use crate::sched::quarantine::Terms;
use crate::task::limits::WorkerLimits;

/// What a worker needs for itself.
pub(crate) const LEAST_MEMORY: u64 = 16 << 20;
pub(crate) const LEAST_STACK: usize = 64 << 10;
pub(crate) const LEAST_FILES: u64 = 16;

/// The default bounds: as in the crate's documentation.
const QUEUE_TASKS: usize = 16_384;
const QUEUE_BYTES: usize = 256 << 20;
const MAX_PAYLOAD: usize = 128 << 20;

/// All options, for whoever mistypes one.
const KNOWN: &str = "workers, spares, queue_tasks, queue_bytes, max_payload, tenant_limit, \
                     tenant_queue, tenant_reserve, tenant_kills, max_wait_ms, lifo_above, \
                     memory_limit, cpu_limit_s, stack_size, open_files, library_threads, \
                     quarantine, quarantine_s, warm_up_timeout_s";

/// How an engine on this machine is set up.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    pub(crate) workers: usize,
    pub(crate) spares: usize,
    pub(crate) recycling: Recycling,
    pub(crate) limits: Limits,
    pub(crate) worker: WorkerLimits,
    /// Threads of a library in each worker, if that was said; 0 for any number.
    pub(crate) library_threads: Option<usize>,
    pub(crate) niceness: u8,
    pub(crate) start_timeout: Duration,
    pub(crate) warm_up_timeout: Duration,
    /// What tasks say is taken from workers at this level and above, from 0 to 5,
    /// whatever this process shows itself.
    pub(crate) said: u8,
}

/// After what workers are replaced; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Recycling {
    /// Tasks executed.
    pub(crate) tasks: Option<u64>,
    pub(crate) age: Option<Duration>,
    /// Memory of its own between tasks.
    pub(crate) memory_bytes: Option<u64>,
}

impl Settings {
    /// How many threads a library may start in each worker, if that is to be said.
    pub(crate) fn threads_of_a_library(&self) -> Option<usize> {
        let share = (Host::cores() / self.workers.max(1)).max(1);
        Some(self.library_threads.unwrap_or(share)).filter(|threads| *threads > 0)
    }
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            workers: Host::cores(),
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
            library_threads: None,
            niceness: 10,
            start_timeout: Duration::from_secs(10),
            warm_up_timeout: Duration::from_secs(300),
            said: 0,
        }
    }
}

impl Settings {
    pub(crate) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let number: usize =
            value.parse().map_err(|_| format!("`{name}` wants a whole number, not `{value}`"))?;
        match name {
            "workers" if number == 0 => return Err("`workers` must be at least 1".into()),
            "workers" => self.workers = number,
            "spares" => self.spares = number,
            "tenant_kills" if number == 0 => return Err("`tenant_kills` must be at least 1".into()),
            "tenant_kills" => {
                self.limits.tenant_kills = Some(u32::try_from(number).unwrap_or(u32::MAX));
            }
            "queue_tasks" => self.limits.queue.tasks = number,
            "queue_bytes" => self.limits.queue.bytes = number,
            "max_payload" => self.limits.payload = number.min(2 << 30),
            "tenant_limit" if number == 0 => return Err("`tenant_limit` must be at least 1".into()),
            "tenant_limit" => self.limits.tenants.tenant_limit = number,
            "tenant_queue" => self.limits.tenants.tenant_queue = number,
            "max_wait_ms" => {
                self.limits.tenants.max_wait = Some(Duration::from_millis(number as u64));
            }
            "lifo_above" => self.limits.tenants.lifo_above = number,
            "tenant_reserve" if number > 1 => return Err("`tenant_reserve` is 0 or 1".into()),
            "tenant_reserve" => self.limits.tenants.reserve = number == 1,
            _ => return self.set_of_workers(name, number as u64),
        }
        Ok(())
    }

    /// Options about what a worker may use and do; threads of `inline` have none.
    fn set_of_workers(&mut self, name: &str, number: u64) -> Result<(), String> {
        let least = match name {
            "memory_limit" => LEAST_MEMORY,
            "stack_size" => LEAST_STACK as u64,
            "open_files" => LEAST_FILES,
            "cpu_limit_s" | "quarantine" | "quarantine_s" => 1,
            _ => 0,
        };
        if number < least {
            return Err(format!("`{name}` must be at least {least}"));
        }
        match name {
            "memory_limit" => self.worker.memory_bytes = Some(number),
            "cpu_limit_s" => self.worker.cpu_s = Some(number),
            "stack_size" => self.worker.stack_bytes = Some(number),
            "open_files" => self.worker.open_files = Some(number),
            "library_threads" => self.library_threads = Some(number as usize),
            "quarantine" => self.terms().crashes = u32::try_from(number).unwrap_or(u32::MAX),
            "quarantine_s" => self.terms().time = Duration::from_secs(number),
            "warm_up_timeout_s" => self.warm_up_timeout = Duration::from_secs(number),
            _ => return Err(format!("no option is named `{name}`; known are {KNOWN}")),
        }
        Ok(())
    }

    fn terms(&mut self) -> &mut Terms {
        self.limits.quarantine.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn complaint(url: &str) -> String {
        parsed(url).expect_err(url).to_string()
    }

    fn parsed(url: &str) -> Result<Settings, crate::error::Error> {
        super::super::url::Url::parse(url)?.settings()
    }

    #[test]
    fn a_url_names_an_engine_and_its_options() {
        let settings = parsed("local://?workers=3&queue_tasks=7").expect("a good URL");
        assert_eq!(settings.workers, 3);
        assert_eq!(settings.limits.queue.tasks, 7);
    }

    #[test]
    fn a_url_limits_workers() {
        let url = "local://?memory_limit=268435456&cpu_limit_s=9&stack_size=65536&open_files=64\
                   &library_threads=0&warm_up_timeout_s=7";
        let settings = parsed(url).expect("a good URL");
        let limits = settings.worker;
        assert_eq!((limits.memory_bytes, limits.cpu_s), (Some(256 << 20), Some(9)));
        assert_eq!((limits.stack_bytes, limits.open_files), (Some(64 << 10), Some(64)));
        assert_eq!(settings.threads_of_a_library(), None);
        assert_eq!(settings.warm_up_timeout, Duration::from_secs(7));
        assert!(complaint("local://?memory_limit=1").contains("must be at least 16777216"));
        assert!(complaint("local://?cpu_limit_s=0").contains("must be at least 1"));
    }

    #[test]
    fn each_half_of_a_quarantine_brings_the_other() {
        let terms = |url| parsed(url).expect(url).limits.quarantine;
        let default = Terms::default();
        assert_eq!(terms("local://"), None);
        assert_eq!(terms("local://?quarantine=5"), Some(Terms { crashes: 5, ..default }));
        let minute = Duration::from_secs(60);
        assert_eq!(terms("local://?quarantine_s=60"), Some(Terms { time: minute, ..default }));
    }

    #[test]
    fn libraries_share_the_cores_between_workers() {
        let threads = |workers| {
            let settings = Settings { workers, ..Settings::default() };
            settings.threads_of_a_library().expect("it is said by default")
        };
        assert_eq!(threads(1), crate::observe::snapshot::Host::cores());
        assert_eq!(threads(usize::MAX), 1);
    }

    #[test]
    fn a_wrong_url_says_what_is_wrong() {
        assert!(complaint("localhost").contains("has no engine"));
        assert!(complaint("local://?workers=many").contains("wants a whole number"));
        assert!(complaint("local://?workers=0").contains("at least 1"));
        let unknown = complaint("inline://?speed=1");
        assert!(unknown.contains("no option is named `speed`"));
        for name in KNOWN.split(", ") {
            let known = complaint(&format!("local://?{name}=x"));
            assert!(known.contains("wants a whole number"), "{known}");
        }
    }
}
