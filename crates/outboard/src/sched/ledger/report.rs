//! What one execution gave, and how it went.

use std::time::Duration;

use crate::task::outcome::Usage;
use crate::value::payload::Payload;

/// What one execution gave.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// The encoded result.
    pub(crate) payload: Payload,
    pub(crate) ran: Ran,
}

/// A [`Report`], small: every task that waits has room for one.
#[derive(Clone, Debug)]
pub(crate) struct Ran {
    attempt: u32,
    worker: u32,
    pub(super) queue_ns: u64,
    run_ns: u64,
    /// Of tasks that ran for a while, or with others.
    measured: Option<Box<Measured>>,
}

#[derive(Clone, Debug)]
struct Measured {
    cpu_ns: Option<u64>,
    memory_bytes: Option<u64>,
    memory_before_bytes: Option<u64>,
    peak_bytes: Option<u64>,
    batch: u32,
}

impl Ran {
    pub(super) fn new(attempt: u32, worker: usize, all: Duration, usage: Usage) -> Self {
        let Usage { run_ns, cpu_ns, memory_bytes, memory_before_bytes, peak_bytes, .. } = usage;
        let batch = usage.tasks();
        let measured = Measured { cpu_ns, memory_bytes, memory_before_bytes, peak_bytes, batch };
        let any = cpu_ns.is_some() || memory_bytes.is_some() || batch > 1;
        let queue_ns = u64::try_from(all.as_nanos()).unwrap_or(u64::MAX).saturating_sub(run_ns);
        let worker = u32::try_from(worker).unwrap_or(u32::MAX);
        Self { attempt, worker, queue_ns, run_ns, measured: any.then(|| Box::new(measured)) }
    }
}

impl From<Ran> for Report {
    fn from(ran: Ran) -> Self {
        let measured = ran.measured.as_deref();
        Self {
            attempt: ran.attempt,
            queue_time: Duration::from_nanos(ran.queue_ns),
            run_time: Duration::from_nanos(ran.run_ns),
            cpu_time: measured.and_then(|it| it.cpu_ns).map(Duration::from_nanos),
            memory_bytes: measured.and_then(|it| it.memory_bytes),
            memory_at_start_bytes: measured.and_then(|it| it.memory_before_bytes),
            peak_memory_bytes: measured.and_then(|it| it.peak_bytes),
            worker: ran.worker as usize,
            batch: measured.map_or(1, |it| it.batch as usize),
        }
    }
}

/// How one execution went.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Report {
    /// Which execution of the task it was, counting from 1.
    pub attempt: u32,
    /// What of the time from submit to the result was not the run time of this
    /// attempt: in the queue, in earlier attempts, to the worker and back.
    pub queue_time: Duration,
    /// From the start of this attempt to its end, by the worker's clock.
    pub run_time: Duration,
    /// CPU time of the worker's whole process during this attempt; measured
    /// for tasks that ran for a millisecond or more.
    pub cpu_time: Option<Duration>,
    /// Resident memory of the worker at the end, in bytes; measured for tasks
    /// that ran for a millisecond or more.
    pub memory_bytes: Option<u64>,
    /// Resident memory of the worker before that, in bytes: at the end of the
    /// last measured task, or at the worker's start. Known where `memory_bytes`
    /// is.
    pub memory_at_start_bytes: Option<u64>,
    /// The most resident memory of the worker, in bytes, while it ran this attempt and what
    /// short tasks it had just before. Known where `memory_bytes` is, unless the system
    /// does not tell.
    pub peak_memory_bytes: Option<u64>,
    /// The number of the worker.
    pub worker: usize,
    /// How many tasks ran in the same call of a function that takes batches; otherwise 1.
    /// Times and memory are those of the call.
    pub batch: usize,
}
