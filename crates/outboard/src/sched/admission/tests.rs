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

/// A submit of a tenant to a queue of ten places of which so many are taken; whether
/// there is one for it.
fn submit(admission: &mut Admission, now: Instant, tenant: u8, taken: usize) -> bool {
    let claim = admission.claim(now, Some(&name(tenant)));
    let room = taken < claim.part.of_all(10);
    admission.settle(&claim, room);
    room
}

fn name(tenant: u8) -> Arc<str> {
    tenant.to_string().into()
}

fn refused(admission: &mut Admission, now: Instant, tenant: u8) -> Duration {
    let ahead = Ahead { soonest: MS, excess: 5.0, interval: MS };
    assert!(!submit(admission, now, tenant, 10));
    admission.promise(now, Some(&name(tenant)), ahead)
}

#[test]
fn room_is_kept_for_those_who_were_promised_it() {
    let (mut admission, now) = (Admission::default(), Instant::now());
    assert!(submit(&mut admission, now, 1, 9), "nothing is promised yet");
    let after = refused(&mut admission, now, 1);
    assert!(after >= 6 * MS, "half of the queue has to leave first: {after:?}");
    let early = now + after - MS;
    assert!(!submit(&mut admission, early, 1, 7), "it is not due");
    let due = now + after;
    assert!(!submit(&mut admission, due, 2, 7), "it is another's");
    assert!(submit(&mut admission, due, 2, 4), "half is for anyone");
    assert!(submit(&mut admission, due, 1, 9));
    assert!(submit(&mut admission, due, 1, 9), "nothing is promised any more");
}

#[test]
fn promises_are_further_apart_after_one_was_broken() {
    let (mut admission, now) = (Admission::default(), Instant::now());
    let (after, before) = (refused(&mut admission, now, 1), admission.stretch);
    assert!(!submit(&mut admission, now + after, 1, 10), "it is due, and there is no room");
    assert!(admission.stretch > before);
    let (broken, after) = (admission.stretch, refused(&mut admission, now, 1));
    assert!(submit(&mut admission, now + after, 1, 9));
    assert!(admission.stretch < broken);
}

#[test]
fn what_nobody_comes_for_is_forgotten() {
    let (mut admission, now) = (Admission::default(), Instant::now());
    let after = refused(&mut admission, now, 1);
    assert!(!submit(&mut admission, now + after + GRACE / 2, 2, 7));
    assert!(submit(&mut admission, now + after + GRACE, 2, 7));
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
