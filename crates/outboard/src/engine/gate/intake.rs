//! What a submit goes through on its way into the queue.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::{Core, Effects, Gate, Handle, Ticket};
use crate::engine::spin::Spin;
use crate::error::{Bound, Error, Oversized, Repr};
use crate::ids::{TaskId, TenantId, WaiterId};
use crate::observe::event::EventKind;
use crate::sched::ledger::{Key, Options, Request};
use crate::sched::shares::QueuePlace;
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
        self.refuse_if_forked()?;
        self.needs_clock(function, options)?;
        if let Some(repr) = options.oversized() {
            return Err(Error::new(repr));
        }
        let args = self.fitting(args)?;
        self.submit_from(self.clock.now(), function, Some(args), options, origin)
    }

    /// Takes a task whose arguments are still to be encoded: [`prepared`](Self::prepared)
    /// brings them. It has its place in the queue, its timeout, and counts in the bounds.
    pub(crate) fn announce(
        &self,
        function: &'static Function,
        options: &Options,
        origin: Option<Arc<Origin>>,
    ) -> Result<Ticket, Error> {
        self.needs_clock(function, options)?;
        if let Some(repr) = options.oversized() {
            return Err(Error::new(repr));
        }
        self.submit_from(self.clock.now(), function, None, options, origin)
    }

    /// Makes sure that what is to happen when nothing else does will happen.
    fn needs_clock(&self, function: &Function, options: &Options) -> Result<(), Error> {
        let held = function.batching.is_some_and(|batching| !batching.wait.is_zero());
        if held || options.needs_clock() { self.clock.ready() } else { Ok(()) }
    }

    /// Whether someone still waits for a task that was announced.
    pub(crate) fn awaits(&self, task: TaskId) -> bool {
        self.lock().ledger.preparing(task).is_some()
    }

    /// The arguments of a task that was announced, or why it has none.
    pub(crate) fn prepared(
        &self,
        task: TaskId,
        function: &'static Function,
        args: Result<Args, Error>,
        options: &Options,
    ) {
        self.prepared_at(self.clock.now(), task, function, args, options);
    }

    pub(super) fn prepared_at(
        &self,
        now: Instant,
        task: TaskId,
        function: &'static Function,
        args: Result<Args, Error>,
        options: &Options,
    ) {
        let prepared = args.and_then(|args| self.fitting(args)).map(|args| {
            let (steady_ns, origin) = (None, None);
            let request = Request { function, args: Some(args), options, steady_ns, origin };
            let key = Key::of(&request).map(Arc::new);
            (request, key)
        });
        self.report_at(now, |reports| {
            let (core, effects) = (&mut *reports.core, &mut reports.effects);
            core.prepared(reports.now, task, prepared, effects);
        });
    }

    #[cfg(test)]
    pub(super) fn submit_at(
        &self,
        now: Instant,
        function: &'static Function,
        args: Option<Args>,
        options: &Options,
    ) -> Result<Ticket, Error> {
        self.submit_from(now, function, args, options, None)
    }

    fn submit_from(
        &self,
        now: Instant,
        function: &'static Function,
        args: Option<Args>,
        options: &Options,
        origin: Option<Arc<Origin>>,
    ) -> Result<Ticket, Error> {
        let (handle, receiver) = oneshot::channel();
        let mut effects = Effects::default();
        let mut core = self.lock();
        if let Err(error) = core.admits(function) {
            return Err(core.turn_away(now, function, options, error));
        }
        core.record_from(now);
        let request = Request { function, args, options, steady_ns: None, origin };
        let taken = core.submit(now, request, handle, &mut effects);
        let deadline = options.timeout.and_then(|timeout| now.checked_add(timeout));
        let spin = taken.as_ref().ok().and_then(|(_, task)| core.spin(*task));
        self.release_lock(core, now, effects, deadline.filter(|_| taken.is_ok()));
        let (waiter, task) = taken?;
        Ok(Ticket { waiter, task, receiver, spin })
    }

    /// Arguments that may be sent: of at most so many bytes.
    fn fitting(&self, args: Args) -> Result<Args, Error> {
        if !self.feeds && !args.feeds().is_empty() {
            return Err(Error::unsupported(
                "a stream goes into a task of `local` or `inline` only: store it where workers \
                 find it, and pass its name, or pass the bytes",
            ));
        }
        if args.len() <= self.limits.payload {
            return Ok(args);
        }
        let (bytes, limit) = (args.len() as u64, self.limits.payload as u64);
        Err(Error::new(Repr::TooLarge { what: Oversized::Arguments, bytes, limit }))
    }
}

/// How a submit is taken.
enum Taken {
    /// As a new task, with a key if others may share it.
    New(Option<Arc<Key>>),
    /// It shares the task of an earlier one.
    Shares(TaskId),
}

/// What becomes of a task that has its arguments.
enum Prepared {
    Waits(Args, Option<Arc<Key>>),
    /// It shares an earlier one, with that priority.
    Shares(TaskId, i32),
}

impl Core {
    fn submit(
        &mut self,
        now: Instant,
        mut request: Request<'_>,
        handle: Handle,
        effects: &mut Effects,
    ) -> Result<(WaiterId, TaskId), Error> {
        let (function, options) = (request.function, request.options);
        // One that is refused has been seen all the same: others leave a slot to it.
        let tenant = self.placement.seen(options.tenant.as_ref(), options.weight, now);
        self.placement.forgotten().for_each(|tenant| self.ledger.book.forget(tenant));
        request.steady_ns = self.steady_ns(now, function);
        self.meets(function);
        match self.admit(now, &request, tenant) {
            Err(error) => {
                self.ledger.refused(function, tenant);
                // It counts as one that waits, or from none nobody would ever be let in.
                if error.is_overloaded() && self.follow_load(now, 1) {
                    self.pump(now, effects);
                }
                Err(self.refuse(function, options, error))
            }
            Ok(Taken::Shares(task)) => {
                let (waiter, place) = self.ledger.join(now, task, options, handle);
                self.raise(task, place, options.priority);
                Ok((waiter, task))
            }
            Ok(Taken::New(key)) => {
                let place = self.placement.place(options.priority, tenant);
                let (waiter, task, queued) = self.ledger.insert(now, request, key, place, handle);
                match queued {
                    Some(queued) => {
                        self.placement.enqueue(place, queued);
                        self.pump(now, effects);
                    }
                    None => self.placement.prepare(place),
                }
                Ok((waiter, task))
            }
        }
    }

    /// A task gets a better priority, for one who shares it asks for that.
    fn raise(&mut self, task: TaskId, place: Option<QueuePlace>, priority: i32) {
        if let Some(place) = place {
            let better = self.placement.promote(place, priority);
            self.ledger.replaced(task, better);
        }
    }

    /// A task has its arguments, or ends. It is asked again what could not be known without
    /// them: whether they are quarantined, share a task, and fit into the queue.
    fn prepared(
        &mut self,
        now: Instant,
        id: TaskId,
        prepared: Result<(Request<'_>, Option<Arc<Key>>), Error>,
        effects: &mut Effects,
    ) {
        let Some(task) = self.ledger.preparing(id) else { return };
        let tenant = task.place().tenant;
        let taken = prepared.and_then(|(request, key)| {
            let Request { function, args, options, .. } = request;
            let args = args.unwrap_or_else(|| Vec::new().into());
            if let Some(error) = self.quarantined(now, function, &args.payload) {
                return Err(error);
            }
            let shared = key.as_ref().map_or(Ok(None), |key| self.ledger.shared(key, Some(id)));
            let shared = shared.map_err(|bound| self.overloaded(now, bound, options, tenant))?;
            if let Some(other) = shared {
                return Ok(Prepared::Shares(other, options.priority));
            }
            let over = self.ledger.over(args.len()).filter(|_| {
                // As in `admit`: who waited for room, or finds an idle worker, needs none.
                !options.found_room && !self.placement.may_start(tenant, now)
            });
            match over {
                Some(bound) => Err(self.overloaded(now, bound, options, tenant)),
                None => Ok(Prepared::Waits(args, key)),
            }
        });
        let next = match taken {
            Ok(Prepared::Waits(args, key)) => self.ledger.prepared(id, args, key),
            Ok(Prepared::Shares(other, priority)) => {
                let (next, place) = self.ledger.merge(id, other);
                self.raise(other, place, priority);
                next
            }
            Err(error) => self.ledger.failed(id, error, None, &mut effects.settled),
        };
        self.apply(next);
    }

    /// How a submit is taken, or why it is refused.
    fn admit(
        &mut self,
        now: Instant,
        request: &Request<'_>,
        tenant: TenantId,
    ) -> Result<Taken, Error> {
        let Request { function, args, options, .. } = request;
        if let Some(args) = args
            && let Some(error) = self.quarantined(now, function, &args.payload)
        {
            return Err(error);
        }
        let key = Key::of(request).map(Arc::new);
        let shared = key.as_ref().map_or(Ok(None), |key| self.ledger.shared(key, None));
        if let Some(task) = shared.map_err(|bound| self.overloaded(now, bound, options, tenant))? {
            return Ok(Taken::Shares(task));
        }
        // Whoever waited for room, or finds an idle worker, needs no place in the queue.
        if !options.found_room && !self.placement.may_start(tenant, now) {
            let claim = self.admission.claim(now, options.tenant.as_ref());
            let bytes = self.ledger.asks_for(request, key.as_deref());
            let full = self.ledger.full(bytes, claim.part);
            let full = full.or_else(|| self.starts_too_late(options, now));
            let who = (tenant, options.priority);
            let full = full.or_else(|| self.placement.full(who, claim.part, now));
            self.admission.settle(&claim, full.is_none());
            if let Some(bound) = full {
                return Err(self.overloaded(now, bound, options, tenant));
            }
        }
        Ok(Taken::New(key))
    }

    /// A submit is not admitted. It counts as refused if its engine takes no more.
    fn turn_away(
        &mut self,
        now: Instant,
        function: &'static Function,
        options: &Options,
        error: Error,
    ) -> Error {
        if !error.is_overloaded() {
            return error;
        }
        let tenant = self.placement.seen(options.tenant.as_ref(), options.weight, now);
        self.ledger.refused(function, tenant);
        self.refuse(function, options, error)
    }

    /// A look for the answer of a task that has just been submitted.
    fn spin(&self, id: TaskId) -> Option<Spin> {
        if !self.engine.spins(self.ledger.owed()) {
            return None;
        }
        self.engine.spin(self.ledger.task(id)?.slot()?)
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
        let who = (tenant, options.priority);
        let ahead = self.placement.ahead(who, bound, self.ledger.queued(), now);
        let retry_after = match bound {
            Bound::Sharers(_) | Bound::Start { .. } => ahead.soonest.max(Duration::from_millis(1)),
            _ => self.admission.promise(now, options.tenant.as_ref(), ahead),
        };
        Error::new(Repr::Overloaded { retry_after, bound })
    }

    /// How much of its time a task of a function must have left to be worth a start. It is
    /// half of what it takes, where that is known.
    pub(super) fn needs(&self, now: Instant, function: &Function) -> Duration {
        Duration::from_nanos(self.steady_ns(now, function).map_or(0, NonZeroU64::get) / 2)
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
