//! How long the CPU still has to do with a load that its visitor has left.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Shared;
use super::usage::Meter;
use crate::figure;
use crate::site::Host;

/// How long the use of the CPU is looked at.
const WINDOW: Duration = Duration::from_millis(100);

/// A server that uses no more cores than that computes nothing; one that computes on a busy
/// machine uses more.
const FREE_CORES: f64 = 0.25;

/// When it is given up.
const PATIENCE: Duration = Duration::from_secs(60);

/// Says of each server of a load that was left when its CPU was free, unless there is something
/// else to compute by then.
pub(super) async fn tell(shared: Arc<Shared>, load: u64, mut hosts: Vec<Host>) {
    let left = Instant::now();
    let mut meter = Meter::default();
    meter.cores(&shared);
    while !hosts.is_empty() && left.elapsed() < PATIENCE {
        tokio::time::sleep(WINDOW).await;
        let cores = meter.cores(&shared);
        let within = figure::time(left.elapsed().as_secs_f64());
        let (free, busy): (Vec<_>, _) =
            hosts.into_iter().partition(|host| cores[*host as usize] < FREE_CORES);
        hosts = busy;
        if free.is_empty() {
            continue;
        }
        let alone = shared.change(|board| {
            if board.is_loaded() || board.running.is_some() {
                return false;
            }
            let slots = board.load(load).into_iter().flat_map(|load| &mut load.came);
            for (_, slot) in slots.filter(|(host, _)| free.contains(host)) {
                let came = slot.take();
                *slot = came.map(|came| came.adding(format!("its CPU was free within {within}")));
            }
            true
        });
        if !alone {
            return;
        }
    }
}
