//! A path that does not lead to the library is an error at the path.

#[outboard::task(crate = "no_such_crate")]
fn task() {}

#[outboard::on_start(crate = "self::no_such_module")]
fn start() {}

#[outboard::task(crate = "Vec<u8>")]
fn no_path() {}

#[outboard::on_start(crate)]
fn no_value() {}

fn main() {}
