//! The pools of the storm beside the default one: an exclusive one, whose workers notice a second
//! process of their slot, and an elastic one, whose workers come and go.

use std::fs::{self, File};
use std::path::PathBuf;

use rustix::fs::{FlockOperation, fcntl_lock};
use rustix::process::{Pid, getppid};

/// All pools by name; the first has what is not said.
pub(super) const POOLS: [&str; 3] = ["default", "exclusive", "elastic"];

/// Their options in a URL.
const OPTIONS: &str = "pool.exclusive.workers=2&pool.exclusive.exclusive=1\
                       &pool.elastic.workers=0..=2&pool.elastic.idle=100ms";

/// A URL with these pools.
pub(super) fn with_pools(url: &str) -> String {
    let sign = if url.contains('?') { '&' } else { '?' };
    format!("{url}{sign}{OPTIONS}")
}

/// A file by which workers of one server meet.
fn file(server: u32, name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("outboard-chaos.{server}.{name}"))
}

/// Locks the slot for as long as the process lives. If another one has it, that is noted.
#[outboard::on_start(pool = "exclusive")]
fn hold_the_slot() -> std::io::Result<()> {
    let server = getppid().map_or(0, |server| Pid::as_raw_pid(server).unsigned_abs());
    let slot = outboard::slot().ok_or_else(|| std::io::Error::other("it has no slot"))?;
    let held = File::options().create(true).append(true).open(file(server, &slot.to_string()))?;
    // A lock of this process, which no child of it has.
    if fcntl_lock(&held, FlockOperation::NonBlockingLockExclusive).is_err() {
        fs::write(file(server, &format!("two.{slot}.{}", std::process::id())), "")?;
    }
    std::mem::forget(held);
    Ok(())
}

/// How often two processes had one slot; clears the files away.
pub(super) fn shared_slots() -> usize {
    let prefix = file(std::process::id(), "");
    let prefix = prefix.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let entries = fs::read_dir(std::env::temp_dir()).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| {
        let name = entry.file_name().to_string_lossy().into_owned();
        let own = name.strip_prefix(&prefix)?.to_owned();
        let _ = fs::remove_file(entry.path());
        Some(own)
    });
    names.filter(|name| name.starts_with("two.")).count()
}
