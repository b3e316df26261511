//! What placement decides, case by case.

use std::cell::Cell;

use super::*;
use crate::sched::admission::Part;

thread_local! {
    /// How many slots were looked at.
    pub(super) static LOOKS: Cell<usize> = const { Cell::new(0) };
}

fn task(number: u32) -> TaskId {
    TaskId::for_test(number)
}

fn queued(number: u32, bytes: u32) -> Queued {
    let (task, submitted) = (task(number), Instant::now());
    Queued {
        task,
        bytes,
        submitted: submitted.into(),
        hurried: false,
        steady_ns: None,
        batch: None,
    }
}

/// A placement with a queue and so many slots.
fn placement(slots: usize, now: Instant) -> (Placement, Vec<SlotId>) {
    let mut placement = Placement::new(Rules::default());
    let slots = (0..slots).map(|_| placement.slot_up(now)).collect();
    (placement, slots)
}

fn enqueue(placement: &mut Placement, number: u32, priority: i32) -> QueuePlace {
    let tenant = placement.seen(None, 1, Instant::now());
    let place = placement.place(priority, tenant);
    placement.enqueue(place, queued(number, 8));
    place
}

#[test]
fn higher_priority_runs_first_then_first_in_first_out() {
    let now = Instant::now();
    let (mut placement, slots) = placement(1, now);
    for (number, priority) in [(1, 0), (2, 5), (3, 0), (4, 5)] {
        enqueue(&mut placement, number, priority);
    }
    let mut order = Vec::new();
    while let Some((next, slot)) = placement.assign(now) {
        placement.freed(slot, next, now);
        order.push(next);
    }
    assert_eq!(order, [2, 4, 1, 3].map(task));
    assert_eq!(slots.len(), 1);
}

#[test]
fn nothing_is_sent_ahead_before_run_times_are_known_or_when_they_are_long() {
    let now = Instant::now();
    let (mut placement, _) = placement(1, now);
    (0..10).for_each(|number| {
        enqueue(&mut placement, number, 0);
    });
    assert!(placement.assign(now).is_some());
    assert!(placement.assign(now).is_none(), "run times are unknown");
    placement.observed(now, 2_000_000, None);
    assert!(placement.assign(now).is_none(), "tasks run for 2 ms");
}

#[test]
fn microsecond_tasks_are_sent_ahead_unless_the_slot_is_stuck() {
    let now = Instant::now();
    let (mut placement, _) = placement(1, now);
    (0..200).for_each(|number| {
        enqueue(&mut placement, number, 0);
    });
    placement.observed(now, 1_000, None);
    let sent = std::iter::from_fn(|| placement.assign(now)).count();
    assert_eq!(sent, MAX_DEPTH);
    let (mut stuck, _) = self::placement(1, now);
    enqueue(&mut stuck, 1, 0);
    stuck.observed(now, 1_000, None);
    let later = now + 2 * STALE;
    assert!(stuck.assign(now).is_some());
    enqueue(&mut stuck, 9, 0);
    assert!(stuck.assign(later).is_none(), "no progress for {:?}", 2 * STALE);
}

#[test]
fn nothing_is_sent_ahead_to_slots_that_take_one_task() {
    let now = Instant::now();
    let mut placement = Placement::new(Rules { ahead: false, ..Rules::default() });
    placement.slot_up(now);
    (0..2).for_each(|number| {
        enqueue(&mut placement, number, 0);
    });
    placement.observed(now, 1_000, None);
    assert!(placement.assign(now).is_some());
    assert!(placement.assign(now).is_none(), "the slot has one");
}

#[test]
fn large_arguments_are_not_sent_ahead() {
    let now = Instant::now();
    let (mut placement, _) = placement(1, now);
    placement.observed(now, 1_000, None);
    for number in 0..2 {
        let tenant = placement.seen(None, 1, now);
        let place = placement.place(0, tenant);
        placement.enqueue(place, queued(number, AHEAD_BYTES as u32));
    }
    assert!(placement.assign(now).is_some());
    assert!(placement.assign(now).is_none());
}

#[test]
fn an_idle_slot_steals_the_last_task_of_the_fullest() {
    let now = Instant::now();
    let (mut placement, slots) = placement(1, now);
    placement.observed(now, 1_000, None);
    (0..3).for_each(|number| {
        enqueue(&mut placement, number, 0);
    });
    while placement.assign(now).is_some() {}
    assert_eq!(placement.steal(now), None, "no slot is idle");
    placement.slot_up(now);
    assert_eq!(placement.steal(now), Some((task(2), slots[0])));
    placement.revoked(slots[0], task(2));
    assert_eq!(placement.steal(now), Some((task(1), slots[0])));
    placement.revoked(slots[0], task(1));
    assert_eq!(placement.steal(now), None, "what runs is not stolen");
}

#[test]
fn what_was_sent_ahead_to_a_stuck_slot_is_taken_back_before_newer_tasks() {
    let now = Instant::now();
    let (mut placement, slots) = placement(1, now);
    placement.observed(now, 1_000, None);
    (0..3).for_each(|number| {
        enqueue(&mut placement, number, 0);
    });
    while placement.assign(now).is_some() {}
    let later = now + STALE;
    assert_eq!(placement.steal(later), None, "nothing else waits");
    enqueue(&mut placement, 9, 0);
    assert_eq!(placement.steal(now), None, "it may only just have started");
    assert_eq!(placement.steal(later), Some((task(2), slots[0])));
    placement.revoked(slots[0], task(2));
    assert_eq!(placement.steal(later), Some((task(1), slots[0])));
    placement.revoked(slots[0], task(1));
    assert_eq!(placement.steal(later), None);
}

#[test]
fn a_closing_slot_gets_nothing() {
    let now = Instant::now();
    let (mut placement, slots) = placement(1, now);
    placement.slot_closing(slots[0]);
    enqueue(&mut placement, 1, 0);
    assert!(placement.assign(now).is_none());
    assert_eq!(placement.slots(), 0);
}

#[test]
fn the_predicted_wait_is_what_runs_and_what_goes_before() {
    let now = Instant::now();
    let (mut placement, _) = placement(2, now);
    let tenant = placement.seen(None, 1, now);
    placement.observed(now, 10_000_000, None);
    assert_eq!(placement.predicted_wait((tenant, 0), now), Duration::ZERO);
    (0..6).for_each(|number| {
        enqueue(&mut placement, number, 0);
    });
    while placement.assign(now).is_some() {}
    // Two run for 10 ms each, four wait for two slots.
    let wait = placement.predicted_wait((tenant, 0), now);
    assert_eq!(wait, Duration::from_millis(30));
    assert_eq!(placement.predicted_wait((tenant, 1), now), Duration::from_millis(10));
    let other = placement.seen(Some(&"other".into()), 1, now);
    let wait = placement.predicted_wait((other, 0), now);
    assert_eq!(wait, Duration::from_millis(15), "one task of the backlog goes before it");
    let later = now + Duration::from_secs(1);
    let wait = placement.predicted_wait((tenant, 1), later);
    assert_eq!(wait, Duration::from_secs(1), "what has run long runs on");
}

#[test]
fn a_steady_function_is_known_by_its_own_run_times() {
    let now = Instant::now();
    let (mut placement, _) = placement(1, now);
    placement.observed(now, 1_000_000_000, None);
    placement.observed(now, 2_000_000, Some(3));
    assert_eq!(placement.steady_ns(3, now), NonZeroU64::new(2_000_000));
    assert_eq!(placement.steady_ns(2, now), None);
    let tenant = placement.seen(None, 1, now);
    for number in 0..5 {
        let place = placement.place(0, tenant);
        let queued = Queued { steady_ns: NonZeroU64::new(2_000_000), ..queued(number, 8) };
        placement.enqueue(place, queued);
    }
    placement.assign(now);
    assert_eq!(placement.predicted_wait((tenant, 0), now), Duration::from_millis(10));
}

#[test]
fn one_long_call_does_not_shut_others_out_for_ever() {
    let now = Instant::now();
    let rules = Rules { max_wait: Some(Duration::from_millis(500)), ..Rules::default() };
    let mut placement = Placement::new(rules);
    placement.slot_up(now);
    let tenant = placement.seen(None, 1, now);
    placement.observed(now, 10_000_000_000, None);
    enqueue(&mut placement, 1, 0);
    placement.assign(now);
    let full = |now| placement.full((tenant, 0), Part::WHOLE, now);
    assert_eq!(full(now), Some(Bound::Wait(Duration::from_millis(500))));
    // Another task starts a minute later: by then the estimate has faded.
    let later = now + Duration::from_secs(60);
    let slot = SlotId::at(0);
    placement.freed(slot, task(1), later);
    enqueue(&mut placement, 2, 0);
    placement.assign(later);
    assert_eq!(placement.full((tenant, 0), Part::WHOLE, later), None);
}

#[test]
fn a_tenant_without_a_slot_wants_the_spare_when_others_hold_all() {
    let now = Instant::now();
    let rules = Rules { reserve: false, ..Rules::default() };
    let mut placement = Placement::new(rules);
    assert!(!placement.wants_spare(), "there is nothing at all");
    placement.slot_up(now);
    placement.slot_up(now);
    let names: [Option<Arc<str>>; 2] = [Some("many".into()), Some("few".into())];
    let [many, few] = names.each_ref().map(|name| placement.seen(name.as_ref(), 1, now));
    placement.observed(now, 10_000_000, None);
    let submit = |placement: &mut Placement, tenant, number| {
        let place = placement.place(0, tenant);
        placement.enqueue(place, queued(number, 8));
        while placement.assign(now).is_some() {}
    };
    submit(&mut placement, many, 1);
    assert!(!placement.wants_spare(), "a slot is idle");
    submit(&mut placement, many, 2);
    submit(&mut placement, many, 3);
    assert!(!placement.wants_spare(), "it holds all slots itself");
    submit(&mut placement, few, 4);
    assert!(placement.wants_spare());
    let spare = placement.slot_up(now);
    assert_eq!(placement.assign(now), Some((task(4), spare)));
    placement.check_invariants(now);
    assert!(!placement.wants_spare(), "one is enough");
}

#[test]
fn what_does_not_start_after_all_leaves_the_slot_as_it_was() {
    let now = Instant::now();
    let (mut placement, slots) = placement(1, now);
    let place = enqueue(&mut placement, 1, 0);
    assert_eq!(placement.assign(now), Some((task(1), slots[0])));
    placement.unassign(slots[0]);
    placement.ended(place);
    placement.check_invariants(now);
    assert_eq!(placement.all().count(), 0);
    enqueue(&mut placement, 2, 0);
    assert_eq!(placement.assign(now), Some((task(2), slots[0])));
}

/// What the gate asks at each of its steps, with nothing to start.
fn looks_of_a_step(placement: &mut Placement, now: Instant) -> usize {
    LOOKS.set(0);
    placement.wants_spare();
    assert_eq!(placement.assign(now), None);
    assert_eq!(placement.steal(now), None);
    LOOKS.get()
}

#[test]
fn a_step_looks_at_each_slot_a_few_times_however_many_tenants_wait() {
    const SLOTS: usize = 64;
    for (case, tenants, holders) in [
        ("many wait for a slot", 1_000, 1),
        ("all who wait have a slot", SLOTS, SLOTS),
        ("both", 1_000, SLOTS),
    ] {
        let now = Instant::now();
        let mut placement = Placement::new(Rules { reserve: false, ..Rules::default() });
        placement.observed(now, 10_000_000, None);
        for _ in 0..SLOTS {
            placement.slot_up(now);
        }
        let names: Vec<Arc<str>> = (0..tenants).map(|one| one.to_string().into()).collect();
        let mut submit = |number: usize, tenant: usize| {
            let tenant = placement.seen(Some(&names[tenant]), 1, now);
            let place = placement.place(0, tenant);
            placement.enqueue(place, queued(number as u32, 8));
            placement.assign(now);
        };
        (0..SLOTS).for_each(|number| submit(number, number % holders));
        (0..tenants).for_each(|number| submit(SLOTS + number, number));
        assert_eq!(placement.wants_spare(), tenants > SLOTS || holders == 1, "{case}");
        let looks = looks_of_a_step(&mut placement, now);
        assert!(looks <= 4 * SLOTS, "{case}: {looks} looks");
    }
}
