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

fn submit(gate: &Gate, options: &Options) -> Result<Ticket, Error> {
    let function = test_function(|x: u8| x);
    gate.submit_at(Instant::now(), function, Some(vec![0].into()), options)
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
    let (_, first, _) = submit(&gate, &keyed("first", 1)).unwrap();
    let (_, second, _) = submit(&gate, &keyed("second", 0)).unwrap();
    let (_, shared, _) = submit(&gate, &keyed("second", 2)).unwrap();
    assert_eq!(shared, second);
    let core = gate.lock();
    core.check_invariants(Instant::now());
    let priority = |task| core.ledger.task(task).unwrap().place().priority();
    assert_eq!((priority(second), priority(first)), (2, 1));
    drop(running);
}
