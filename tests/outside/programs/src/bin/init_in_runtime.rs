//! Calls `init` where threads exist already.

fn main() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async { outboard::init() });
}
