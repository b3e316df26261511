//! Arguments and results travel between processes: the error names the type that owns what a
//! reference borrows.

#![allow(unused_variables)]

use std::borrow::Cow;
use std::path::Path;

#[outboard::task]
fn shout(text: &str, words: &[&str]) -> &'static str {
    "loud"
}

#[outboard::task]
fn sort(numbers: &mut Vec<u32>) {
    numbers.sort();
}

#[outboard::task]
async fn read(path: Option<&Path>, title: Cow<'_, str>) {}

fn main() {}
