//! What a submit does to the gate, case by case.

use super::*;
use crate::sched::ledger::tests::LOOKUPS;
use crate::sched::placement::Rules;
use crate::sched::quarantine::Terms;

fn gate(tasks: usize) -> Arc<Gate> {
    let (model, now) = (Model::default(), Instant::now());
    let limits = Limits {
        queue: Bounds { tasks, bytes: 1 << 20 },
        payload: 100,
        tenants: Rules::default(),
        tenant_kills: None,
        quarantine: Some(Terms::default()),
    };
    let gate = Gate::new(limits, Strength::new(1, 0), Box::new(model.clone()), &Member::alone());
    model.up(&gate, now);
    gate
}

fn function() -> &'static Function {
    test_function(|x: u8| x)
}

fn submit(gate: &Gate, options: &Options) -> Result<Ticket, Error> {
    gate.submit_at(Instant::now(), function(), Some(vec![0].into()), options)
}

#[test]
fn a_submit_that_starts_at_once_looks_its_task_up_twice() {
    let gate = gate(9);
    let minute = Some(Duration::from_secs(60));
    let options = Options { timeout: minute, key: Some("a".into()), ..Options::default() };
    LOOKUPS.set(0);
    let ticket = submit(&gate, &options);
    assert_eq!(LOOKUPS.get(), 2, "to see whether it is worth a start, and to start it");
    drop(ticket);
}

#[test]
fn a_refused_submit_is_counted_and_leaves_nothing() {
    let gate = gate(1);
    let taken: Vec<_> = (0..2).map(|_| submit(&gate, &Options::default()).unwrap()).collect();
    let error = submit(&gate, &Options::default()).unwrap_err();
    assert!(error.is_overloaded() && error.retry_after().is_some());
    let snapshot = gate.snapshot();
    assert_eq!((snapshot.submitted, snapshot.refused, snapshot.queued), (2, 1, 1));
    gate.lock().check_invariants(Instant::now());
    drop(taken);
}

#[test]
fn a_submit_that_shares_a_task_raises_its_priority() {
    let gate = gate(9);
    let keyed =
        |key: &str, priority| Options { key: Some(key.into()), priority, ..Options::default() };
    let running = submit(&gate, &keyed("running", 0)).unwrap();
    let first = submit(&gate, &keyed("first", 1)).unwrap();
    let second = submit(&gate, &keyed("second", 0)).unwrap();
    let shared = submit(&gate, &keyed("second", 2)).unwrap();
    assert_eq!(shared.task, second.task);
    let core = gate.lock();
    core.check_invariants(Instant::now());
    let priority = |task| core.ledger.task(task).unwrap().place().priority();
    assert_eq!((priority(second.task), priority(first.task)), (2, 1));
    drop(running);
}

#[test]
fn a_task_that_shares_another_once_it_is_prepared_raises_its_priority() {
    let gate = gate(9);
    let keyed =
        |key: &str, priority| Options { key: Some(key.into()), priority, ..Options::default() };
    let running = submit(&gate, &keyed("running", 0)).unwrap();
    let first = submit(&gate, &keyed("first", 1)).unwrap();
    let second = submit(&gate, &keyed("second", 0)).unwrap();
    let now = Instant::now();
    // As of a pure function: before it is prepared, it has no key.
    let without = Options { priority: 2, ..Options::default() };
    let late = gate.submit_at(now, function(), None, &without).unwrap();
    gate.prepared_at(now, late.task, function(), Ok(vec![0].into()), &keyed("second", 2));
    assert_eq!(gate.snapshot().coalesced, 1);
    let core = gate.lock();
    core.check_invariants(now);
    assert!(core.ledger.task(late.task).is_none());
    let priority = |task| core.ledger.task(task).unwrap().place().priority();
    assert_eq!((priority(second.task), priority(first.task)), (2, 1));
    drop(running);
}

#[test]
fn those_who_share_a_task_once_they_are_prepared_are_bounded() {
    let gate = gate(1 << 17);
    let now = Instant::now();
    let keyed = Options { key: Some("k".into()), ..Options::default() };
    let mut tickets = vec![submit(&gate, &keyed).unwrap()];
    for _ in 0..=1 << 16 {
        let ticket = gate.submit_at(now, function(), None, &Options::default()).unwrap();
        gate.prepared_at(now, ticket.task, function(), Ok(vec![0].into()), &keyed);
        tickets.push(ticket);
    }
    let error = tickets.pop().unwrap().receiver.try_recv().unwrap().unwrap_err();
    assert!(error.is_overloaded(), "{error}");
    assert!(tickets.pop().unwrap().receiver.try_recv().is_err(), "the one before is taken");
}
