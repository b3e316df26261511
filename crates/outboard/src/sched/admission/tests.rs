//! How estimates fade, and what promises are worth.

use super::*;

const MS: Duration = Duration::from_millis(1);

#[test]
fn one_long_run_is_forgotten_in_time_and_outweighed_by_others() {
    let (mut estimate, now) = (Estimate::default(), Instant::now());
    assert_eq!(estimate.mean_ns(now), None);
    estimate.observe(now, 10_000_000_000);
    assert_eq!(estimate.mean_ns(now), Some(1e10));
    assert_eq!(estimate.mean_ns(now + HALF_LIFE), Some(5e9));
    assert!(estimate.mean_ns(now + 20 * HALF_LIFE).unwrap() < 1e4);
    for _ in 0..500 {
        estimate.observe(now, 1_000_000);
    }
    let mean = estimate.mean_ns(now).unwrap();
    assert!((1e6..1.1e6).contains(&mean), "{mean}");
    // Rare long runs, and nothing else, are what they are.
    let mut rare = Estimate::default();
    for number in 0..5 {
        rare.observe(now + number * HALF_LIFE, 10_000_000_000);
    }
    let mean = rare.mean_ns(now + 4 * HALF_LIFE).unwrap();
    assert!((mean - 1e10).abs() < 1.0, "{mean}");
}

/// A queue of ten places, of which so many are taken.
fn queue(taken: usize) -> impl Fn(Part) -> Option<Bound> {
    move |fill| (taken >= part(10, fill.half_of_all)).then_some(Bound::Tasks(10))
}

fn refused(admission: &mut Admission, now: Instant, tenant: u64) -> Duration {
    let ahead = Ahead { soonest: MS, excess: 5.0, interval: MS };
    assert!(admission.admit(now, || tenant, queue(10)).is_err());
    admission.promise(now, tenant, ahead)
}

#[test]
fn room_is_kept_for_those_who_were_promised_it() {
    let (mut admission, now) = (Admission::default(), Instant::now());
    assert!(admission.admit(now, || 1, queue(9)).is_ok(), "nothing is promised yet");
    let after = refused(&mut admission, now, 1);
    assert!(after >= 6 * MS, "half of the queue has to leave first: {after:?}");
    let early = now + after - MS;
    assert!(admission.admit(early, || 1, queue(7)).is_err(), "it is not due");
    let due = now + after;
    assert!(admission.admit(due, || 2, queue(7)).is_err(), "it is another's");
    assert!(admission.admit(due, || 2, queue(4)).is_ok(), "half is for anyone");
    assert!(admission.admit(due, || 1, queue(9)).is_ok());
    assert!(admission.admit(due, || 1, queue(9)).is_ok(), "nothing is promised any more");
}

#[test]
fn what_nobody_comes_for_is_forgotten() {
    let (mut admission, now) = (Admission::default(), Instant::now());
    let after = refused(&mut admission, now, 1);
    assert!(admission.admit(now + after + GRACE / 2, || 2, queue(7)).is_err());
    assert!(admission.admit(now + after + GRACE, || 2, queue(7)).is_ok());
    assert!(admission.promises.is_empty());
}

#[test]
fn promises_of_a_flood_do_not_keep_others_waiting_and_are_bounded() {
    let (mut admission, now) = (Admission::default(), Instant::now());
    let mut last = Duration::ZERO;
    for _ in 0..MAX_PROMISES + 10 {
        let after = refused(&mut admission, now, 1);
        assert!(after >= last);
        last = after;
    }
    assert_eq!(admission.noted, MAX_PROMISES);
    let other = refused(&mut admission, now, 2);
    assert!(other < last / 100, "{other:?} and {last:?}");
}
