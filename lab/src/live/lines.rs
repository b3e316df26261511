//! The moving picture: `/fast` of the three servers, asked for ten times a
//! second while somebody looks.
//!
//! They are asked from here, and not by the browser: it would keep requests back
//! when six to a server are open, and what waited there would count as the
//! server's. Here each request has a connection of its own.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use tokio::time::MissedTickBehavior;

use super::Shared;
use super::usage::Meter;
use crate::measure::{Fault, Target, connect, get};
use crate::site::{FAST, Host};

/// How often each server is asked, and a frame is drawn.
const TICK: Duration = Duration::from_millis(100);

/// After so many frames CPU and memory are looked at.
const FRAMES_PER_LOOK: u64 = 3;

/// When a request is given up.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How many requests may wait for one server: those that are kept back are no
/// younger than the oldest that waits, which is what the line shows.
const MOST_WAITING: usize = 64;

/// How far back the past goes: as long as any load takes.
const KEPT: Duration = Duration::from_secs(70);

/// One moment of the picture.
#[derive(Debug, Serialize)]
struct Frame {
    /// Milliseconds on the clock of the page.
    at: u64,
    servers: [Moment; 3],
    /// Cores of this machine, and those of them that other programs use.
    cores: usize,
    others: f64,
}

/// A server at one moment.
#[derive(Clone, Copy, Debug, Serialize)]
struct Moment {
    /// The longest that a request has waited that was answered since the last
    /// frame or still waits; `None` if there is none.
    ms: Option<f64>,
    /// Whether nobody listens there, or connections were cut.
    gone: bool,
    /// Cores that it uses; `after`, its workers.
    cores: f64,
    memory_bytes: u64,
}

/// How long the servers' visitors have waited of late.
#[derive(Debug, Default)]
pub(super) struct Past(Mutex<VecDeque<(Instant, [Option<Duration>; 3])>>);

impl Past {
    fn add(&self, now: Instant, waits: [Option<Duration>; 3]) {
        let mut past = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        past.push_back((now, waits));
        while past.front().is_some_and(|(at, _)| now.duration_since(*at) > KEPT) {
            past.pop_front();
        }
    }

    /// The longest wait for the quick page of a server since then, if anybody asked.
    pub(super) fn worst(&self, host: Host, since: Instant) -> Option<Duration> {
        let past = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let later = past.iter().filter(|(at, _)| *at >= since);
        later.filter_map(|(_, waits)| waits[host as usize]).max()
    }
}

/// What came of the requests to one server since the last frame.
#[derive(Debug, Default)]
struct Asked {
    waiting: Vec<Instant>,
    longest: Option<Duration>,
    gone: bool,
}

/// A server that is asked.
#[derive(Clone, Debug)]
struct Line {
    address: SocketAddr,
    target: Target,
    asked: Arc<Mutex<Asked>>,
}

impl Line {
    fn new(address: SocketAddr) -> Self {
        let target = Target::parse(&format!("http://{address}/fast"));
        let target = target.expect("an address makes a URL");
        Self { address, target, asked: Arc::default() }
    }

    fn lock(&self) -> MutexGuard<'_, Asked> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Asks once more, unless many wait.
    fn ask(&self) {
        let sent = Instant::now();
        {
            let mut asked = self.lock();
            if asked.waiting.len() >= MOST_WAITING {
                return;
            }
            asked.waiting.push(sent);
        }
        let line = self.clone();
        tokio::spawn(async move {
            let answer = tokio::time::timeout(TIMEOUT, line.fast()).await;
            line.answered(sent, answer.unwrap_or(Err(Fault::TimedOut)));
        });
    }

    async fn fast(&self) -> Result<(), Fault> {
        let stream = connect(self.address).await?;
        let body = get(&self.target, stream).await?;
        if body == FAST.as_bytes() { Ok(()) } else { Err(Fault::WrongBody) }
    }

    fn answered(&self, sent: Instant, answer: Result<(), Fault>) {
        let mut asked = self.lock();
        if let Some(at) = asked.waiting.iter().position(|it| *it == sent) {
            asked.waiting.remove(at);
        }
        match answer {
            Ok(()) => asked.longest = asked.longest.max(Some(sent.elapsed())),
            Err(_) => asked.gone = true,
        }
    }

    /// What came since the last frame: the longest wait, and whether it is gone.
    fn take(&self) -> (Option<Duration>, bool) {
        let mut asked = self.lock();
        let waits = asked.waiting.iter().map(Instant::elapsed).max();
        let longest = asked.longest.take().max(waits);
        (longest, std::mem::take(&mut asked.gone))
    }
}

/// Draws while somebody looks, for ever.
pub(super) async fn draw(shared: Arc<Shared>) {
    let lines = Host::ALL.map(|host| Line::new(host.address(&shared.places)));
    let mut meter = Meter::default();
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut cores = [0.0; 3];
    for frame in 0_u64.. {
        while shared.frames.receiver_count() == 0 {
            shared.visited.notified().await;
        }
        ticks.tick().await;
        if frame % FRAMES_PER_LOOK == 0 {
            cores = meter.cores(&shared);
        }
        let taken = lines.each_ref().map(Line::take);
        shared.past.add(Instant::now(), taken.map(|(longest, _)| longest));
        let servers = std::array::from_fn(|at| Moment {
            ms: taken[at].0.map(|longest| longest.as_secs_f64() * 1e3),
            gone: taken[at].1,
            cores: cores[at],
            memory_bytes: meter.memory_bytes[at],
        });
        let at = shared.at(Instant::now());
        let frame = Frame { at, servers, cores: meter.machine_cores, others: meter.others };
        let text = serde_json::to_string(&frame).expect("it is plain data");
        // Whoever looked may have left.
        let _ = shared.frames.send(text.into());
        lines.iter().for_each(Line::ask);
    }
}
