//! Functions of every shape that a task can have.

#![forbid(unsafe_code)]
#![deny(missing_docs, warnings, unused_lifetimes, unused_qualifications)]

use std::borrow::Cow;

#[outboard::task]
fn nothing() {}

#[outboard::task(pure)]
const fn fib(n: u64) -> u64 {
    if n < 2 { n } else { fib(n - 1) + fib(n - 2) }
}

#[outboard::task(name = "text-1.tools::join", pure)]
async fn join(mut words: Vec<String>, (separator, _): (char, u8), _: ()) -> Result<String, String> {
    words.retain(|word| !word.is_empty());
    Ok(words.join(&separator.to_string()))
}

#[outboard::task]
fn eight(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8) -> [u8; 8] {
    [a, b, c, d, e, f, g, h]
}

#[outboard::task]
fn cow(text: Cow<'static, str>) -> Cow<'static, str> {
    text
}

#[outboard::task]
#[deprecated]
fn old() {}

#[outboard::task(batch)]
fn doubled(numbers: Vec<u64>) -> Vec<u64> {
    numbers.into_iter().map(|n| 2 * n).collect()
}

#[outboard::task(batch(max = 8, wait = "2ms"), pure, steady)]
async fn checked(texts: Vec<String>) -> Result<Vec<usize>, String> {
    Ok(texts.iter().map(String::len).collect())
}

fn main() {}
