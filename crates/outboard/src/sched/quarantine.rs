//! Which arguments took workers down so often that they are refused for a while.
//!
//! Pure. For each function and arguments that a worker died of there is a **suspect**. As
//! many of them and of their bytes are kept as two bounds allow, the oldest is dropped
//! first.
//!
//! | suspect | event | next |
//! |---|---|---|
//! | none | `crashed` | seen once |
//! | seen n times | `crashed` within the time since the last | seen n + 1 times; refused from `crashes` times on |
//! | seen n times | nothing for the time | none |
//! | refused | `refuses` | refused; the time goes on |
//! | refused | the time has passed since the last crash | none |
//!
//! Arguments are compared by their bytes, so that none is refused for another's
//! sake; a hash only spares most of the comparing. A submit whose function and
//! number of bytes are those of no suspect costs one look into a map.

use std::any::TypeId;
use std::collections::HashMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::{Duration, Instant};

use crate::error::{Error, Repr, WorkerLoss};
use crate::task::registry::Function;
use crate::value::payload::Payload;

/// How many suspects are kept.
const MOST_SUSPECTS: usize = 1024;

/// How many bytes of arguments they have together.
const MOST_BYTES: usize = 64 << 20;

/// How many crashes are too many, and how long they count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Terms {
    pub(crate) crashes: u32,
    pub(crate) time: Duration,
}

impl Default for Terms {
    fn default() -> Self {
        Self { crashes: 3, time: Duration::from_secs(600) }
    }
}

/// See the module's documentation.
#[derive(Debug)]
pub(crate) struct Quarantine {
    terms: Terms,
    suspects: HashMap<Shape, Vec<Suspect>>,
    count: usize,
    bytes: usize,
    hasher: RandomState,
}

/// What is cheap to compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Shape {
    function: TypeId,
    bytes: usize,
}

#[derive(Debug)]
struct Suspect {
    hash: u64,
    args: Payload,
    crashes: u32,
    last: Instant,
    lost: WorkerLoss,
}

impl Quarantine {
    pub(crate) fn new(terms: Terms) -> Self {
        Self { terms, suspects: HashMap::new(), count: 0, bytes: 0, hasher: RandomState::new() }
    }

    /// A worker died of these arguments; whether they are refused from now on.
    pub(crate) fn crashed(
        &mut self,
        now: Instant,
        function: &Function,
        args: &Payload,
        lost: &WorkerLoss,
    ) -> bool {
        self.forget(now);
        if args.len() > MOST_BYTES {
            return false;
        }
        let terms = self.terms;
        if let Some(suspect) = self.find(function, args) {
            suspect.crashes = suspect.crashes.saturating_add(1);
            (suspect.last, suspect.lost) = (now, lost.clone());
            return suspect.crashes >= terms.crashes;
        }
        self.make_room(args.len());
        let (hash, args) = (self.hash(args), args.clone());
        let shape = Shape { function: function.id, bytes: args.len() };
        (self.count, self.bytes) = (self.count + 1, self.bytes + args.len());
        let suspect = Suspect { hash, args, crashes: 1, last: now, lost: lost.clone() };
        self.suspects.entry(shape).or_default().push(suspect);
        terms.crashes == 1
    }

    /// Why these arguments are refused, if they are.
    pub(crate) fn refuses(
        &mut self,
        now: Instant,
        function: &Function,
        args: &Payload,
    ) -> Option<Error> {
        let Terms { crashes, time } = self.terms;
        let suspect = self.find(function, args)?;
        let left = time.saturating_sub(now.saturating_duration_since(suspect.last));
        if suspect.crashes < crashes || left.is_zero() {
            return None;
        }
        let (crashes, lost) = (suspect.crashes, suspect.lost.clone());
        Some(Error::new(Repr::Quarantined { crashes, left, lost }))
    }

    fn hash(&self, args: &Payload) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        args.feed(&mut hasher);
        hasher.finish()
    }

    fn find(&mut self, function: &Function, args: &Payload) -> Option<&mut Suspect> {
        let shape = Shape { function: function.id, bytes: args.len() };
        let hash = self.hash(args);
        let alike = self.suspects.get_mut(&shape)?;
        alike.iter_mut().find(|suspect| suspect.hash == hash && suspect.args.is_same(args))
    }

    /// Drops those whose time has passed.
    fn forget(&mut self, now: Instant) {
        let time = self.terms.time;
        self.retain(|suspect| now.saturating_duration_since(suspect.last) < time);
    }

    /// Drops the oldest until there is room for one more.
    fn make_room(&mut self, bytes: usize) {
        while self.count >= MOST_SUSPECTS || self.bytes + bytes > MOST_BYTES {
            let all = self.suspects.values().flatten();
            let Some(oldest) = all.map(|suspect| suspect.last).min() else { return };
            self.retain(|suspect| suspect.last > oldest);
        }
    }

    fn retain(&mut self, keep: impl Fn(&Suspect) -> bool) {
        self.suspects.retain(|_, alike| {
            alike.retain(&keep);
            !alike.is_empty()
        });
        self.count = self.suspects.values().map(Vec::len).sum();
        let kept = self.suspects.iter();
        self.bytes = kept.map(|(shape, alike)| shape.bytes * alike.len()).sum();
    }

    #[cfg(test)]
    fn check_invariants(&self) {
        let all: Vec<_> = self.suspects.values().flatten().collect();
        assert_eq!(all.len(), self.count);
        assert_eq!(all.iter().map(|suspect| suspect.args.len()).sum::<usize>(), self.bytes);
        assert!(self.count <= MOST_SUSPECTS && self.bytes <= MOST_BYTES);
        assert!(self.suspects.values().all(|alike| !alike.is_empty()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::task::registry::function;

    const SECOND: Duration = Duration::from_secs(1);

    /// Refuses for ten seconds what crashed three times.
    struct Case {
        quarantine: Quarantine,
        function: &'static Function,
        now: Instant,
    }

    impl Case {
        fn new() -> Self {
            let terms = Terms { crashes: 3, time: 10 * SECOND };
            let quarantine = Quarantine::new(terms);
            Self { quarantine, function: function_of(|n: u64| n), now: Instant::now() }
        }

        fn crash(&mut self, args: &[u8]) -> bool {
            self.crash_shared(&Payload::from(args.to_vec()))
        }

        fn crash_shared(&mut self, args: &Payload) -> bool {
            let lost = WorkerLoss { attempt: 7, ..WorkerLoss::default() };
            let refused = self.quarantine.crashed(self.now, self.function, args, &lost);
            self.quarantine.check_invariants();
            refused
        }

        fn refuses(&mut self, args: &[u8]) -> Option<Error> {
            self.quarantine.refuses(self.now, self.function, &Payload::from(args.to_vec()))
        }
    }

    fn function_of<F: crate::TaskFunction<M>, M>(_: F) -> &'static Function {
        function::<F, M>().unwrap()
    }

    #[test]
    fn what_crashed_too_often_is_refused_with_its_report() {
        let mut case = Case::new();
        assert!(!case.crash(b"a") && !case.crash(b"a"));
        assert!(case.refuses(b"a").is_none(), "twice is not three times");
        assert!(case.crash(b"a"));
        case.now += SECOND;
        let error = case.refuses(b"a").unwrap();
        assert!(error.is_quarantined());
        assert_eq!(error.worker_loss().unwrap().attempt, 7);
        assert!(error.to_string().contains("crashed 3 workers, and are refused for 9s"), "{error}");
    }

    #[test]
    fn others_are_innocent() {
        let mut case = Case::new();
        for _ in 0..3 {
            case.crash(b"guilty");
        }
        for args in [b"Guilty".as_slice(), b"guilt", b"guilty1", b""] {
            assert!(case.refuses(args).is_none(), "{args:?}");
        }
        case.function = function_of(|n: u32| n);
        assert!(case.refuses(b"guilty").is_none(), "another function");
    }

    #[test]
    fn an_equal_hash_alone_accuses_nobody() {
        let mut case = Case::new();
        for _ in 0..3 {
            case.crash(b"guilty");
        }
        let innocent = case.quarantine.hash(&Payload::copy(b"chaste"));
        for suspect in case.quarantine.suspects.values_mut().flatten() {
            suspect.hash = innocent;
        }
        assert!(case.refuses(b"chaste").is_none());
    }

    #[test]
    fn after_the_time_it_may_try_again_as_often_as_before() {
        let mut case = Case::new();
        for _ in 0..3 {
            case.crash(b"a");
        }
        case.now += 9 * SECOND;
        assert!(case.refuses(b"a").is_some());
        case.now += SECOND;
        assert!(case.refuses(b"a").is_none());
        assert!(!case.crash(b"a") && !case.crash(b"a") && case.crash(b"a"));
    }

    #[test]
    fn crashes_far_apart_do_not_add_up() {
        let mut case = Case::new();
        for _ in 0..10 {
            assert!(!case.crash(b"a"));
            case.now += 10 * SECOND;
        }
    }

    #[test]
    fn the_number_of_suspects_is_bounded_and_the_oldest_goes_first() {
        let mut case = Case::new();
        for n in 0..2 * MOST_SUSPECTS as u64 {
            case.now += Duration::from_micros(1);
            case.crash(&n.to_le_bytes());
        }
        assert_eq!(case.quarantine.count, MOST_SUSPECTS);
        let last = 2 * MOST_SUSPECTS as u64 - 1;
        assert!(!case.crash(&last.to_le_bytes()) && case.crash(&last.to_le_bytes()));
        assert!(!case.crash(&0_u64.to_le_bytes()) && !case.crash(&0_u64.to_le_bytes()));
    }

    #[test]
    fn their_bytes_are_bounded() {
        let mut case = Case::new();
        let payload = |first: u8, bytes: usize| {
            let mut args = vec![0; bytes];
            args[0] = first;
            Payload::from(args)
        };
        let huge = payload(0, MOST_BYTES + 1);
        assert!((0..5).all(|_| !case.crash_shared(&huge)), "too large to be kept");
        for first in 0..4 {
            case.now += Duration::from_micros(1);
            case.crash_shared(&payload(first, MOST_BYTES / 2));
        }
        assert_eq!(case.quarantine.count, 2);
    }
}
