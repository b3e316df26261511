//! Shapes of `#[main]`, and the runtimes that they have.

#![forbid(unsafe_code)]
#![deny(missing_docs, warnings, unused_lifetimes, unused_qualifications)]

use std::process::{ExitCode, Termination};

use tokio::runtime::{Handle, RuntimeFlavor};

/// How many threads the runtime has.
fn threads() -> usize {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => 0,
        _ => Handle::current().metrics().num_workers(),
    }
}

#[outboard::main(flavor = "current_thread")]
async fn one_thread() -> usize {
    #![allow(unused_variables)]
    let unused = ();
    threads()
}

#[outboard::main(worker_threads = 3)]
pub(crate) async fn three_threads() -> Result<usize, Box<dyn std::error::Error>> {
    let read: u8 = "3".parse()?;
    if read != 3 {
        return Err("it cannot read".into());
    }
    Ok(threads())
}

#[outboard::main(crate = "::outboard", flavor = "multi_thread",)]
#[expect(clippy::needless_lifetimes, reason = "it is kept, as all attributes are")]
async fn arguments<'a, T: Clone + Send>(text: &'a str, (mut a, b): (u8, u8), t: T) -> (u8, T) {
    a += b;
    tokio::spawn(async {}).await.unwrap();
    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    assert_eq!(text, "text");
    (a, t.clone())
}

#[outboard::main(flavor = "current_thread")]
async fn opaque() -> impl Termination {
    ExitCode::SUCCESS
}

#[outboard::main(flavor = "current_thread")]
#[cfg(any())]
async fn absent(absent: Absent) {}

#[outboard::main(flavor = "current_thread")]
async fn never() -> ! {
    std::process::exit(0)
}

macro_rules! main {
    ($($body:tt)*) => {
        /// Documented.
        #[outboard::main]
        pub async fn main() {
            $($body)*
        }
    };
}

main! {
    // Each has a runtime of its own, so none can be in another.
    std::thread::spawn(|| {
        assert_eq!(one_thread(), 0);
        assert_eq!(three_threads().unwrap(), 3);
        assert_eq!(arguments("text", (1, 2), "t"), (3, "t"));
        let _ = opaque();
        never()
    }).join().unwrap();
    unreachable!();
}
