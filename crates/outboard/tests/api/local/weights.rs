//! What weights take of memory: once where workers share them, else once in each worker.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use outboard::{Bytes, Client, Scattered, gather};

use crate::support::raw::map;
use crate::support::scratch::Scratch;
use crate::support::{eventually, run};

const MODEL_BYTES: u64 = 24 << 20;

/// What PSS may be wrong by: what a worker allocates for a task itself.
const LITTLE: u64 = MODEL_BYTES / 6;

/// Touches all of the weights, once as many workers do.
fn infer(weights: &[u8], (at, together): (&Path, usize)) -> u32 {
    let pid = std::process::id();
    let sum: u64 = weights.iter().step_by(1 << 10).map(|byte| u64::from(*byte)).sum();
    std::fs::write(at.join(format!("sum.{pid}")), sum.to_string()).unwrap();
    let summed = |entry: std::io::Result<std::fs::DirEntry>| {
        entry.unwrap().file_name().to_string_lossy().starts_with("sum.")
    };
    while std::fs::read_dir(at).unwrap().filter_map(|it| summed(it).then_some(())).count()
        < together
    {
        std::thread::sleep(Duration::from_millis(1));
    }
    pid
}

#[outboard::task]
fn by_mapped_file(model: PathBuf, at: PathBuf, together: usize) -> u32 {
    static MODEL: OnceLock<&[u8]> = OnceLock::new();
    infer(MODEL.get_or_init(|| map(&model)), (&at, together))
}

#[outboard::task]
fn by_scattered_bytes(model: Scattered<Bytes>, at: PathBuf, together: usize) -> u32 {
    infer(&model, (&at, together))
}

#[outboard::task]
fn by_heap(model: PathBuf, at: PathBuf, together: usize) -> u32 {
    static MODEL: OnceLock<Vec<u8>> = OnceLock::new();
    infer(MODEL.get_or_init(|| std::fs::read(model).unwrap()), (&at, together))
}

/// The proportional memory of all workers.
fn pss(client: &Client) -> u64 {
    let workers = client.admin().snapshot().per_worker;
    let of = |pid: u32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap();
        let line = text.lines().find_map(|line| line.strip_prefix("Pss:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    };
    workers.iter().map(|worker| of(worker.pid)).sum()
}

/// Where the weights are.
#[derive(Clone, Copy)]
enum Kind {
    Mapped,
    Scattered,
    Heap,
}

/// By how much the memory of so many workers grows when each has read the weights.
async fn grows(kind: Kind, workers: usize, model: &Path) -> u64 {
    let client = Client::local().workers(workers).spares(0).tenant_reserve(false).await.unwrap();
    eventually("all are up", || client.admin().snapshot().per_worker.len() == workers).await;
    let before = pss(&client);
    let scratch = Scratch::new();
    let shared = client.scatter(Bytes::from(std::fs::read(model).unwrap())).await.unwrap();
    let tasks = (0..workers).map(|_| {
        let (model, at) = (model.to_owned(), scratch.path());
        match kind {
            Kind::Mapped => client.submit(by_mapped_file, (model, at, workers)),
            Kind::Scattered => client.submit(by_scattered_bytes, (shared.clone(), at, workers)),
            Kind::Heap => client.submit(by_heap, (model, at, workers)),
        }
    });
    gather(tasks).await.unwrap();
    let after = pss(&client);
    if matches!((kind, workers), (Kind::Heap, 2)) {
        let shown = || {
            let workers = client.admin().snapshot().per_worker;
            workers.iter().map(|worker| worker.proportional_bytes).sum::<Option<u64>>()
        };
        // What is shown is measured some seconds later, and then as the system has it.
        let shows = |shown: u64| shown.abs_diff(after) < LITTLE * workers as u64;
        eventually("it is shown", || shown().is_some_and(shows)).await;
    }
    after.saturating_sub(before)
}

#[test]
fn shared_weights_take_memory_once_and_those_of_the_heap_in_each_worker() {
    run(async {
        let scratch = Scratch::new();
        let model = scratch.path().join("weights");
        let weights: Vec<u8> = (0..MODEL_BYTES).map(|at| (at % 251) as u8 + 1).collect();
        std::fs::write(&model, &weights).unwrap();
        for workers in [1, 2, 4] {
            let mapped = grows(Kind::Mapped, workers, &model).await;
            let scattered = grows(Kind::Scattered, workers, &model).await;
            let heap = grows(Kind::Heap, workers, &model).await;
            let several = LITTLE * workers as u64;
            assert!(mapped < MODEL_BYTES + several, "{workers} workers: {mapped} bytes mapped");
            assert!(
                scattered < MODEL_BYTES + several,
                "{workers} workers: {scattered} bytes scattered"
            );
            assert!(
                heap > MODEL_BYTES * workers as u64 - several,
                "{workers} workers: {heap} bytes"
            );
            println!("{workers} workers: {mapped} mapped, {scattered} scattered, {heap} heap");
        }
    });
}
