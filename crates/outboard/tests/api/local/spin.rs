//! Who waits looks before it sleeps: nobody else may pay for that.

use std::time::Duration;

use futures_util::FutureExt;
use outboard::Client;

use crate::support::run;

const SPIN: Duration = Duration::from_micros(50);

/// A future that began to look and is not polled again has the worker's answers come by bell.
#[test]
fn a_future_that_is_not_polled_holds_up_no_answer() {
    run(async {
        let client = Client::local().workers(1).spares(0).spin(SPIN).await.unwrap();
        for n in 0..300_u64 {
            let mut looks = Box::pin(client.submit(|x: u64| x + 1, n));
            let soon = looks.as_mut().now_or_never();
            let behind = client.submit(|x: u64| x + 2, n).await.unwrap();
            assert_eq!(behind, n + 2);
            let first = match soon {
                Some(first) => first,
                None => looks.await,
            };
            assert_eq!(first.unwrap(), n + 1);
        }
        client.shutdown().await;
    });
}

/// It is left while it looks: by a drop, and by one that runs out of time.
#[test]
fn a_future_that_is_dropped_while_it_looks_leaves_the_worker_to_others() {
    run(async {
        let client = Client::local().workers(1).spin(SPIN).await.unwrap();
        for n in 0..100_u64 {
            let dropped = client.submit(|x: u64| x + 1, n).now_or_never();
            assert!(dropped.is_none_or(|result| result.unwrap() == n + 1));
            let late = client.timeout(Duration::from_micros(1)).submit(|x: u64| x + 1, n).await;
            // It may be quicker than the clock.
            match late {
                Ok(result) => assert_eq!(result, n + 1),
                Err(error) => assert!(error.is_timed_out(), "{error}"),
            }
            assert_eq!(client.submit(|x: u64| x + 2, n).await.unwrap(), n + 2);
        }
        client.shutdown().await;
    });
}

#[test]
fn by_default_nobody_looks() {
    run(async {
        let client = Client::local().workers(1).await.unwrap();
        for n in 0..100_u64 {
            assert_eq!(client.submit(|x: u64| x + 1, n).await.unwrap(), n + 1);
        }
        for worker in client.admin().snapshot().per_worker {
            for spins in [worker.spins, worker.caller_spins] {
                assert_eq!((spins.time, spins.found, spins.in_vain), (Duration::ZERO, 0, 0));
            }
        }
        client.shutdown().await;
    });
}
