//! What is told of a task, where someone wants to know; and its name as text.

use std::time::Duration;

use super::{Reply, Request, Task};
use crate::error::Error;
use crate::ids::TaskId;
use crate::observe::event::RunUsage;
use crate::observe::record::Fact;
use crate::task::outcome::Usage;

pub(super) fn taken(task: TaskId, request: &Request<'_>, waiting: usize) -> Fact {
    Fact::Taken {
        task,
        function: request.function,
        tenant: request.options.tenant.clone(),
        priority: request.options.priority,
        waiting: short(waiting),
        argument_bytes: short(request.args.as_ref().map_or(0, |args| args.len())),
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
    let measured = usage.cpu_ns.is_some() || usage.memory_bytes.is_some() || usage.batch > 1;
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

impl From<(Usage, usize)> for RunUsage {
    fn from((usage, worker): (Usage, usize)) -> Self {
        Self {
            worker,
            run_time: Duration::from_nanos(usage.run_ns),
            cpu_time: usage.cpu_ns.map(Duration::from_nanos),
            memory_bytes: usage.memory_bytes,
            batch: usage.tasks() as usize,
        }
    }
}
