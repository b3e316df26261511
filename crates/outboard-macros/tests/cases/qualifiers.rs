//! A task is a plain, safe function of a fixed number of arguments.

#![allow(unsafe_code, unused_variables)]

#[outboard::task]
unsafe fn dangerous() {}

#[outboard::task]
extern "C" fn foreign() {}

#[outboard::task]
fn nine(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8) {}

#[outboard::task(speed)]
unsafe fn attribute_and_function(text: &str) {}

fn main() {}
