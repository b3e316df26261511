//! What functions on start are given, async ones, and clients that do not wait for them.

use std::sync::OnceLock;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use outboard::{Client, Scattered};
use serde::{Deserialize, Serialize};

use crate::support::scratch::Scratch;
use crate::support::{eventually, run};

#[derive(Serialize, Deserialize)]
struct Config {
    name: String,
    table: Scattered<Vec<u64>>,
}

static CONFIG: OnceLock<Config> = OnceLock::new();

/// Counts on, whether a task runs or not.
static TICKS: AtomicU64 = AtomicU64::new(0);

#[outboard::on_start(pool = "configured")]
async fn load(config: Config) -> Result<(), String> {
    tokio::spawn(async {
        loop {
            tokio::time::sleep(Duration::from_millis(1)).await;
            TICKS.fetch_add(1, Relaxed);
        }
    });
    tokio::time::sleep(Duration::from_millis(1)).await;
    if config.name.is_empty() {
        return Err("a name is needed".to_owned());
    }
    CONFIG.set(config).map_err(|_| "loaded twice".to_owned())
}

#[outboard::task(name = "configured::look_up", pool = "configured")]
fn look_up(at: usize) -> (String, u64) {
    let config = CONFIG.get().expect("`load` ran");
    (config.name.clone(), config.table[at])
}

#[outboard::task(name = "configured::ticks", pool = "configured")]
fn ticks() -> u64 {
    TICKS.load(Relaxed)
}

/// Nothing ran in a worker of another pool.
#[outboard::task(name = "configured::loaded")]
fn loaded() -> bool {
    CONFIG.get().is_some()
}

async fn table() -> (Client, Scattered<Vec<u64>>) {
    let elsewhere = Client::local().workers(1).spares(0).await.unwrap();
    let table = elsewhere.scatter((0..100_000).map(|n| 2 * n).collect()).await.unwrap();
    (elsewhere, table)
}

#[test]
fn a_value_arrives_in_each_worker_of_its_pool_and_its_runtime_goes_on() {
    run(async {
        let (elsewhere, table) = table().await;
        let config = Config { name: "small".to_owned(), table };
        let builder = Client::local().workers(1).spares(0);
        let client = builder.pool("configured", |pool| pool.workers(2).start_with(config));
        let client = client.await.unwrap();
        drop(elsewhere);
        for x in 0..8 {
            let (name, found) = client.submit(look_up, 9_000 + x).await.unwrap();
            assert_eq!((name.as_str(), found), ("small", 2 * (9_000 + x as u64)));
        }
        assert!(!client.submit(loaded, ()).await.unwrap());
        let one = client.pool("configured").admin().pool("configured").unwrap();
        one.scale(1).unwrap();
        eventually("one is left", || {
            one.snapshot().per_worker.iter().filter(|it| !it.standby).count() == 1
        })
        .await;
        let first = client.submit(ticks, ()).await.unwrap();
        // Between tasks, for none runs meanwhile.
        tokio::time::sleep(Duration::from_millis(200)).await;
        let then = client.submit(ticks, ()).await.unwrap();
        assert!(then > first, "it stood still at {first}");
    });
}

#[test]
fn a_value_that_is_wrong_or_missing_is_said() {
    run(async {
        let with = |set: fn(outboard::LocalBuilder) -> outboard::LocalBuilder| {
            Client::local().workers(1).spares(0).pool("configured", set)
        };
        for (builder, says) in [
            (with(|pool| pool), "none was given"),
            (with(|pool| pool.start_with(7_u64)), "but `start_with` gave `u64`"),
        ] {
            let error = builder.await.unwrap_err();
            assert!(error.is_unavailable() && error.to_string().contains(says), "{error}");
            assert!(error.to_string().contains("configured::load"), "{error}");
        }
        let (_elsewhere, table) = table().await;
        let config = Config { name: String::new(), table };
        let builder = Client::local().workers(1).spares(0);
        let error = builder.pool("configured", |pool| pool.start_with(config)).await.unwrap_err();
        assert!(error.to_string().contains("a name is needed"), "{error}");
    });
}

/// Waits until the test lets it go on.
#[outboard::on_start(pool = "slow")]
fn wait_to_start(at: std::path::PathBuf) {
    while !at.join("go").exists() {
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_lazy_client_is_there_before_its_workers() {
    run(async {
        let scratch = Scratch::new();
        let at: std::path::PathBuf = scratch.path();
        let builder = Client::local().workers(1).spares(0);
        let builder = builder.pool("slow", |pool| pool.lazy().start_with(at.clone()));
        let client = builder.await.unwrap();
        let slow = client.admin().pool("slow").unwrap();
        assert!(slow.snapshot().open && slow.snapshot().per_worker.iter().all(|it| it.standby));
        assert_eq!(client.submit(|x: u64| x, 1).await.unwrap(), 1, "the other pool is up");
        let waits = client.pool("slow").submit(|x: u64| x + 1, 1);
        assert_eq!(slow.snapshot().queued, 1);
        std::fs::write(at.join("go"), "").unwrap();
        assert_eq!(waits.await.unwrap(), 2);
    });
}
