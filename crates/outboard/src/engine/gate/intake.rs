//! What a submit goes through on its way into the queue.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Core, Effects, Gate, Handle, Ticket};
use crate::error::{Bound, Error, Oversized, Repr};
use crate::ids::{TaskId, TenantId, WaiterId};
use crate::observe::event::EventKind;
use crate::sched::admission::Ahead;
use crate::sched::ledger::{Options, Request, Submitted};
use crate::sched::placement::Queued;
use crate::task::registry::Function;
use crate::trace::Origin;
use crate::value::args::Args;

impl Gate {
    /// Takes a task; the receiver gets its end.
    pub(crate) fn submit(
        &self,
        function: &'static Function,
        args: Args,
        options: &Options,
        origin: Option<Arc<Origin>>,
    ) -> Result<Ticket, Error> {
        if options.timeout.is_some() {
            self.clock.ready()?;
        }
        if args.len() > self.limits.payload {
            let (bytes, limit) = (args.len() as u64, self.limits.payload as u64);
            return Err(Error::new(Repr::TooLarge { what: Oversized::Arguments, bytes, limit }));
        }
        self.submit_from(Instant::now(), function, args, options, origin)
    }

    #[cfg(test)]
    pub(in crate::engine) fn submit_at(
        &self,
        now: Instant,
        function: &'static Function,
        args: Args,
        options: &Options,
    ) -> Result<Ticket, Error> {
        self.submit_from(now, function, args, options, None)
    }

    fn submit_from(
        &self,
        now: Instant,
        function: &'static Function,
        args: Args,
        options: &Options,
        origin: Option<Arc<Origin>>,
    ) -> Result<Ticket, Error> {
        let (handle, receiver) = oneshot::channel();
        let mut effects = Effects::default();
        let mut core = self.lock();
        core.admits(function)?;
        core.record_from(now);
        let request = Request { function, args, options, steady_ns: None, origin };
        let taken = core.submit(now, request, handle, &mut effects);
        let told = core.has_told();
        drop(core);
        if told {
            self.told.notify_waiters();
        }
        let (waiter, task) = taken?;
        if let Some(deadline) = options.timeout.and_then(|timeout| now.checked_add(timeout)) {
            self.clock.arm(deadline);
        }
        effects.apply();
        Ok((waiter, task, receiver))
    }

    /// Waits until there is room for one more task with these options.
    pub(crate) async fn ready(&self, options: &Options) -> Result<(), Error> {
        self.until(|core| match core.open() {
            Err(error) => Some(Err(error)),
            Ok(()) => core.has_room(options).then_some(Ok(())),
        })
        .await
    }
}

impl Core {
    fn submit(
        &mut self,
        now: Instant,
        mut request: Request<'_>,
        handle: Handle,
        effects: &mut Effects,
    ) -> Result<(WaiterId, TaskId), Error> {
        request.steady_ns = self.steady_ns(now, request.function);
        let Self { ledger, placement, .. } = self;
        let (function, options) = (request.function, request.options);
        let (priority, name) = (options.priority, options.tenant.as_ref());
        let tenant = placement.seen(name, options.weight, now);
        placement.forgotten().for_each(|tenant| ledger.book.forget(tenant));
        if let Some(error) = self.quarantined(now, request.function, &request.args.payload) {
            self.ledger.refused(request.function, tenant);
            return Err(self.refuse(function, options, error));
        }
        let Self { ledger, placement, admission, .. } = self;
        let submitted = ledger.submit(now, request, handle, tenant, |fill| {
            if !options.found_room && !placement.may_start(tenant, now) {
                admission.admit(
                    now,
                    || digest(name),
                    |part| {
                        let all = fill.broken(part.half_of_all);
                        all.or_else(|| placement.full((tenant, priority), part, now))
                    },
                )?;
            }
            Ok(placement.place(priority, tenant))
        });
        match submitted {
            Err(bound) => {
                let error = self.overloaded(now, bound, options, tenant);
                Err(self.refuse(function, options, error))
            }
            Ok(Submitted::New(waiter, task)) => {
                self.enqueue(task);
                self.pump(now, effects);
                Ok((waiter, task))
            }
            Ok(Submitted::Joined(waiter, task)) => {
                self.promote(task, priority);
                Ok((waiter, task))
            }
        }
    }

    /// Tells that a submit is refused, and gives back why.
    fn refuse(&mut self, function: &'static Function, options: &Options, error: Error) -> Error {
        self.tell(|| EventKind::Refused {
            function: function.name,
            tenant: options.tenant.clone(),
            error: error.clone(),
        });
        error
    }

    fn overloaded(
        &mut self,
        now: Instant,
        bound: Bound,
        options: &Options,
        tenant: TenantId,
    ) -> Error {
        let Self { ledger, placement, admission, .. } = self;
        let (queued, interval) = (ledger.queued() as f64, placement.interval());
        let excess = match bound {
            Bound::Tasks(limit) => queued - (limit / 2) as f64,
            Bound::Tenant(limit) => placement.waiting_of(tenant) as f64 - (limit / 2) as f64,
            Bound::Bytes(_) => queued / 2.0,
            Bound::Sharers(_) => {
                // No place in the queue would help: the task has to end.
                let retry_after = placement.soonest(now).max(Duration::from_millis(1));
                return Error::new(Repr::Overloaded { retry_after, bound });
            }
            Bound::Wait(limit) => {
                let wait = placement.predicted_wait((tenant, options.priority), now);
                let over = wait.saturating_sub(limit / 2).as_secs_f64();
                over / interval.as_secs_f64().max(1e-6)
            }
        };
        let ahead = Ahead { soonest: placement.soonest(now), excess, interval };
        let retry_after = admission.promise(now, digest(options.tenant.as_ref()), ahead);
        Error::new(Repr::Overloaded { retry_after, bound })
    }

    /// Whether a submit with these options, that comes now, would be taken.
    fn has_room(&self, options: &Options) -> bool {
        if self.placement.has_room() {
            return true;
        }
        let part = self.admission.part_for_all();
        let full = self.ledger.fill(0).broken(part.half_of_all);
        full.is_none()
            && self.placement.known(options.tenant.as_ref()).is_none_or(|tenant| {
                let now = Instant::now();
                self.placement.full((tenant, options.priority), part, now).is_none()
            })
    }

    pub(in crate::engine) fn enqueue(&mut self, id: TaskId) {
        let Some(task) = self.ledger.task(id) else { return };
        let queued = Queued {
            task: id,
            bytes: u32::try_from(task.args.len()).unwrap_or(u32::MAX),
            submitted: task.submitted,
            hurried: task.hurried,
            steady_ns: task.steady_ns,
        };
        self.placement.enqueue(task.place(), queued);
    }

    fn promote(&mut self, id: TaskId, priority: i32) {
        let Some(task) = self.ledger.task(id) else { return };
        if priority > task.place().priority() {
            let place = self.placement.promote(task.place(), priority);
            self.ledger.replaced(id, place);
        }
    }

    /// How much of its time a task must have left to be worth a start: half of
    /// what its function takes, where that is known.
    pub(in crate::engine) fn needs(&self, now: Instant, id: TaskId) -> Duration {
        let function = self.ledger.task(id).map(|task| task.function);
        let ns = function.and_then(|function| self.steady_ns(now, function));
        Duration::from_nanos(ns.map_or(0, NonZeroU64::get) / 2)
    }

    /// How long a function runs, in nanoseconds, where that is steady and known.
    fn steady_ns(&self, now: Instant, function: &Function) -> Option<NonZeroU64> {
        if function.steady { self.placement.steady_ns(function.number, now) } else { None }
    }

    /// A task ran for so long, and has ended.
    pub(super) fn observed(&mut self, now: Instant, id: TaskId, run_ns: u64) {
        let function = self.ledger.task(id).map(|task| task.function);
        let steady = function.filter(|function| function.steady).map(|function| function.number);
        self.placement.observed(now, run_ns, steady);
        self.admission.ended(now, self.ledger.queued() > 0);
    }
}

/// What promises know a tenant by: its number may be another's by then.
fn digest(name: Option<&Arc<str>>) -> u64 {
    let mut hasher = DefaultHasher::new();
    name.hash(&mut hasher);
    hasher.finish()
}
