//! Simulates clients that come faster than the workers can serve them, through
//! the real gate and in simulated time: whoever comes back when it was told to
//! is admitted.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::{Duration, Instant};

use super::*;
use crate::sched::ledger::{Bounds, Options};
use crate::sched::placement::Rules;
use crate::task::outcome::Usage;
use tokio::sync::oneshot::error::TryRecvError;

const WORKERS: usize = 4;

/// Who comes, and what they want.
#[derive(Clone, Copy)]
struct Load {
    arrivals: Arrivals,
    queue_tasks: usize,
    rules: Rules,
    /// Each client is a tenant of its own.
    tenants: bool,
    /// By up to which part of `retry_after` clients are late.
    late: f64,
    service_ms: Service,
}

#[derive(Clone, Copy)]
enum Arrivals {
    /// So many clients, each of which submits again when it has its result, and
    /// comes back after each refusal.
    Closed(usize),
    /// They come at random, so many times faster than the workers can serve for
    /// so many tasks; refused ones come back once.
    Open { load: f64, tasks: usize },
}

/// A generator of random numbers, always the same ones.
struct Random(u64);

impl Random {
    /// Above 0, up to 1.
    fn unit(&mut self) -> f64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 11) + 1) as f64 / (1_u64 << 53) as f64
    }

    fn exponential(&mut self, mean: f64) -> f64 {
        -mean * self.unit().ln()
    }
}

fn exponential(random: &mut Random) -> f64 {
    random.exponential(10.0)
}

/// Mostly short, now and then long; 10 ms in the mean.
fn bimodal(random: &mut Random) -> f64 {
    if random.unit() < 0.1 { 55.0 } else { 5.0 }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrive { client: usize, returns: bool },
    End { worker: usize },
}

struct Simulation {
    load: Load,
    model: Model,
    gate: Arc<Gate>,
    slots: Vec<SlotId>,
    running: [Option<Duration>; WORKERS],
    random: Random,
    start: Instant,
    now: Instant,
    events: BinaryHeap<Reverse<(Instant, Event)>>,
    waiting: Vec<(usize, Ticket)>,
    /// How many came back, and how many of those were admitted.
    returned: u64,
    admitted: u64,
    served: u64,
}

impl Simulation {
    fn new(load: Load) -> Self {
        let (model, now) = (Model::default(), Instant::now());
        let queue = Bounds { tasks: load.queue_tasks, bytes: 1 << 20 };
        let limits = Limits {
            queue,
            payload: 100,
            tenants: load.rules,
            tenant_kills: None,
            quarantine: None,
        };
        let gate =
            Gate::new(limits, Strength::new(WORKERS, 0), Box::new(model.clone()), &Member::alone());
        let slots = (0..WORKERS).map(|_| model.up(&gate, now)).collect();
        Self {
            load,
            model,
            gate,
            slots,
            running: [None; WORKERS],
            random: Random(0x9e37_79b9_7f4a_7c15),
            start: now,
            now,
            events: BinaryHeap::new(),
            waiting: Vec::new(),
            returned: 0,
            admitted: 0,
            served: 0,
        }
    }

    fn at(&mut self, after_ms: f64, event: Event) {
        let at = self.now + Duration::from_secs_f64(after_ms / 1e3);
        self.events.push(Reverse((at, event)));
    }

    fn run(mut self, events: usize) -> Self {
        match self.load.arrivals {
            Arrivals::Closed(clients) => (0..clients).for_each(|client| {
                self.at(client as f64 / 100.0, Event::Arrive { client, returns: false });
            }),
            Arrivals::Open { load, tasks } => {
                let mut at = 0.0;
                for client in 0..tasks {
                    at += self.random.exponential(10.0 / WORKERS as f64 / load);
                    self.at(at, Event::Arrive { client, returns: false });
                }
            }
        }
        for _ in 0..events {
            let Some(Reverse((now, event))) = self.events.pop() else { break };
            self.now = now;
            match event {
                Event::Arrive { client, returns } => self.arrive(client, returns),
                Event::End { worker } => self.end(worker),
            }
            self.start_what_was_sent();
            self.gate.lock().check_invariants(self.now);
        }
        self
    }

    fn arrive(&mut self, client: usize, returns: bool) {
        let tenant = self.load.tenants.then(|| format!("client {client}").into());
        let options = Options { tenant, weight: 1, ..Options::default() };
        let function = test_function(|x: u8| x);
        let result = self.gate.submit_at(self.now, function, Some(vec![0].into()), &options);
        self.returned += u64::from(returns);
        match result {
            Ok(ticket) => {
                self.admitted += u64::from(returns);
                self.waiting.push((client, ticket));
            }
            Err(error) => {
                let after_ms = error.retry_after().expect("overloaded").as_secs_f64() * 1e3;
                let after_ms = after_ms * (1.0 + self.random.unit() * self.load.late);
                if !returns || matches!(self.load.arrivals, Arrivals::Closed(_)) {
                    self.at(after_ms, Event::Arrive { client, returns: true });
                }
            }
        }
    }

    fn end(&mut self, worker: usize) {
        let run_ns = self.running[worker].take().expect("it ran").as_nanos() as u64;
        let slot = self.slots[worker];
        let sent = self.model.with(slot, |worker| worker.sent.pop_front()).expect("it ran");
        self.gate.report_at(self.now, |reports| {
            let usage = Usage { run_ns, ..Usage::default() };
            reports.finished(slot, (sent.task, sent.attempt), Ok(vec![0].into()), (usage, worker));
        });
        let mut ended = Vec::new();
        self.waiting.retain_mut(|(client, ticket)| match ticket.receiver.try_recv() {
            Err(TryRecvError::Empty) => true,
            _ => {
                ended.push(*client);
                false
            }
        });
        self.served += ended.len() as u64;
        if matches!(self.load.arrivals, Arrivals::Closed(_)) {
            ended.into_iter().for_each(|client| {
                self.at(0.1, Event::Arrive { client, returns: false });
            });
        }
    }

    fn start_what_was_sent(&mut self) {
        for worker in 0..WORKERS {
            let slot = self.slots[worker];
            while self.running[worker].is_none() {
                let front = self.model.with(slot, |worker| {
                    let front = worker.sent.front_mut()?;
                    let (task, revoked) = (front.task, front.state == Progress::Revoked);
                    if revoked {
                        worker.sent.pop_front();
                    } else {
                        front.state = Progress::Running;
                    }
                    Some((task, revoked))
                });
                match front {
                    None => break,
                    Some((task, true)) => {
                        self.gate.report_at(self.now, |reports| reports.skipped(slot, task));
                    }
                    Some((_, false)) => {
                        let ms = (self.load.service_ms)(&mut self.random);
                        self.running[worker] = Some(Duration::from_secs_f64(ms / 1e3));
                        self.at(ms, Event::End { worker });
                    }
                }
            }
        }
    }

    /// The part of those that came back that was admitted.
    fn admitted(&self) -> f64 {
        assert!(self.returned > 200, "only {} came back", self.returned);
        self.admitted as f64 / self.returned as f64
    }

    /// The part of the workers' time that was used.
    fn used(&self) -> f64 {
        let elapsed_ms = self.now.duration_since(self.start).as_secs_f64() * 1e3;
        self.served as f64 * 10.0 / WORKERS as f64 / elapsed_ms
    }
}

/// How long tasks run, in milliseconds.
type Service = fn(&mut Random) -> f64;

const SERVICES: [(&str, Service); 2] = [("exponential", exponential), ("bimodal", bimodal)];

const CLOSED: Load = Load {
    arrivals: Arrivals::Closed(200),
    queue_tasks: 12,
    rules: Rules {
        tenant_limit: usize::MAX,
        reserve: true,
        tenant_queue: usize::MAX,
        max_wait: None,
        lifo_above: usize::MAX,
        ageing: None,
        ahead: true,
    },
    tenants: false,
    late: 0.0,
    service_ms: exponential,
};

fn holds(name: &str, load: Load) {
    let simulation = Simulation::new(load).run(20_000);
    let (admitted, used) = (simulation.admitted(), simulation.used());
    assert!(admitted >= 0.9, "{name}: {admitted:.3} of {}", simulation.returned);
    if matches!(load.arrivals, Arrivals::Closed(_)) {
        assert!(used > 0.85, "{name}: promises cost capacity: {used:.3}");
    }
}

#[test]
fn of_clients_that_come_back_nine_in_ten_are_admitted() {
    for (name, service_ms) in SERVICES {
        let load = Load { service_ms, ..CLOSED };
        holds(name, load);
        let rules = Rules { max_wait: Some(Duration::from_millis(60)), ..CLOSED.rules };
        holds("by wait", Load { rules, queue_tasks: 10_000, ..load });
        let rules = Rules { tenant_queue: 12, ..CLOSED.rules };
        holds("by tenant", Load { rules, queue_tasks: 10_000, ..load });
    }
}

#[test]
fn late_clients_are_recognised_by_their_tenant() {
    for (name, service_ms) in SERVICES {
        let load = Load { service_ms, tenants: true, ..CLOSED };
        holds(name, load);
        holds("late", Load { late: 0.2, ..load });
    }
}

#[test]
fn at_any_load_those_who_come_back_once_are_admitted() {
    for percent in [90, 100, 110, 125, 150] {
        for (name, service_ms) in SERVICES {
            let arrivals = Arrivals::Open { load: f64::from(percent) / 100.0, tasks: 12_000 };
            let name = format!("{name} at {percent} %");
            holds(&name, Load { arrivals, service_ms, queue_tasks: 8, ..CLOSED });
        }
    }
}
