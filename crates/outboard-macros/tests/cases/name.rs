//! A name is a string literal of characters that travel everywhere.

#[outboard::task(name)]
fn without_value() {}

#[outboard::task(name = concat!("images::", "resize"))]
fn computed() {}

#[outboard::task(name = "")]
fn empty() {}

#[outboard::task(name = "images/resize")]
fn slash() {}

fn main() {}
