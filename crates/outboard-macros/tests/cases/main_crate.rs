//! A path that does not lead to the library is an error at the path.

#[outboard::main(crate = "no_such_crate")]
async fn main() {}
