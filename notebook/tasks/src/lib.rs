//! The functions that the notebooks submit.
//!
//! A notebook's cells are libraries of a running kernel, which cannot be started again as a
//! worker. So these functions are linked twice: into the cells, and into the program `tasks`.

/// The n-th Fibonacci number, computed the slow way: a stand-in for your own function.
#[outboard::task]
pub fn fib(n: u64) -> u64 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

/// The same, marked pure: equal calls at the same time are computed once.
#[outboard::task(pure)]
pub fn coalesced_fib(n: u64) -> u64 {
    fib(n)
}

/// Next to nothing.
#[outboard::task]
pub fn add_one(x: u64) -> u64 {
    x + 1
}

/// What a fault in native code does to its process.
#[outboard::task]
pub fn abort() {
    std::process::abort()
}
