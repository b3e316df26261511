//! `#[main]` marks an `async fn`, and knows the options of the two flavors.

#![allow(unused_variables)]

mod not_async {
    #[outboard::main]
    fn main() {}
}

mod arguments {
    #[outboard::main]
    async fn main(port: u16) {
        println!("{port}");
    }
}

mod generics {
    #[outboard::main]
    async fn main<T: Default, const N: usize>() {
        T::default();
    }
}

#[outboard::main]
struct Main;

#[outboard::main(flavour = "multi_thread", start_paused = true)]
async fn unknown_options() {}

#[outboard::main(worker_threads = 2, flavor = "multi_thread", worker_threads = 2)]
async fn twice() {}

#[outboard::main(flavor = "single_thread")]
async fn no_such_flavor() {}

#[outboard::main(flavor)]
async fn no_flavor() {}

#[outboard::main(worker_threads = 0)]
async fn no_threads() {}

#[outboard::main(worker_threads = "4")]
async fn threads_as_text() {}

#[outboard::main(flavor = "current_thread", worker_threads = 4)]
async fn one_thread_and_four() {}

#[outboard::main(crate = outboard)]
async fn crate_without_quotes() {}

#[outboard::main("multi_thread")]
fn attribute_and_function() {}

fn main() {}
