//! Every mistake in the attribute is reported at once, at the key or the value that is wrong.

#[outboard::task(speed = 3, pure = true, retries)]
fn unknown_keys() {}

#[outboard::task(pure, name = "a", pure, name = "b")]
fn twice() {}

#[outboard::task("images::resize")]
fn no_key() {}

fn main() {}
