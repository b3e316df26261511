//! What runs on start is a function with one argument at most that says whether it could.

#![allow(unused_variables)]

#[outboard::on_start]
struct Model;

#[outboard::on_start]
fn with_two_arguments(path: String, n: u8) {}

#[outboard::on_start(pool = "a b")]
async fn later() {}

#[outboard::on_start(priority = 1)]
fn unknown_key() {}

#[outboard::on_start(order = "first")]
fn no_number() {}

#[outboard::on_start]
fn a_value() -> u32 {
    1
}

#[outboard::on_start]
fn a_value_or_an_error() -> Result<Vec<u8>, String> {
    Ok(Vec::new())
}

struct Silent;

#[outboard::on_start]
fn an_error_that_cannot_be_shown() -> Result<(), Silent> {
    Ok(())
}

fn main() {}
