//! Who is woken when the queue has room again, and how often the gate's mutex is taken
//! for that.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::AtomicBool;
use std::task::{Context, Wake, Waker};

use proptest::prelude::*;

use super::*;
use crate::sched::ledger::Options;
use crate::sched::placement::Rules;

/// A gate with one worker, and callers who wait for room.
struct Crowd {
    gate: Arc<Gate>,
    model: Model,
    slot: SlotId,
    now: Instant,
    callers: Vec<Caller>,
    tickets: Vec<Ticket>,
}

type Ready = Pin<Box<dyn Future<Output = Result<(), Error>>>>;

struct Caller {
    waits: Option<Ready>,
    woken: Arc<Flag>,
    /// Whether it submits when there is room.
    submits: bool,
    options: Options,
}

#[derive(Default)]
struct Flag(AtomicBool);

impl Wake for Flag {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Relaxed);
    }
}

impl Crowd {
    /// One task runs, and as many wait as may.
    fn new(tasks: usize, rules: Rules) -> Self {
        let (model, now) = (Model::default(), Instant::now());
        let limits = Limits {
            queue: Bounds { tasks, bytes: 1 << 20 },
            payload: 100,
            tenants: rules,
            tenant_kills: None,
            quarantine: None,
        };
        let gate =
            Gate::new(limits, Strength::new(1, 0), Box::new(model.clone()), &Member::alone());
        let slot = model.up(&gate, now);
        let mut crowd = Self { gate, model, slot, now, callers: Vec::new(), tickets: Vec::new() };
        // A submit that is refused would keep half of the queue for its return.
        while crowd.gate.lock().has_room_for(&Options::default(), now) {
            assert!(crowd.submit(&Options::default()));
        }
        crowd
    }

    fn submit(&mut self, options: &Options) -> bool {
        let function = test_function(|x: u8| x);
        let taken = self.gate.submit_at(self.now, function, Some(vec![0].into()), options);
        taken.map(|ticket| self.tickets.push(ticket)).is_ok()
    }

    fn enter(&mut self, options: Options, submits: bool) {
        let (gate, asks) = (self.gate.clone(), options.clone());
        let waits: Ready = Box::pin(async move { gate.ready(&asks).await });
        let woken = Arc::new(Flag(true.into()));
        self.callers.push(Caller { waits: Some(waits), woken, submits, options });
    }

    /// Polls a caller that was woken; whether it has gone on.
    fn poll(&mut self, at: usize) {
        let caller = &mut self.callers[at];
        let (woken, waits) = (caller.woken.clone(), caller.waits.as_mut());
        let Some(waits) = waits.filter(|_| woken.0.swap(false, Relaxed)) else { return };
        let polled = waits.as_mut().poll(&mut Context::from_waker(&Waker::from(woken)));
        if polled.is_ready() {
            caller.waits = None;
            if caller.submits {
                let options = caller.options.clone();
                self.submit(&options);
            }
        }
    }

    /// Until nobody is woken any more.
    fn settle(&mut self) {
        while let Some(at) =
            self.callers.iter().position(|one| one.waits.is_some() && one.woken.0.load(Relaxed))
        {
            self.poll(at);
        }
    }

    fn waiting(&self) -> usize {
        self.callers.iter().filter(|one| one.waits.is_some()).count()
    }

    /// The worker ends the task that it has.
    fn end_one(&mut self) -> bool {
        let Some(sent) = self.model.with(self.slot, |worker| worker.sent.pop_front()) else {
            return false;
        };
        self.gate.report_at(self.now, |reports| {
            let usage = Usage { run_ns: 10_000_000, ..Usage::default() };
            let attempt = (sent.task, sent.attempt);
            reports.finished(self.slot, attempt, Ok(vec![0].into()), (usage, 1));
        });
        true
    }

    /// How often callers have taken the mutex since this was asked last.
    fn looks(&self) -> usize {
        self.gate.looks.swap(0, Relaxed)
    }
}

fn tenant(name: u8) -> Options {
    Options { tenant: (name > 0).then(|| name.to_string().into()), ..Options::default() }
}

#[test]
fn a_report_that_makes_no_room_wakes_nobody() {
    let mut crowd = Crowd::new(4, Rules::default());
    (0..1_000).for_each(|_| crowd.enter(Options::default(), true));
    crowd.settle();
    assert_eq!((crowd.looks(), crowd.waiting()), (1_000, 1_000));
    for _ in 0..10 {
        crowd.gate.report_at(crowd.now, |_| {});
        crowd.settle();
    }
    assert_eq!((crowd.looks(), crowd.waiting()), (0, 1_000));
}

#[test]
fn one_place_wakes_two_and_not_all() {
    let mut crowd = Crowd::new(4, Rules::default());
    (0..1_000).for_each(|_| crowd.enter(Options::default(), true));
    crowd.settle();
    crowd.looks();
    for left in (0..1_000).rev() {
        assert!(crowd.end_one());
        crowd.settle();
        assert_eq!(crowd.waiting(), left);
        let looks = crowd.looks();
        assert!(looks <= 2, "{looks} looks for one place");
    }
}

#[test]
fn a_call_is_not_lost_with_a_caller_that_is_dropped_or_does_not_submit() {
    let mut crowd = Crowd::new(4, Rules::default());
    (0..100).for_each(|number| crowd.enter(Options::default(), number >= 50));
    crowd.settle();
    assert!(crowd.end_one());
    let called = crowd.callers.iter().position(|one| one.woken.0.load(Relaxed));
    crowd.callers.remove(called.expect("there is a place"));
    crowd.settle();
    assert_eq!(crowd.waiting(), 49, "all but one of those who submit");
}

#[test]
fn a_call_is_not_lost_with_a_caller_that_finds_no_room() {
    let mut crowd = Crowd::new(3, Rules { tenant_queue: 2, ..Rules::default() });
    // The third that waits goes last, so the next end makes room for the first tenant.
    assert!(crowd.submit(&Options { priority: -1, ..tenant(1) }));
    let third = crowd.tickets.pop().expect("it was taken").waiter;
    crowd.enter(tenant(0), false);
    crowd.enter(tenant(3), true);
    crowd.settle();
    assert!(crowd.end_one());
    let woken: Vec<_> = crowd.callers.iter().map(|one| one.woken.0.load(Relaxed)).collect();
    assert_eq!(woken, [true, false], "one place, one call");
    // Before that one looks, its tenant is full again, and the place is another one's.
    assert!(crowd.submit(&tenant(0)));
    crowd.gate.cancel_at(crowd.now, third);
    crowd.settle();
    let waits: Vec<_> = crowd.callers.iter().map(|one| one.waits.is_some()).collect();
    assert_eq!(waits, [true, false]);
}

#[test]
fn callers_that_never_look_keep_nobody_from_an_idle_worker() {
    let mut crowd = Crowd::new(2, Rules::default());
    (0..10).for_each(|_| crowd.enter(Options::default(), true));
    crowd.settle();
    let (mut slow, others) = (Vec::new(), 10);
    while crowd.end_one() {
        // Whoever is called now is busy with something else.
        while let Some(at) = crowd.callers.iter().position(|one| one.woken.0.load(Relaxed)) {
            if crowd.gate.lock().placement.has_room() {
                crowd.poll(at);
                continue;
            }
            slow.push(crowd.callers.remove(at));
        }
    }
    assert!(!slow.is_empty() && slow.len() < others);
    assert_eq!(crowd.waiting(), 0, "the worker was idle and they waited");
}

#[test]
fn a_tenant_that_is_full_neither_goes_nor_keeps_others() {
    let mut crowd = Crowd::new(8, Rules { tenant_queue: 8, ..Rules::default() });
    crowd.enter(tenant(0), true);
    crowd.enter(tenant(1), true);
    crowd.settle();
    assert_eq!((crowd.waiting(), crowd.callers[0].waits.is_some()), (2, true));
    assert!(crowd.end_one());
    crowd.settle();
    assert_eq!(crowd.waiting(), 1, "one place, one of them");
}

#[derive(Clone, Debug)]
enum Event {
    Enter {
        tenant: u8,
        submits: bool,
    },
    Submit {
        tenant: u8,
    },
    /// One that was called looks.
    Poll(usize),
    /// One is dropped, called or not.
    Drop(usize),
    End,
    Nothing,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        4 => (0..4_u8, any::<bool>()).prop_map(|(tenant, submits)| Event::Enter { tenant, submits }),
        2 => (0..4_u8).prop_map(|tenant| Event::Submit { tenant }),
        6 => any::<usize>().prop_map(Event::Poll),
        3 => any::<usize>().prop_map(Event::Drop),
        4 => Just(Event::End),
        1 => Just(Event::Nothing),
    ]
}

impl Crowd {
    fn apply(&mut self, event: &Event) {
        match *event {
            Event::Enter { tenant: name, submits } => self.enter(tenant(name), submits),
            Event::Submit { tenant: name } => drop(self.submit(&tenant(name))),
            Event::Poll(at) if !self.callers.is_empty() => self.poll(at % self.callers.len()),
            Event::Drop(at) if !self.callers.is_empty() => {
                drop(self.callers.remove(at % self.callers.len()));
            }
            Event::End => drop(self.end_one()),
            Event::Nothing => self.gate.report_at(self.now, |_| {}),
            Event::Poll(_) | Event::Drop(_) => {}
        }
        self.gate.lock().check_invariants(self.now);
    }

    /// Once all who were called have looked, nobody waits although there is room.
    fn check(&mut self) {
        self.settle();
        let core = self.gate.lock();
        for caller in self.callers.iter().filter(|one| one.waits.is_some()) {
            assert!(!core.has_room_for(&caller.options, self.now), "a call was lost");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn nobody_waits_although_there_is_room(
        events in prop::collection::vec(event(), 0..80),
        often in any::<bool>(),
    ) {
        let mut crowd = Crowd::new(3, Rules { tenant_queue: 2, ..Rules::default() });
        for event in &events {
            crowd.apply(event);
            if often {
                crowd.check();
            }
        }
        crowd.check();
        while crowd.end_one() {
            crowd.check();
        }
        prop_assert_eq!(crowd.waiting(), 0);
    }
}
