//! Which tasks go into which batch, who is next, and what a leave does.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;
use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::sched::placement::Rules;

const MS: Duration = Duration::from_millis(1);

/// The most tasks of each function that takes batches, and how long its batches are held open.
const FUNCTIONS: [(u16, Duration); 3] =
    [(3, Duration::ZERO), (4, Duration::from_millis(5)), (1, Duration::from_millis(5))];

fn number(function: usize) -> Option<NonZeroU16> {
    NonZeroU16::new(function as u16).filter(|_| function <= FUNCTIONS.len())
}

fn placement(slots: usize, now: Instant) -> (Placement, Vec<SlotId>) {
    let mut placement = Placement::new(Rules { reserve: false, ..Rules::default() });
    for (at, (most, wait)) in FUNCTIONS.into_iter().enumerate() {
        let terms = Batching { most, wait };
        let kind = Kind { terms, held: BTreeMap::new(), counts: BatchCounts::default() };
        placement.batches.functions.insert(number(at + 1).unwrap(), kind);
    }
    let slots = (0..slots).map(|_| placement.slot_up(now)).collect();
    (placement, slots)
}

/// A task that waits: its number, its function (0 takes no batches), its tenant.
fn enqueue(
    placement: &mut Placement,
    now: Instant,
    (task, function): (u32, usize),
    (tenant, priority): (u8, i32),
) -> QueuePlace {
    let name = (tenant > 0).then(|| Arc::from(tenant.to_string()));
    let tenant = placement.seen(name.as_ref(), 1, now);
    let place = placement.place(priority, tenant);
    placement.enqueue(place, queued(now, task, function));
    place
}

fn enqueue_all(placement: &mut Placement, now: Instant, tasks: Range<u32>, function: usize) {
    for task in tasks {
        enqueue(placement, now, (task, function), (0, 0));
    }
}

fn queued(now: Instant, task: u32, function: usize) -> Queued {
    Queued {
        task: TaskId::for_test(task),
        bytes: 8,
        submitted: now.into(),
        hurried: false,
        steady_ns: None,
        batch: number(function),
    }
}

/// What starts now: each call with its slot.
fn calls(placement: &mut Placement, now: Instant) -> Vec<(SlotId, Vec<TaskId>)> {
    let mut calls = Vec::new();
    while let Some((first, slot)) = placement.assign(now) {
        let mut tasks = vec![first];
        tasks.extend(std::iter::from_fn(|| placement.join(now, slot)));
        placement.started(slot);
        calls.push((slot, tasks));
    }
    calls
}

fn tasks(numbers: impl IntoIterator<Item = u32>) -> Vec<TaskId> {
    numbers.into_iter().map(TaskId::for_test).collect()
}

#[test]
fn what_waits_while_a_slot_is_busy_forms_the_next_batch() {
    let now = Instant::now();
    let (mut placement, slots) = placement(1, now);
    enqueue(&mut placement, now, (1, 1), (0, 0));
    assert_eq!(calls(&mut placement, now), [(slots[0], tasks([1]))]);
    placement.observed(now, 1_000, None);
    enqueue_all(&mut placement, now, 2..7, 1);
    assert_eq!(calls(&mut placement, now), [], "nothing is sent ahead");
    placement.freed(slots[0], TaskId::for_test(1), now);
    assert_eq!(calls(&mut placement, now), [(slots[0], tasks(2..5))]);
    enqueue(&mut placement, now, (9, 0), (0, 0));
    assert_eq!(calls(&mut placement, now), [], "nothing is sent behind a batch");
    (2..5).for_each(|task| placement.freed(slots[0], TaskId::for_test(task), now));
    assert_eq!(calls(&mut placement, now), [(slots[0], tasks([5, 6]))]);
    placement.check_invariants(now);
    let sizes: Vec<_> = placement.batch_figures(number(1).unwrap()).unwrap().sizes().collect();
    assert_eq!(sizes[..4], [(1, 1), (2, 1), (4, 1), (8, 0)]);
}

#[test]
fn a_batch_passes_over_tasks_of_other_functions() {
    let now = Instant::now();
    let (mut placement, slots) = placement(1, now);
    for (task, function) in [(1, 1), (2, 0), (3, 1), (4, 0)] {
        enqueue(&mut placement, now, (task, function), (0, 0));
    }
    assert_eq!(calls(&mut placement, now), [(slots[0], tasks([1, 3]))]);
}

#[test]
fn turns_decide_who_joins() {
    let now = Instant::now();
    let (mut placement, slots) = placement(1, now);
    placement.observed(now, 1_000_000, None);
    // One tenant has many tasks, two have one each; one of those has a better priority.
    for (task, tenant, priority) in [(1, 1, 0), (2, 1, 0), (3, 1, 0), (4, 2, 0), (5, 3, 1)] {
        enqueue(&mut placement, now, (task, 1), (tenant, priority));
    }
    assert_eq!(calls(&mut placement, now), [(slots[0], tasks([5, 1, 4]))]);
}

#[test]
fn a_batch_is_held_open_until_its_oldest_has_waited_or_it_is_full() {
    let now = Instant::now();
    let (mut placement, slots) = placement(2, now);
    let first = enqueue(&mut placement, now, (1, 2), (0, 0));
    enqueue(&mut placement, now + MS, (2, 2), (0, 0));
    enqueue(&mut placement, now + MS, (3, 0), (0, 0));
    assert_eq!(calls(&mut placement, now + MS), [(slots[0], tasks([3]))], "others go on");
    assert_eq!(placement.next_due(), Some(now + 5 * MS));
    placement.check_invariants(now + MS);
    placement.ended(first);
    assert_eq!(placement.next_due(), Some(now + 6 * MS), "the oldest has left");
    assert_eq!(calls(&mut placement, now + 5 * MS), []);
    let better = enqueue(&mut placement, now + 5 * MS, (4, 2), (0, 0));
    let better = placement.promote(better, 7);
    assert_eq!(calls(&mut placement, now + 6 * MS), [(slots[1], tasks([4, 2]))]);
    assert_eq!((better.priority(), placement.next_due()), (7, None));
    let figures = placement.batch_figures(number(2).unwrap()).unwrap();
    assert_eq!((figures.held.count(), figures.held_time), (1, 5 * MS));
    for task in [3, 4, 2] {
        let slot = if task == 3 { slots[0] } else { slots[1] };
        placement.freed(slot, TaskId::for_test(task), now + 7 * MS);
    }
    enqueue_all(&mut placement, now + 7 * MS, 10..14, 2);
    assert_eq!(calls(&mut placement, now + 7 * MS)[0].1, tasks(10..14), "four are a full one");
}

#[test]
fn what_has_waited_for_a_slot_is_not_held() {
    let now = Instant::now();
    let (mut placement, slots) = placement(1, now);
    enqueue(&mut placement, now, (1, 0), (0, 0));
    calls(&mut placement, now);
    enqueue(&mut placement, now, (2, 2), (0, 0));
    placement.freed(slots[0], TaskId::for_test(1), now + 9 * MS);
    assert_eq!(calls(&mut placement, now + 9 * MS), [(slots[0], tasks([2]))]);
}

#[test]
fn what_runs_in_a_batch_is_not_stolen() {
    let now = Instant::now();
    let (mut placement, _) = placement(1, now);
    enqueue_all(&mut placement, now, 1..4, 1);
    assert_eq!(calls(&mut placement, now).len(), 1);
    placement.slot_up(now);
    assert_eq!(placement.steal(now), None);
}

#[test]
fn the_last_to_leave_a_batch_is_told_apart() {
    let now = Instant::now();
    let (mut placement, slots) = placement(1, now);
    enqueue_all(&mut placement, now, 1..4, 1);
    calls(&mut placement, now);
    placement.revoked(slots[0], TaskId::for_test(2));
    assert!(placement.is_grouped(slots[0], TaskId::for_test(1)));
    assert!(!placement.is_grouped(slots[0], TaskId::for_test(2)), "it was taken back");
    assert!(placement.leave(slots[0], TaskId::for_test(1)), "one is left");
    let current = placement.current(slots[0]).map(|(task, _)| task);
    assert_eq!(current, Some(TaskId::for_test(3)), "the one that is wanted is shown");
    assert!(!placement.leave(slots[0], TaskId::for_test(3)));
}

proptest! {
    /// Whoever is in a batch pays for a part of its time, and nobody for more.
    #[test]
    fn the_parts_of_a_batch_are_its_time(
        size in 1..4_u32,
        ends in prop::collection::vec(0..5_000_u64, 3),
        taken_back in prop::option::of(0..3_u32),
    ) {
        let mut now = Instant::now();
        let (mut placement, slots) = placement(1, now);
        enqueue_all(&mut placement, now, 0..size, 1);
        calls(&mut placement, now);
        taken_back.into_iter().for_each(|task| placement.revoked(slots[0], TaskId::for_test(task)));
        let paying = size - u32::from(taken_back.is_some_and(|task| task < size));
        let (start, mut paid, mut shares) = (now, 0, Vec::new());
        for (task, us) in (0..size).zip(ends) {
            now += Duration::from_micros(us);
            let slot = &mut placement.slots[0];
            let one = *slot.outstanding.front().unwrap();
            let passed = now.saturating_duration_since(one.sent.max(slot.progress));
            slot.outstanding.pop_front();
            let part = slot.part_ns(&one, passed.as_nanos() as u64);
            slot.outstanding.push_front(Outstanding { owed_ns: 0, grouped: false, ..one });
            slot.progress = now;
            if !one.revoked {
                paid += part;
                shares.push(part);
            }
            placement.freed(slots[0], TaskId::for_test(task), now);
        }
        let all = now.saturating_duration_since(start).as_nanos() as u64;
        prop_assert!(paid <= all, "{paid} of {all}");
        if paying == size {
            prop_assert_eq!(paid, all);
            // Who ends later has the slot for longer, and shares it with fewer.
            prop_assert!(shares.is_sorted(), "{shares:?}");
        }
    }

    /// Whatever comes, leaves, ends and dies: batches are of one function and not too large,
    /// nothing is held for too long, and nothing waits beside an idle slot.
    #[test]
    fn every_batch_is_one_and_nothing_is_forgotten(
        events in prop::collection::vec((0..9_u8, any::<u32>(), 0..5_usize, 0..3_u8, -1..2_i32), 0..120),
    ) {
        let mut now = Instant::now();
        let (mut placement, _) = placement(2, now);
        let (mut functions, mut waiting) = (HashMap::new(), BTreeMap::new());
        let mut running: BTreeMap<SlotId, Vec<(TaskId, QueuePlace)>> = BTreeMap::new();
        for (next, (event, which, function, tenant, priority)) in events.into_iter().enumerate() {
            let task = TaskId::for_test(next as u32 + 1);
            match event {
                0..=3 => {
                    let place =
                        enqueue(&mut placement, now, (next as u32 + 1, function), (tenant, priority));
                    functions.insert(task, (number(function), now));
                    waiting.insert(task, place);
                }
                4 => now += Duration::from_micros(u64::from(which % 4_000)),
                5 if !waiting.is_empty() => {
                    let at = which as usize % waiting.len();
                    let (task, place) = waiting.iter().nth(at).map(|(t, p)| (*t, *p)).unwrap();
                    waiting.remove(&task);
                    placement.ended(place);
                }
                6 if !waiting.is_empty() => {
                    let at = which as usize % waiting.len();
                    let place = waiting.values_mut().nth(at).unwrap();
                    *place = placement.promote(*place, place.priority() + 1);
                }
                7 if !running.is_empty() => {
                    let slot = *running.keys().nth(which as usize % running.len()).unwrap();
                    for (task, place) in running.remove(&slot).unwrap() {
                        placement.freed(slot, task, now);
                        placement.ended(place);
                    }
                }
                8 if !running.is_empty() => {
                    // Its worker dies before they start: they wait again.
                    let slot = *running.keys().nth(which as usize % running.len()).unwrap();
                    placement.slot_closing(slot);
                    for (task, place) in running.remove(&slot).unwrap() {
                        placement.revoked(slot, task);
                        placement.enqueue(place, Queued { submitted: functions[&task].1.into(), ..queued_of(task, functions[&task].0, now) });
                        waiting.insert(task, place);
                    }
                    placement.slot_down(slot, now);
                    placement.slot_up(now);
                }
                _ => {}
            }
            for (slot, call) in calls(&mut placement, now) {
                let function = functions[&call[0]].0;
                prop_assert!(call.iter().all(|task| functions[task].0 == function));
                let most = function.map_or(1, |number| placement.batches.most(number));
                prop_assert!(call.len() <= most, "{} of {most}", call.len());
                let places = call.iter().map(|task| (*task, waiting.remove(task).unwrap()));
                running.entry(slot).or_default().extend(places);
            }
            placement.check_invariants(now);
            prop_assert!(placement.next_due().is_none_or(|due| due > now));
            let held = placement.batches.all().count();
            prop_assert_eq!(held, placement.batches.held);
            prop_assert_eq!(placement.all().filter(|(_, place)| place.is_ok()).count(), waiting.len());
            for kind in placement.batches.functions.values() {
                prop_assert!(kind.held.len() < usize::from(kind.terms.most));
            }
        }
    }
}

fn queued_of(task: TaskId, batch: Option<NonZeroU16>, now: Instant) -> Queued {
    Queued { task, batch, ..queued(now, 0, 0) }
}
