//! How long the CPU still has to do with a load that its visitor has left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use super::usage::Meter;
use crate::figure;
use crate::site::Host;

/// How long the use of the CPU is looked at.
const WINDOW: Duration = Duration::from_millis(100);

/// A server that computes nothing uses no more cores than that, for so many windows: on a busy
/// machine one that computes may be kept from it for a while.
const FREE_CORES: f64 = 0.15;
const FREE_WINDOWS: usize = 3;

/// When it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Says of each server of a load that was left when its CPU was free, unless there is something
/// else to compute by then.
pub(super) async fn tell(shared: Arc<Shared>, load: u64, mut hosts: Vec<Host>) {
    let left = Instant::now();
    let mut meter = Meter::default();
    meter.cores(&shared);
    // When each was first seen free, and for how many windows it has been.
    let mut seen = [(Duration::ZERO, 0); Host::ALL.len()];
    while !hosts.is_empty() && left.elapsed() < PATIENCE {
        tokio::time::sleep(WINDOW).await;
        let cores = meter.cores(&shared);
        for (cores, (since, windows)) in cores.iter().zip(&mut seen) {
            match (*cores < FREE_CORES, *windows) {
                (true, 0) => (*since, *windows) = (left.elapsed(), 1),
                (true, _) => *windows += 1,
                (false, _) => *windows = 0,
            }
        }
        let is_free = |host: &Host| seen[*host as usize].1 >= FREE_WINDOWS;
        if !hosts.iter().any(is_free) {
            continue;
        }
        let alone = shared.change(|board| {
            if board.is_loaded() || board.running.is_some() {
                return false;
            }
            let slots = board.load(load).into_iter().flat_map(|load| &mut load.came);
            for (host, slot) in slots.filter(|(host, _)| hosts.contains(host) && is_free(host)) {
                let within = figure::time(seen[*host as usize].0.as_secs_f64());
                let came = slot.take();
                *slot = came.map(|came| came.adding(format!("its CPU was free within {within}")));
            }
            true
        });
        if !alone {
            return;
        }
        hosts.retain(|host| !is_free(host));
    }
}
