//! What placement decides, case by case.

use super::*;

fn task(number: u32) -> TaskId {
    TaskId::for_test(number)
}

fn queued(number: u32, bytes: usize) -> Queued {
    let (task, submitted) = (task(number), Instant::now());
    Queued { task, bytes, submitted, hurried: false, steady_ns: None }
}

/// A placement with a queue and so many slots.
fn placement(slots: usize, now: Instant) -> (Placement, Vec<SlotId>) {
    let mut placement = Placement::new(Rules::default());
    let slots = (0..slots).map(|_| placement.slot_up(now)).collect();
    (placement, slots)
}

fn enqueue(placement: &mut Placement, number: u32, priority: i32) -> Place {
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
fn large_arguments_are_not_sent_ahead() {
    let now = Instant::now();
    let (mut placement, _) = placement(1, now);
    placement.observed(now, 1_000, None);
    for number in 0..2 {
        let tenant = placement.seen(None, 1, now);
        let place = placement.place(0, tenant);
        placement.enqueue(place, queued(number, AHEAD_BYTES));
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
