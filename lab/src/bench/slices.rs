//! Subjects that take turns, in slices, so that what the machine does meanwhile
//! meets all of them alike.

use std::time::{Duration, Instant};

use super::figure::{Figure, percentile};

/// How many round trips a slice has.
pub(super) const SLICE: usize = 200;

/// The fewest turns of each subject, unless they last very long.
const LEAST_TURNS: usize = 3;

/// How many times as long as was asked for those may last.
const OVERTIME: u32 = 4;

/// One of those that take turns.
pub(super) struct Subject<'a>(Box<dyn FnMut() -> anyhow::Result<Vec<f64>> + 'a>);

/// What came of a subject's slices, in order.
#[derive(Debug)]
pub(super) struct Series(Vec<Vec<f64>>);

impl<'a> Subject<'a> {
    /// `slice` gives its measured values.
    pub(super) fn new(slice: impl FnMut() -> anyhow::Result<Vec<f64>> + 'a) -> Self {
        Self(Box::new(slice))
    }

    /// One value for each slice.
    pub(super) fn single(mut slice: impl FnMut() -> anyhow::Result<f64> + 'a) -> Self {
        Self::new(move || Ok(vec![slice()?]))
    }
}

impl Series {
    pub(super) fn new(slices: Vec<Vec<f64>>) -> Self {
        Self(slices)
    }

    /// The median, over all slices, of what `statistic` makes of one.
    pub(super) fn figure(&self, statistic: impl Fn(&[f64]) -> f64) -> Figure {
        Figure::of(self.0.iter().map(|slice| statistic(slice)).collect())
    }

    /// The median, over all slices, of a percentile of each.
    pub(super) fn percentile(&self, share: f64) -> Figure {
        self.figure(|slice| percentile(slice, share))
    }

    /// The median of single values, or of the values at that place of all slices.
    pub(super) fn column(&self, index: usize) -> Figure {
        self.figure(|slice| slice[index])
    }
}

/// Has all subjects take turns for so long, after one turn of each that warms
/// it up. Who is first changes from round to round.
pub(super) fn take_turns<const N: usize>(
    time: Duration,
    mut subjects: [Subject<'_>; N],
) -> anyhow::Result<[Series; N]> {
    for subject in &mut subjects {
        (subject.0)()?;
    }
    let mut slices: [Vec<Vec<f64>>; N] = std::array::from_fn(|_| Vec::new());
    let start = Instant::now();
    let mut round = 0;
    let goes_on = |round, spent| spent < time || round < LEAST_TURNS && spent < OVERTIME * time;
    while round == 0 || goes_on(round, start.elapsed()) {
        for turn in 0..N {
            let whose = (round + turn) % N;
            slices[whose].push((subjects[whose].0)()?);
        }
        round += 1;
    }
    Ok(slices.map(Series::new))
}

/// Times each of the slice's calls, in seconds.
pub(super) fn time_each(
    calls: usize,
    mut call: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Vec<f64>> {
    let timed = |_| {
        let start = Instant::now();
        call()?;
        Ok(start.elapsed().as_secs_f64())
    };
    (0..calls).map(timed).collect()
}

/// The same of futures, which are awaited one after the other.
pub(super) async fn time_each_future<F>(
    calls: usize,
    call: impl Fn() -> F,
) -> anyhow::Result<Vec<f64>>
where
    F: Future<Output = anyhow::Result<()>>,
{
    let mut times = Vec::with_capacity(calls);
    for _ in 0..calls {
        let start = Instant::now();
        call().await?;
        times.push(start.elapsed().as_secs_f64());
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::time::Duration;

    use super::{Subject, take_turns};

    /// The turns of two subjects, which give the number of their turn, and their letters.
    fn two(time: Duration) -> ([Vec<Vec<f64>>; 2], String) {
        let order = RefCell::new(String::new());
        let subject = |letter| {
            let order = &order;
            let mut turns = 0.0;
            Subject::single(move || {
                order.borrow_mut().push(letter);
                turns += 1.0;
                Ok(turns)
            })
        };
        let series = take_turns(time, [subject('a'), subject('b')]).expect("no error");
        (series.map(|one| one.0), order.into_inner())
    }

    #[test]
    fn however_short_the_time_one_turn_counts_after_one_that_does_not() {
        let ([a, b], order) = two(Duration::ZERO);
        assert_eq!(order, "abab");
        assert_eq!((a, b), (vec![vec![2.0]], vec![vec![2.0]]));
    }

    #[test]
    fn all_have_as_many_turns_and_take_turns_at_being_first() {
        let ([a, b], order) = two(Duration::from_millis(1));
        assert_eq!(a.len(), b.len());
        let letters: Vec<char> = order.chars().collect();
        for (round, pair) in letters[2..].chunks(2).enumerate() {
            assert_eq!(pair, if round % 2 == 0 { ['a', 'b'] } else { ['b', 'a'] }, "{order}");
        }
    }
}
