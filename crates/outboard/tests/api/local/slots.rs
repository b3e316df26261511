//! The slot of a worker: a stable number, and where it is exclusive, one process at a time.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use outboard::{Client, WorkerCount, gather};

use crate::support::process::Process;
use crate::support::scratch::Scratch;
use crate::support::tasks::{hold, spin};
use crate::support::{eventually, run};

/// Which slot and process it ran in, once as many run at once.
#[outboard::task]
fn slot_and_pid(at: PathBuf, together: usize) -> (Option<usize>, u32) {
    let pid = std::process::id();
    std::fs::write(at.join(format!("ran.{pid}")), "").unwrap();
    let ran = || std::fs::read_dir(&at).unwrap().count();
    while ran() < together {
        std::thread::sleep(Duration::from_millis(1));
    }
    (outboard::slot(), pid)
}

/// The slots of the workers, each of which runs a task.
async fn slots(client: &Client, workers: usize) -> Vec<usize> {
    let scratch = tempfile_dir();
    let answers =
        gather((0..workers).map(|_| client.submit(slot_and_pid, (scratch.0.clone(), workers))));
    let mut slots: Vec<_> =
        answers.await.unwrap().into_iter().map(|(slot, _)| slot.unwrap()).collect();
    slots.sort_unstable();
    slots
}

#[outboard::task]
fn abort() {
    std::process::abort();
}

/// A directory that is removed in the end.
struct Directory(PathBuf);

fn tempfile_dir() -> Directory {
    let name = format!("outboard-slots-{}-{:?}", std::process::id(), std::time::Instant::now());
    let name: String = name.chars().filter(|c| c.is_ascii_alphanumeric() || *c == '-').collect();
    let directory = std::env::temp_dir().join(name);
    std::fs::create_dir(&directory).unwrap();
    Directory(directory)
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// Waits until so many workers serve, and none beside them but spares.
async fn serve(client: &Client, workers: usize) {
    let serving = || {
        let workers = client.admin().snapshot().per_worker;
        workers.iter().filter(|worker| !worker.standby).count()
    };
    eventually("all serve", || serving() == workers).await;
}

async fn kill_one(client: &Client) {
    let scratch = Scratch::new();
    let running = client.submit(spin, scratch.path());
    scratch.started(1).await;
    let pid = scratch.pid();
    drop(running);
    let gone = || client.admin().snapshot().per_worker.iter().all(|worker| worker.pid != pid);
    eventually("it is gone", gone).await;
}

#[test]
fn a_replacement_has_the_slot_of_the_worker_before() {
    run(async {
        for spares in [0, 1] {
            let client = Client::local().workers(2).spares(spares).tenant_reserve(false);
            let client = client.await.unwrap();
            serve(&client, 2).await;
            assert_eq!(slots(&client, 2).await, [0, 1]);
            for _ in 0..3 {
                kill_one(&client).await;
                serve(&client, 2).await;
                assert_eq!(slots(&client, 2).await, [0, 1]);
            }
            let old = client.admin().snapshot().per_worker;
            let old = old.iter().find(|worker| worker.slot == Some(1)).unwrap().clone();
            assert!(client.admin().recycle(old.number));
            let left = || client.admin().snapshot().per_worker.iter().all(|it| it.pid != old.pid);
            eventually("it is recycled", left).await;
            assert_eq!(slots(&client, 2).await, [0, 1]);
            client.admin().scale(3).unwrap();
            serve(&client, 3).await;
            assert_eq!(slots(&client, 3).await, [0, 1, 2]);
            client.admin().scale(1).unwrap();
            serve(&client, 1).await;
            assert_eq!(slots(&client, 1).await, [0]);
        }
    });
}

#[test]
fn a_worker_that_crashes_leaves_its_slot_to_the_next() {
    run(async {
        let client = Client::local().workers(2).spares(1).tenant_reserve(false).await.unwrap();
        serve(&client, 2).await;
        for _ in 0..3 {
            client.submit(abort, ()).await.unwrap_err();
            serve(&client, 2).await;
            assert_eq!(slots(&client, 2).await, [0, 1]);
        }
    });
}

/// How long a worker of an elastic pool may have nothing to do.
const IDLE: Duration = Duration::from_millis(30);

/// Where the workers of the pool `exclusive` note which process has which slot.
const NOTES: &str = "OUTBOARD_TEST_SLOTS";

/// Ends the worker, and tells the test, if another process of this slot is still there.
#[outboard::on_start(pool = "exclusive")]
fn hold_the_slot() {
    let notes = PathBuf::from(std::env::var_os(NOTES).unwrap());
    let slot = outboard::slot().expect("a worker of an exclusive pool has its slot");
    assert_eq!(std::env::var("SLOT").unwrap(), slot.to_string());
    let note = notes.join(format!("slot.{slot}"));
    if let Ok(before) = std::fs::read_to_string(&note)
        && std::path::Path::new("/proc").join(&before).exists()
    {
        std::fs::write(notes.join(format!("two.{slot}")), before).unwrap();
    }
    std::fs::write(note, std::process::id().to_string()).unwrap();
}

async fn exclusive(
    notes: &Directory,
    workers: impl Into<WorkerCount>,
    recycle_after: u64,
) -> Client {
    let notes = notes.0.clone();
    let client = Client::local().workers(1).spares(0).pool("exclusive", |pool| {
        let pool = pool.workers(workers).idle(IDLE).spares(3).tenant_reserve(false);
        pool.recycle_after_tasks(recycle_after)
            .env(move |slot| [("SLOT", slot.to_string()), (NOTES, notes.display().to_string())])
    });
    client.await.unwrap()
}

fn saw_two(notes: &Directory) -> bool {
    let names = std::fs::read_dir(&notes.0).unwrap().map(|entry| entry.unwrap().file_name());
    let names: BTreeSet<_> = names.collect();
    names.iter().any(|name| name.to_string_lossy().starts_with("two."))
}

#[test]
fn no_two_processes_have_an_exclusive_slot() {
    run(async {
        let notes = tempfile_dir();
        let client = exclusive(&notes, 2, 5).await;
        let (pool, admin) = (client.pool("exclusive"), client.admin().pool("exclusive").unwrap());
        let up = || admin.snapshot().per_worker.len();
        eventually("both are up", || up() == 2).await;
        for round in 0..8 {
            match round % 4 {
                0 => kill_one(&pool).await,
                1 => drop(pool.submit(abort, ()).await.unwrap_err()),
                2 => {
                    let worker = admin.snapshot().per_worker.first().map(|it| it.number);
                    worker.map(|worker| admin.recycle(worker));
                }
                _ => {
                    let worker = admin.snapshot().per_worker.first().map(|it| it.pid);
                    if let Some(process) = worker.and_then(Process::find) {
                        process.kill();
                    }
                }
            }
            // Enough that they are recycled, too.
            for x in 0..6 {
                assert_eq!(pool.submit(|x: u64| x, x).await.unwrap(), x);
            }
            assert!(up() <= 2, "{:?}", admin.snapshot().per_worker);
        }
        eventually("both are up", || up() == 2).await;
        assert_eq!(slots(&pool, 2).await, [0, 1]);
        assert!(!saw_two(&notes));
        let restarts = admin.snapshot().restarts;
        assert!(restarts.recycled > 0 && restarts.lost > 0 && restarts.killed > 0, "{restarts:?}");
    });
}

#[test]
fn no_two_processes_have_a_slot_of_an_elastic_pool_that_comes_and_goes() {
    run(async {
        let notes = tempfile_dir();
        let client = exclusive(&notes, 0..=3, 3).await;
        let (pool, admin) = (client.pool("exclusive"), client.admin().pool("exclusive").unwrap());
        let (up, wanted) = (|| admin.snapshot().per_worker.len(), || admin.snapshot().workers);
        for round in 0..15 {
            // Two tasks and a kill at once, so that slots come while others go.
            let (one, other) = (Scratch::new(), Scratch::new());
            let stays = pool.submit(hold, one.path());
            let killed = pool.submit(spin, other.path());
            one.started(1).await;
            other.started(1).await;
            match round % 5 {
                0 => drop(killed),
                1 => {
                    Process::find(other.pid()).unwrap().kill();
                    assert!(killed.await.unwrap_err().is_worker_lost());
                }
                2 => drop(pool.submit(abort, ()).await.unwrap_err()),
                3 => {
                    let worker = admin.snapshot().per_worker.first().map(|it| it.number);
                    worker.map(|worker| admin.recycle(worker));
                }
                _ => eventually("none but those that are held", || wanted() <= 2).await,
            }
            one.release();
            other.release();
            stays.await.unwrap();
            let mut slots: Vec<_> =
                admin.snapshot().per_worker.iter().filter_map(|worker| worker.slot).collect();
            slots.sort_unstable();
            slots.windows(2).for_each(|pair| assert_ne!(pair[0], pair[1]));
            if round % 3 == 0 {
                eventually("none is left", || up() == 0 && wanted() == 0).await;
            }
        }
        eventually("none is left", || up() == 0 && wanted() == 0).await;
        assert!(!saw_two(&notes));
        let restarts = admin.snapshot().restarts;
        assert!(restarts.dismissed > 0 && restarts.lost > 0 && restarts.killed > 0, "{restarts:?}");
    });
}

#[test]
fn an_exclusive_pool_is_scaled_from_its_end() {
    run(async {
        let notes = tempfile_dir();
        let client = exclusive(&notes, 2, 1_000).await;
        let (pool, admin) = (client.pool("exclusive"), client.admin().pool("exclusive").unwrap());
        let slots_now = || {
            let workers = admin.snapshot().per_worker;
            let mut slots: Vec<_> = workers.iter().filter_map(|worker| worker.slot).collect();
            slots.sort_unstable();
            slots
        };
        eventually("both are up", || slots_now() == [0, 1]).await;
        let scratch = Scratch::new();
        let held: Vec<_> = (0..2).map(|_| pool.submit(hold, scratch.path())).collect();
        scratch.started(2).await;
        // The worker of slot 1 has its task still; its slot is not given away meanwhile.
        admin.scale(1).unwrap();
        admin.scale(3).unwrap();
        eventually("slot 2 is up", || slots_now().contains(&2)).await;
        scratch.release();
        gather(held).await.unwrap();
        eventually("all are up", || slots_now() == [0, 1, 2]).await;
        admin.scale(1).unwrap();
        eventually("one is left", || slots_now() == [0]).await;
        assert!(!saw_two(&notes));
    });
}
