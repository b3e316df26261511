//! What the workers of every Rust peer compute. `bench/peers/tasks.py` has the same.

use std::fs::{File, OpenOptions};
use std::hint::black_box;
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use rustix::time::{ClockId, Timespec, clock_gettime};

pub(crate) fn add_one(x: u64) -> u64 {
    x + 1
}

pub(crate) fn echo(data: Bytes) -> Bytes {
    data
}

/// Keeps a core busy until this thread has had so much CPU time; never sleeps.
pub(crate) fn burn(index: u64, seconds: f64) -> u64 {
    spin(ClockId::ThreadCPUTime, seconds);
    index
}

/// Runs beside the task that crashes, and counts its starts and its ends.
pub(crate) fn sibling(scratch: String, seconds: f64) -> u64 {
    note(&scratch, "sibling.starts");
    burn(0, seconds);
    note(&scratch, "sibling.ends");
    7
}

/// Counts its starts, and ends its process by SIGABRT, as a failed C assertion does.
pub(crate) fn crash(scratch: String) -> u64 {
    note(&scratch, "crash.starts");
    std::process::abort()
}

/// Keeps a core busy for so long, and writes the time into a file each millisecond.
pub(crate) fn beat(path: String, seconds: f64) -> u64 {
    let file = File::create(path).expect("the scratch directory can be written");
    let end = monotonic() + Duration::from_secs_f64(seconds);
    while monotonic() < end {
        let now = monotonic().as_nanos() as i64;
        file.write_all_at(&now.to_le_bytes(), 0).expect("the file can be written");
        spin(ClockId::Monotonic, 0.001);
    }
    0
}

/// The clock that all processes of a machine share.
pub(crate) fn monotonic() -> Duration {
    since_zero(ClockId::Monotonic)
}

fn spin(clock: ClockId, seconds: f64) {
    let end = since_zero(clock) + Duration::from_secs_f64(seconds);
    while black_box(since_zero(clock)) < end {}
}

fn since_zero(clock: ClockId) -> Duration {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(clock);
    Duration::new(tv_sec as u64, tv_nsec as u32)
}

/// Adds one byte to a file, so that its length counts.
fn note(scratch: &str, name: &str) {
    let path = Path::new(scratch).join(name);
    let file = OpenOptions::new().append(true).create(true).open(path);
    file.and_then(|mut file| file.write_all(b".")).expect("the scratch directory can be written");
}
