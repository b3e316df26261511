//! What is told of a task, where someone wants to know; and its name as text.

use std::fmt;
use std::num::NonZeroU32;
use std::str::FromStr;
use std::time::Duration;

use super::{Reply, Request, Tagged, Task, TaskId};
use crate::error::Error;
use crate::event::Run;
use crate::record::Fact;
use crate::wire::Usage;

pub(super) fn taken(task: TaskId, request: &Request<'_>, waiting: usize) -> Fact {
    Fact::Taken {
        task,
        function: request.function,
        tenant: request.options.tenant.clone(),
        priority: request.options.priority,
        waiting: short(waiting),
        argument_bytes: short(request.args.len()),
    }
}

pub(super) fn ended(
    id: TaskId,
    task: &Task,
    result: &Result<Reply, Error>,
    used: Option<(Usage, usize)>,
    all_ns: u64,
) -> Fact {
    let (usage, worker) = used.unwrap_or_default();
    let measured = usage.cpu_ns.is_some() || usage.memory_bytes.is_some();
    Fact::Ended {
        task: id,
        function: task.function,
        attempt: task.attempt,
        worker: short(worker),
        queue_ns: match result {
            Ok(reply) => reply.ran.queue_ns,
            Err(_) => all_ns.saturating_sub(usage.run_ns),
        },
        run_ns: usage.run_ns,
        measured: measured.then(|| Box::new(usage)),
        error: result.as_ref().err().cloned(),
    }
}

fn short(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

impl From<(Usage, usize)> for Run {
    fn from((usage, worker): (Usage, usize)) -> Self {
        Self {
            worker,
            run_time: Duration::from_nanos(usage.run_ns),
            cpu_time: usage.cpu_ns.map(Duration::from_nanos),
            memory_bytes: usage.memory_bytes,
        }
    }
}

impl fmt::Display for TaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}.{:x}", self.0.tag, self.0.index)
    }
}

/// A text that names no task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct NoTaskId;

impl fmt::Display for NoTaskId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("text names no task: it is like `2f.0`")
    }
}

impl std::error::Error for NoTaskId {}

impl FromStr for TaskId {
    type Err = NoTaskId;

    fn from_str(text: &str) -> Result<Self, NoTaskId> {
        let number = |text| u32::from_str_radix(text, 16).map_err(|_| NoTaskId);
        let (tag, index) = text.split_once('.').ok_or(NoTaskId)?;
        let tag = NonZeroU32::new(number(tag)?).ok_or(NoTaskId)?;
        Ok(Self(Tagged { tag, index: number(index)? }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_survives_as_text() {
        let id = TaskId(Tagged { tag: NonZeroU32::MIN.saturating_add(0x2e), index: 10 });
        assert_eq!(id.to_string(), "2f.a");
        assert_eq!("2f.a".parse(), Ok(id));
        for text in ["", "2f", "2f.", "x.1", "1.2.3", "fffffffff.0", "0.1"] {
            assert_eq!(text.parse::<TaskId>(), Err(NoTaskId), "{text}");
        }
    }
}
