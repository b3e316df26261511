//! The functions that the demo computes, in a handler or in a worker.

use bytes::Bytes;

/// The largest `n` whose Fibonacci number fits 64 bits.
pub(crate) const LARGEST_N: u64 = 93;

/// The n-th Fibonacci number, computed the slow way: a stand-in for any work
/// that keeps a core busy. Each step of `n` takes 1.6 times as long.
#[outboard::task]
pub(crate) fn fib(n: u64) -> u64 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

/// [`fib`], where identical calls in flight are computed once for all who wait.
#[outboard::task(pure)]
pub(crate) fn coalesced_fib(n: u64) -> u64 {
    fib(n)
}

/// How many lines [`fib_lines`] writes.
pub(crate) const LINES: usize = 10;

/// A page that is written as it is computed: [`fib`] again and again, a line each.
#[outboard::task]
pub(crate) fn fib_lines(n: u64) -> impl Iterator<Item = Bytes> + Send + 'static {
    (1..=LINES).map(move |number| line(number, n, fib(n)))
}

/// A line of that page.
pub(crate) fn line(number: usize, n: u64, fib: u64) -> Bytes {
    format!("{number}. fib({n}) = {fib}\n").into()
}

/// How many pages a [`report`] has.
pub(crate) const PAGES: u64 = 50;

/// A report that takes its time and says how far it is: [`fib`] for each page.
#[outboard::task]
pub(crate) fn report(n: u64) -> String {
    let mut sum = 0;
    for page in 0..PAGES {
        outboard::progress(page, PAGES, "pages");
        sum += fib(n);
    }
    format!("{PAGES} pages; {PAGES} × fib({n}) = {sum}")
}

/// Next to nothing.
#[outboard::task]
pub(crate) fn add_one(x: u64) -> u64 {
    x + 1
}

/// The n-th Fibonacci number at once, to check the others by.
pub(crate) fn fib_by_addition(n: u64) -> u64 {
    let (mut this, mut next) = (0_u64, 1_u64);
    for _ in 0..n {
        (this, next) = (next, this.wrapping_add(next));
    }
    this
}

#[cfg(test)]
mod tests {
    use super::{LARGEST_N, coalesced_fib, fib, fib_by_addition};

    #[test]
    fn the_slow_way_and_the_quick_way_agree() {
        for n in 0..20 {
            assert_eq!(fib(n), fib_by_addition(n));
            assert_eq!(coalesced_fib(n), fib_by_addition(n));
        }
    }

    #[test]
    fn the_largest_that_fits_does_fit() {
        let sum = fib_by_addition(LARGEST_N - 1).checked_add(fib_by_addition(LARGEST_N - 2));
        assert_eq!(sum, Some(fib_by_addition(LARGEST_N)));
        let beyond = fib_by_addition(LARGEST_N).checked_add(fib_by_addition(LARGEST_N - 1));
        assert_eq!(beyond, None);
    }
}
