//! Arguments that take workers down are refused for a while, where that was asked
//! for.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use outboard::error::Cause;
use outboard::{Client, LocalBuilder};

use crate::support::scratch::{Scratch, start};
use crate::support::{DEADLINE, run};

/// Takes its worker down if it is told to.
#[outboard::task(name = "tests::poison")]
fn poison(at: PathBuf, deadly: bool) -> bool {
    start(&at);
    if deadly {
        std::process::abort();
    }
    deadly
}

fn local() -> LocalBuilder {
    Client::local().workers(1)
}

#[test]
fn deadly_arguments_are_refused_and_later_tried_again() {
    run(async {
        let time = Duration::from_secs(5);
        let client = local().quarantine(2, time).await.unwrap();
        let scratch = Scratch::new();
        let submit = async |deadly| client.submit(poison, (scratch.path(), deadly)).await;
        let mut last = Instant::now();
        for _ in 0..2 {
            last = Instant::now();
            assert!(submit(true).await.unwrap_err().is_worker_lost());
        }
        let error = submit(true).await.unwrap_err();
        assert!(error.is_quarantined(), "{error}");
        let lost = error.worker_loss().unwrap();
        assert_eq!((lost.task, lost.cause), ("tests::poison", Some(Cause::Signal(6))));
        assert_eq!(lost.pid, scratch.pid(), "the report is that of the last crash");
        assert_eq!((scratch.starts(), client.admin().snapshot().refused), (2, 1));
        assert_eq!(submit(false).await.ok(), Some(false), "others are innocent");
        let tenant = client.tenant("another").submit(poison, (scratch.path(), true)).await;
        assert!(tenant.unwrap_err().is_quarantined());
        while submit(true).await.unwrap_err().is_quarantined() {
            assert!(last.elapsed() < DEADLINE, "it is refused for ever");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(last.elapsed() >= time, "it was refused for that long");
        assert!(submit(true).await.unwrap_err().is_worker_lost(), "once is not twice");
    });
}

#[test]
fn attempts_count_and_end_with_the_one_that_is_too_many() {
    run(async {
        let client = local().quarantine(3, DEADLINE).await.unwrap();
        let scratch = Scratch::new();
        let stubborn = client.retries(10).submit(poison, (scratch.path(), true));
        let error = stubborn.await.unwrap_err();
        assert!(error.is_worker_lost(), "{error}");
        assert_eq!((error.worker_loss().unwrap().attempt, scratch.starts()), (3, 3));
        let again = client.retries(10).submit(poison, (scratch.path(), true)).await;
        assert!(again.unwrap_err().is_quarantined());
        assert_eq!(scratch.starts(), 3);
    });
}

#[test]
fn those_that_wait_already_are_refused_too() {
    run(async {
        let client = local().quarantine(1, DEADLINE).await.unwrap();
        let scratch = Scratch::new();
        let all = [(); 20].map(|()| client.submit(poison, (scratch.path(), true)));
        let harmless = client.submit(poison, (scratch.path(), false));
        let mut kinds = Vec::new();
        for one in all {
            kinds.push(one.await.unwrap_err().is_quarantined());
        }
        assert_eq!(kinds.iter().filter(|refused| !**refused).count(), 1, "{kinds:?}");
        assert_eq!(harmless.await.ok(), Some(false));
        assert_eq!(scratch.starts(), 2);
        assert_eq!(client.admin().snapshot().failed, 20);
    });
}

#[test]
fn panics_and_cancelled_tasks_take_no_worker_down() {
    run(async {
        let client = local().quarantine(1, DEADLINE).await.unwrap();
        let fail = |_: u8| -> u8 { panic!("no") };
        for _ in 0..3 {
            assert!(client.submit(fail, 7).await.unwrap_err().is_panicked());
        }
        let scratch = Scratch::new();
        for times in 1..4 {
            let held = client.submit(crate::support::tasks::spin, scratch.path());
            scratch.started(times).await;
            drop(held);
        }
        assert_eq!(scratch.starts(), 3);
    });
}

#[test]
fn by_default_nothing_is_refused() {
    run(async {
        let client = local().await.unwrap();
        let scratch = Scratch::new();
        for _ in 0..6 {
            let error = client.submit(poison, (scratch.path(), true)).await.unwrap_err();
            assert!(error.is_worker_lost(), "{error}");
        }
        assert_eq!(scratch.starts(), 6);
    });
}
