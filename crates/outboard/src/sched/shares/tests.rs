//! Whose turn it is, by simulation and case by case; what others check.

use proptest::prelude::*;

use super::*;

impl Shares {
    /// All tasks that wait, each with its place.
    pub(crate) fn waits(&self) -> impl Iterator<Item = (QueuePlace, TaskId)> {
        self.classes.iter().flat_map(|(Reverse(priority), class)| {
            class.queues.iter().flat_map(|(tenant, line)| {
                line.tasks().map(|(order, queued)| {
                    let place = QueuePlace { priority: *priority, tenant: *tenant, order };
                    (place, queued.task)
                })
            })
        })
    }

    /// The tenants that have tasks waiting.
    pub(crate) fn backlogged(&self) -> impl Iterator<Item = TenantId> {
        self.classes.values().flat_map(|class| class.queues.keys().copied())
    }

    /// Re-checks that turns, queues and counts agree.
    pub(crate) fn check_invariants(&self) {
        assert_eq!(self.waiting, self.waits().count());
        let without_slot = self.tenants.iter().filter(|(_, one)| one.waits_without_a_slot());
        assert_eq!(self.without_slot, without_slot.count());
        for (priority, class) in &self.classes {
            assert_eq!(class.turns.len(), class.queues.len());
            for (virtual_time, id) in &class.turns {
                let tenant = &self.tenants[id.index()];
                assert_eq!(tenant.virtual_time, *virtual_time, "a turn is out of date");
                assert!(tenant.classes.contains(&priority.0));
                let line = &class.queues[id];
                assert!(!line.is_empty());
                assert!(tenant.tasks >= line.len());
                let mut work = Backlog::default();
                line.tasks().for_each(|(_, queued)| work.add(queued));
                assert_eq!(line.work, work);
            }
        }
    }
}

fn task(number: u32) -> Queued {
    let (task, submitted) = (TaskId::for_test(number), Instant::now());
    Queued {
        task,
        bytes: 0,
        submitted: submitted.into(),
        hurried: false,
        steady_ns: None,
        batch: None,
    }
}

fn name(number: usize) -> Arc<str> {
    format!("tenant {number}").into()
}

/// Tenants that always have tasks waiting, and workers that are never idle.
struct Simulation {
    shares: Shares,
    start: Instant,
    tenants: Vec<TenantId>,
    weights: Vec<u32>,
    /// Worker time that each tenant has used, in nanoseconds.
    used: Vec<u64>,
    /// When each worker's task started and ends, and whose it is.
    running: Vec<(u64, u64, usize)>,
    longest: u64,
}

const ESTIMATE: i128 = 1_000;

impl Simulation {
    fn new(weights: &[u32]) -> Self {
        let (mut shares, start) = (Shares::new(usize::MAX), Instant::now());
        let tenants: Vec<_> = (0..weights.len())
            .map(|number| shares.seen(Some(&name(number)), weights[number], start))
            .collect();
        for (number, tenant) in (0..).zip(&tenants) {
            for _ in 0..2 {
                let place = shares.place(0, *tenant);
                shares.enqueue(place, task(number));
            }
        }
        let used = vec![0; weights.len()];
        let weights = weights.to_vec();
        Self { shares, start, tenants, weights, used, running: vec![], longest: 0 }
    }

    fn start_one(&mut self, now: u64, length: impl Fn(usize) -> u64) {
        let (place, queued, ()) =
            self.shares.take(self.start, |_, _, _| Some(())).expect("a backlog");
        let who = self.tenants.iter().position(|one| *one == place.tenant).unwrap();
        self.shares.charge(place.tenant, ESTIMATE);
        let next = self.shares.place(0, place.tenant);
        self.shares.enqueue(next, queued);
        let length = length(who);
        self.longest = self.longest.max(length);
        self.running.push((now, now + length, who));
        self.shares.check_invariants();
    }

    /// Ends the task that ends first; gives the time.
    fn end_one(&mut self) -> u64 {
        let first = (0..self.running.len()).min_by_key(|at| self.running[*at].1).unwrap();
        let (start, end, who) = self.running.swap_remove(first);
        self.used[who] += end - start;
        self.shares.charge(self.tenants[who], i128::from(end - start) - ESTIMATE);
        // The task is no longer owed, and its slot is through with it.
        self.shares.released(self.tenants[who]);
        self.shares.released(self.tenants[who]);
        end
    }

    /// How far the tenant that is furthest behind is from its share, in
    /// units of the longest task.
    fn worst_lag(&self, now: u64) -> f64 {
        let mut used = self.used.clone();
        for (start, _, who) in &self.running {
            used[*who] += now - start;
        }
        let total: u64 = used.iter().sum();
        let weight: u32 = self.weights.iter().sum();
        let share = |who: usize| total as f64 * f64::from(self.weights[who]) / f64::from(weight);
        let lag = (0..used.len()).map(|who| share(who) - used[who] as f64);
        lag.fold(0.0, f64::max) / self.longest as f64
    }
}

proptest! {
    #[test]
    fn no_backlogged_tenant_falls_more_than_workers_plus_one_longest_tasks_behind(
        weights in prop::collection::vec(1..5_u32, 2..6),
        workers in 1..5_usize,
        lengths in prop::collection::vec(1..1_000_000_u64, 300),
        skew in 0..6_usize,
    ) {
        let mut simulation = Simulation::new(&weights);
        let mut now = 0;
        for (step, length) in lengths.iter().enumerate() {
            // One tenant's tasks may be far longer than the others'.
            let length = |who: usize| if who == skew { *length } else { length / 50 + 1 };
            while simulation.running.len() < workers {
                simulation.start_one(now, length);
            }
            now = simulation.end_one();
            let lag = simulation.worst_lag(now);
            prop_assert!(lag <= workers as f64 + 1.0, "behind by {lag} after {step} tasks");
        }
    }
}

/// Tenants that come with some tasks, run out of them, and come back.
struct Visits {
    shares: Shares,
    start: Instant,
    /// Their weights; what each has waiting, the length of its tasks, and what it
    /// has had and was due since it last had nothing waiting.
    tenants: Vec<Visitor>,
    /// When each worker's task started and ends, and whose it is.
    running: Vec<(u64, u64, usize)>,
    workers: usize,
    now: u64,
    longest: u64,
}

struct Visitor {
    id: TenantId,
    weight: u32,
    waiting: VecDeque<u64>,
    had: f64,
    due: f64,
}

impl Visits {
    fn new(weights: &[u32], workers: usize) -> Self {
        let (mut shares, start) = (Shares::new(usize::MAX), Instant::now());
        let visitor = |(number, weight): (usize, &u32)| Visitor {
            id: shares.seen(Some(&name(number)), *weight, start),
            weight: *weight,
            waiting: VecDeque::new(),
            had: 0.0,
            due: 0.0,
        };
        let tenants = weights.iter().enumerate().map(visitor).collect();
        // What is charged at first is the mean of tasks, so one was as long.
        let longest = ESTIMATE as u64;
        Self { shares, start, tenants, running: vec![], workers, now: 0, longest }
    }

    /// A tenant submits tasks of these lengths.
    fn come(&mut self, who: usize, lengths: impl Iterator<Item = u64>) {
        let id = self.shares.seen(Some(&name(who)), self.tenants[who].weight, self.start);
        let visitor = &mut self.tenants[who];
        visitor.id = id;
        if visitor.waiting.is_empty() {
            (visitor.had, visitor.due) = (0.0, 0.0);
        }
        for length in lengths {
            self.longest = self.longest.max(length);
            let place = self.shares.place(0, id);
            self.shares.enqueue(place, task(who as u32));
            visitor.waiting.push_back(length);
        }
        self.fill();
    }

    /// No worker is idle while a task waits.
    fn fill(&mut self) {
        while self.running.len() < self.workers {
            let Some((place, _, ())) = self.shares.take(self.start, |_, _, _| Some(())) else {
                break;
            };
            self.shares.charge(place.tenant, ESTIMATE);
            let who = self.tenants.iter().position(|one| one.id == place.tenant).unwrap();
            let length = self.tenants[who].waiting.pop_front().expect("it waits there too");
            self.running.push((self.now, self.now + length, who));
        }
        self.shares.check_invariants();
    }

    /// Lets time pass to a moment before which no task ends.
    fn pass(&mut self, until: u64) {
        let present = |who: usize, one: &Visitor| {
            !one.waiting.is_empty() || self.running.iter().any(|(.., owner)| *owner == who)
        };
        let there: Vec<bool> =
            self.tenants.iter().enumerate().map(|(who, one)| present(who, one)).collect();
        let weights = self.tenants.iter().zip(&there).filter(|(_, there)| **there);
        let weights: u32 = weights.map(|(one, _)| one.weight).sum();
        let took = (until - self.now) as f64;
        for (who, visitor) in self.tenants.iter_mut().enumerate().filter(|(who, _)| there[*who]) {
            let held = self.running.iter().filter(|(.., owner)| *owner == who).count();
            visitor.had += took * held as f64;
            let used = took * self.running.len() as f64;
            visitor.due += used * f64::from(visitor.weight) / f64::from(weights);
        }
        self.now = until;
    }

    /// Ends the task that ends first, if it does so before a moment.
    fn end_one(&mut self, before: u64) -> bool {
        let first = (0..self.running.len()).min_by_key(|at| self.running[*at].1);
        let Some(first) = first.filter(|first| self.running[*first].1 <= before) else {
            return false;
        };
        self.pass(self.running[first].1);
        let (start, end, who) = self.running.swap_remove(first);
        let id = self.tenants[who].id;
        self.shares.charge(id, i128::from(end - start) - ESTIMATE);
        self.shares.released(id);
        self.shares.released(id);
        self.fill();
        true
    }

    /// How far it may be behind. Beside the longest tasks, an estimate on each side: a task that
    /// runs is charged no more, the tenant's own and that of one who comes.
    fn most_lag(&self) -> f64 {
        self.workers as f64 + 1.0 + 2.0 * ESTIMATE as f64 / self.longest as f64
    }

    /// How far the tenant with tasks waiting that is furthest behind is from its
    /// share, in units of the longest task.
    fn worst_lag(&self) -> f64 {
        let backlogged = self.tenants.iter().filter(|one| !one.waiting.is_empty());
        backlogged.map(|one| one.due - one.had).fold(0.0, f64::max) / self.longest as f64
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn the_bound_holds_for_tenants_that_come_and_go(
        weights in prop::collection::vec(1..5_u32, 2..6),
        workers in 1..5_usize,
        visits in prop::collection::vec(
            (any::<prop::sample::Index>(), 0..3_000_u64, 1..20_usize, 0..4_u32, 1..100_u64),
            1..80,
        ),
    ) {
        let mut simulation = Visits::new(&weights, workers);
        for (who, pause, tasks, magnitude, length) in visits {
            // From far shorter to far longer than what is charged at first.
            let length = length * 10_u64.pow(magnitude);
            let lengths = (0..tasks as u64).map(|n| 1 + length * (n % 3 + 1) / 3);
            simulation.come(who.index(weights.len()), lengths);
            let until = simulation.now + pause * 10_u64.pow(magnitude) / 10;
            while simulation.end_one(until) {
                let lag = simulation.worst_lag();
                prop_assert!(lag <= simulation.most_lag(), "behind by {lag}");
            }
            simulation.pass(until.max(simulation.now));
            let lag = simulation.worst_lag();
            prop_assert!(lag <= simulation.most_lag(), "behind by {lag}");
        }
        while simulation.end_one(u64::MAX) {
            let lag = simulation.worst_lag();
            prop_assert!(lag <= simulation.most_lag(), "behind by {lag}");
        }
        prop_assert_eq!(simulation.shares.waiting(), 0);
    }
}

#[test]
fn a_tenant_that_was_idle_has_no_credit() {
    let (mut shares, now) = (Shares::new(usize::MAX), Instant::now());
    let (busy, idle) = (name(1), name(2));
    shares.seen(Some(&idle), 1, now);
    let tenant = shares.seen(Some(&busy), 1, now);
    for number in 0..4 {
        let place = shares.place(0, tenant);
        shares.enqueue(place, task(number));
    }
    shares.take(now, |_, _, _| Some(()));
    shares.charge(tenant, 5_000_000_000);
    shares.take(now, |_, _, _| Some(()));
    let back = shares.seen(Some(&idle), 1, now);
    for number in 10..14 {
        let place = shares.place(0, back);
        shares.enqueue(place, task(number));
    }
    let mut order = Vec::new();
    while let Some((place, queued, ())) = shares.take(now, |_, _, _| Some(())) {
        shares.charge(place.tenant, 1_000);
        order.push(queued.task);
    }
    let numbers = [2, 10, 3, 11, 12, 13].map(TaskId::for_test);
    let swapped = [10, 2, 11, 3, 12, 13].map(TaskId::for_test);
    assert!(order == numbers || order == swapped, "{order:?}");
}

#[test]
fn a_tenant_long_gone_costs_nothing() {
    let (mut shares, now) = (Shares::new(usize::MAX), Instant::now());
    for number in 0..1_000 {
        shares.seen(Some(&name(number)), 1, now);
    }
    assert_eq!(shares.tenants.len(), 1_000);
    for _ in 0..1_000 / FORGOTTEN_AT_ONCE + 1 {
        shares.seen(None, 1, now + REMEMBERED);
    }
    assert_eq!((shares.tenants.len(), shares.names.len()), (1, 0));
}

#[test]
fn others_count_while_they_are_remembered() {
    let (mut shares, now) = (Shares::new(usize::MAX), Instant::now());
    let first = shares.seen(Some(&name(1)), 1, now);
    assert!(!shares.contested(first, now));
    shares.seen(Some(&name(2)), 1, now);
    shares.seen(Some(&name(1)), 1, now + REMEMBERED / 2);
    assert!(shares.contested(first, now + REMEMBERED / 2));
    assert!(!shares.contested(first, now + REMEMBERED));
}

/// Takes all that waits; gives the tasks, and whose each was, in order.
fn drained(shares: &mut Shares, now: Instant) -> Vec<(TenantId, TaskId)> {
    let mut order = Vec::new();
    while let Some((place, queued, ())) = shares.take(now, |_, _, _| Some(())) {
        shares.charge(place.tenant, 1_000);
        order.push((place.tenant, queued.task));
        shares.check_invariants();
    }
    order
}

proptest! {
    #[test]
    fn newest_first_loses_no_task_and_takes_no_share(
        tenants in prop::collection::vec(0..4_usize, 1..60),
        above in 0..12_usize,
        waited_ms in 0..300_u64,
        hurried in prop::collection::vec(any::<bool>(), 60),
    ) {
        let submitted = Instant::now();
        let now = submitted + Duration::from_millis(waited_ms);
        let fill = |above| {
            let mut shares = Shares::new(above);
            for (number, (who, hurried)) in (0..).zip(tenants.iter().zip(&hurried)) {
                let tenant = shares.seen(Some(&name(*who)), 1, submitted);
                let place = shares.place(0, tenant);
                shares.enqueue(place, Queued { submitted: submitted.into(), hurried: *hurried, ..task(number) });
            }
            shares
        };
        let newest = drained(&mut fill(above), now);
        let oldest = drained(&mut fill(usize::MAX), now);
        let whose = |order: &[(TenantId, TaskId)]| order.iter().map(|one| one.0).collect::<Vec<_>>();
        prop_assert_eq!(whose(&newest), whose(&oldest), "the turns of tenants are the same");
        let sorted = |mut order: Vec<_>| { order.sort_unstable(); order };
        prop_assert_eq!(sorted(newest.clone()), sorted(oldest.clone()), "no task is lost");
        let most = (0..4).map(|who| tenants.iter().filter(|one| **one == who).count()).max();
        let patient = waited_ms <= LIFO_AFTER.as_millis() as u64 || most <= Some(above);
        prop_assert!(!patient || newest == oldest, "first in, first out below");
    }
}

#[test]
fn newest_goes_first_while_too_many_wait_for_too_long() {
    let (mut shares, submitted) = (Shares::new(2), Instant::now());
    let tenant = shares.seen(None, 1, submitted);
    for number in 1..=5 {
        let place = shares.place(0, tenant);
        shares
            .enqueue(place, Queued { submitted: submitted.into(), hurried: true, ..task(number) });
    }
    let order = drained(&mut shares, submitted + 2 * LIFO_AFTER);
    assert_eq!(
        order.into_iter().map(|one| one.1).collect::<Vec<_>>(),
        [5, 4, 3, 1, 2].map(TaskId::for_test)
    );
}

/// The order in which tasks of priorities 5 and 0 go, if the first of 0 comes first and one
/// of 5 with each start; one start takes a second.
fn starts_until_the_low_one(ageing: Option<Duration>) -> Option<usize> {
    let (mut shares, start) = (Shares::new(usize::MAX).ageing(ageing), Instant::now());
    let tenant = shares.seen(None, 1, start);
    let enqueue = |shares: &mut Shares, number, priority, at: Instant| {
        let place = shares.place(priority, tenant);
        shares.enqueue(place, Queued { submitted: at.into(), ..task(number) });
    };
    enqueue(&mut shares, 0, 0, start);
    (1..100)
        .find(|second| {
            let now = start + Duration::from_secs(u64::from(*second));
            enqueue(&mut shares, *second, 5, now);
            let (_, queued, ()) = shares.take(now, |_, _, _| Some(())).unwrap();
            queued.task == TaskId::for_test(0)
        })
        .map(|second| second as usize)
}

#[test]
fn a_low_priority_waits_for_ever_unless_it_ages() {
    assert_eq!(starts_until_the_low_one(None), None);
    // Five priorities below, it has waited for more than five steps of two seconds.
    assert_eq!(starts_until_the_low_one(Some(Duration::from_secs(2))), Some(11));
}
