//! A program that has task functions and nothing else: the workers of another one, which cannot
//! be started again itself.
//!
//! `Client::local().program(path)` in a notebook, or in an extension of another language, starts
//! this program as its workers. Both link the same functions.

#[outboard::task(name = "tasks::fib")]
fn fib(n: u64) -> u64 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

#[outboard::task(name = "tasks::length")]
fn length(text: String) -> usize {
    text.len()
}

fn main() {
    outboard::init();
    eprintln!("this program executes the tasks of another: see `LocalBuilder::program`");
}
