//! The crate's functions from outside; the worker is in a module this time.

use outboard::Client;

mod worker {
    outboard::test_worker!();
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Runtime::new().unwrap().block_on(future)
}

/// A task of the test itself.
#[outboard::task]
fn crash() {
    std::process::abort();
}

#[test]
fn a_function_of_the_crate_is_a_task() {
    block_on(async {
        let client = Client::local().workers(1).await.unwrap();
        assert_eq!(client.submit(user::count, "a b c".to_owned()).await.unwrap(), 3);
    });
}

#[test]
fn many_tasks_run_at_once() {
    block_on(async {
        let client = Client::local().workers(2).await.unwrap();
        let texts = (0..100).map(|n| "word ".repeat(n));
        let counts = client.map(user::count, texts).gather().await.unwrap();
        assert_eq!(counts, (0..100).collect::<Vec<_>>());
    });
}

#[test]
fn a_crash_costs_one_task() {
    block_on(async {
        let client = Client::local().workers(1).await.unwrap();
        let (lost, next) =
            (client.submit(crash, ()), client.submit(user::count, "a b".to_owned()));
        assert!(lost.await.unwrap_err().is_worker_lost());
        assert_eq!(next.await.unwrap(), 2);
    });
}
