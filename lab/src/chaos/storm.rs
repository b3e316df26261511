//! The storm: browsers of several tenants ask for pages, while workers are hit.

use std::collections::{BTreeMap, HashSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use outboard::Client;
use outboard::admin::Snapshot;
use tokio::task::JoinSet;

use super::hit::{Hit, Inside, Outside};
use super::pools::POOLS;
use super::readers::{Read, Reader};
use super::verdict::{Expected, Verdict};
use crate::browser::Browser;
use crate::site::FAST;
use crate::{figure, tasks};

/// Whose requests are to be right.
const TENANTS: [&str; 5] = ["ann", "bob", "cyd", "dee", "eve"];

/// How many requests that crash are under way at once: those that wait are no
/// hits yet.
const VANDALS: usize = 2;

/// Who reads streams and jobs.
const READERS: [&str; 3] = ["fay", "gus", "hal"];

/// How many browsers each tenant has.
const BROWSERS: u64 = 2;

/// The largest n that is asked for: some milliseconds of work.
const LARGEST_N: u64 = 30;

/// Between two hits, in milliseconds.
const PAUSE_MS: std::ops::RangeInclusive<u64> = 40..=160;

/// When a browser gives up: long after the server should have.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// How often it is looked how many workers there are.
const SAMPLE: Duration = Duration::from_millis(2);

/// How many complaints are kept, of each browser's.
const COMPLAINTS: usize = 5;

/// Where the storm goes, and for how long.
pub(super) struct Storm {
    pub(super) address: SocketAddr,
    pub(super) client: Client,
    pub(super) seed: u64,
    pub(super) length: Duration,
    /// Where tasks that stream note what they have sent.
    pub(super) notes: PathBuf,
}

/// What came of it.
#[derive(Debug)]
pub(super) struct Outcome {
    pub(super) tally: Tally,
    pub(super) hits: BTreeMap<&'static str, usize>,
    pub(super) length: Duration,
    /// How long fewer workers could work than there should be.
    pub(super) below_full: Duration,
    /// Workers that a signal stopped; those that had no task may still be.
    pub(super) stopped: HashSet<u32>,
}

/// What became of all requests.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) requests: usize,
    pub(super) right: usize,
    pub(super) typed: BTreeMap<&'static str, usize>,
    pub(super) lost: usize,
    pub(super) wrong: usize,
    /// Typed errors of requests whose own tasks do not crash.
    pub(super) innocent: Vec<String>,
    /// Of the requests, those for a stream, and those for a job.
    pub(super) streams: usize,
    pub(super) jobs: usize,
    /// What came through both.
    pub(super) items: usize,
    /// The first that were lost or wrong.
    pub(super) complaints: Vec<String>,
}

/// What all that takes part shares.
#[derive(Debug, Default)]
struct Shared {
    tally: Mutex<Tally>,
    stopped: Mutex<HashSet<u32>>,
    over: AtomicBool,
}

impl Storm {
    /// Rages for its length, and until every kind of hit has happened; then
    /// waits for all answers.
    ///
    /// # Cancel safety
    ///
    /// Dropping it ends all browsers and all hits.
    pub(super) async fn rage(&self, bar: &ProgressBar) -> anyhow::Result<Outcome> {
        let shared = Arc::new(Shared::default());
        let start = Instant::now();
        let mut browsers = JoinSet::new();
        for (index, tenant) in (1..).zip(TENANTS.iter().flat_map(|t| [*t; BROWSERS as usize])) {
            let random = fastrand::Rng::with_seed(self.seed.wrapping_add(index));
            browsers.spawn(browse(self.browser(tenant), random, shared.clone()));
        }
        for (index, tenant) in (1000..).zip(READERS) {
            let random = fastrand::Rng::with_seed(self.seed.wrapping_add(index));
            let reader = Reader::new(self.browser(tenant), &self.notes, random);
            browsers.spawn(read(reader, shared.clone()));
        }
        let mut watch = JoinSet::new();
        watch.spawn(time_below_full(self.client.clone(), shared.clone()));
        let hits = self.hit_all(start, &shared, bar).await?;
        shared.over.store(true, Relaxed);
        while let Some(ended) = browsers.join_next().await {
            ended?;
        }
        let below_full = watch.join_next().await.transpose()?.unwrap_or_default();
        let (tally, stopped) = (std::mem::take(&mut *shared.tally()), shared.stopped().clone());
        Ok(Outcome { tally, hits, length: start.elapsed(), below_full, stopped })
    }

    /// Hits again and again; what crashes from inside is asked for by a browser
    /// of its own.
    async fn hit_all(
        &self,
        start: Instant,
        shared: &Arc<Shared>,
        bar: &ProgressBar,
    ) -> anyhow::Result<BTreeMap<&'static str, usize>> {
        let mut random = fastrand::Rng::with_seed(self.seed);
        let mut hits: BTreeMap<_, usize> = Hit::ALL.map(|hit| (hit.name(), 0)).into();
        let mut vandals = JoinSet::new();
        let is_over = |hits: &BTreeMap<_, usize>| {
            start.elapsed() >= self.length && hits.values().all(|hits| *hits > 0)
        };
        while !is_over(&hits) {
            for hit in Hit::deck(&mut random) {
                tokio::time::sleep(Duration::from_millis(random.u64(PAUSE_MS))).await;
                if is_over(&hits) {
                    break;
                }
                let happened = match hit {
                    Hit::Outside(outside) => self.strike(outside, &mut random, shared).await,
                    Hit::Inside(inside) => {
                        if vandals.len() >= VANDALS {
                            vandals.join_next().await.transpose()?;
                        }
                        // Each is another tenant: one alone would wait for its share.
                        let name = format!("vandal {}", hits.values().sum::<usize>());
                        let vandal = Browser::new(self.address, &name, PATIENCE);
                        let pool = random.choice(POOLS).unwrap_or(POOLS[0]);
                        vandals.spawn(vandalise(vandal, (inside, pool), shared.clone()));
                        true
                    }
                };
                *hits.entry(hit.name()).or_default() += usize::from(happened);
                self.show(bar, start, hits.values().sum(), shared.tally().requests);
            }
        }
        while let Some(ended) = vandals.join_next().await {
            ended?;
        }
        Ok(hits)
    }

    fn browser(&self, tenant: &str) -> Browser {
        Browser::new(self.address, tenant, PATIENCE)
    }

    fn show(&self, bar: &ProgressBar, start: Instant, hits: usize, requests: usize) {
        bar.set_position(start.elapsed().min(self.length).as_millis() as u64);
        let hits = figure::counted(hits, "hit");
        bar.set_message(format!("{hits}, {}", figure::counted(requests, "request")));
    }

    /// Hits any worker that is not stopped already.
    async fn strike(&self, hit: Outside, random: &mut fastrand::Rng, shared: &Shared) -> bool {
        let workers = self.client.admin().snapshot().per_worker;
        let stopped = shared.stopped().clone();
        let pids: Vec<u32> = workers.iter().map(|worker| worker.pid).collect();
        if hit.is_for_all() {
            let mut any = false;
            for pid in pids {
                any |= hit.strike(pid).await;
            }
            return any;
        }
        let moving: Vec<u32> = pids.into_iter().filter(|pid| !stopped.contains(pid)).collect();
        let Some(pid) = random.choice(moving) else { return false };
        let happened = hit.strike(pid).await;
        if happened && hit == Outside::Sigstop {
            shared.stopped().insert(pid);
        }
        happened
    }
}

impl Shared {
    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn stopped(&self) -> MutexGuard<'_, HashSet<u32>> {
        self.stopped.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sends one request, and notes what became of it.
    async fn ask(&self, browser: &mut Browser, path: &str, expected: &Expected) {
        self.tally().requests += 1;
        let answer = browser.get(path).await;
        let said = answer.as_ref().ok().filter(|answer| !answer.status.is_success());
        let said = said.map(|answer| String::from_utf8_lossy(&answer.body).into_owned());
        let what = format!("{path} {}", said.unwrap_or_default());
        self.tally().add(&what, Verdict::on(answer, expected), expected);
    }
}

impl Tally {
    /// All typed errors.
    pub(super) fn typed_errors(&self) -> usize {
        self.typed.values().sum()
    }

    fn add(&mut self, path: &str, verdict: Verdict, expected: &Expected) {
        match verdict {
            Verdict::Right => self.right += 1,
            Verdict::Typed(kind) => {
                *self.typed.entry(kind).or_default() += 1;
                if *expected != Expected::Error {
                    self.innocent.push(format!("{kind} of {path}"));
                }
            }
            Verdict::Lost(why) => {
                self.lost += 1;
                self.complain(path, &why);
            }
            Verdict::Wrong(what) => {
                self.wrong += 1;
                self.complain(path, &what);
            }
        }
    }

    fn complain(&mut self, path: &str, what: &str) {
        if self.complaints.len() < COMPLAINTS {
            self.complaints.push(format!("{path}: {what}"));
        }
    }
}

/// Whether all workers are there that should be, but for those in `stopped`.
pub(super) fn is_full(now: &Snapshot, stopped: &HashSet<u32>) -> bool {
    let able = now.per_worker.iter().filter(|w| !w.standby && !stopped.contains(&w.pid));
    able.count() >= now.workers
}

/// Asks for one page after the other until the storm is over.
async fn browse(mut browser: Browser, mut random: fastrand::Rng, shared: Arc<Shared>) {
    while !shared.over.load(Relaxed) {
        let (path, body) = match random.u32(..5) {
            0 => ("/fast".to_owned(), FAST.to_owned()),
            _ => {
                let n = random.u64(10..=LARGEST_N);
                let pool = random.choice(POOLS).unwrap_or(POOLS[0]);
                (format!("/in/{pool}/fib/{n}"), tasks::fib_by_addition(n).to_string())
            }
        };
        shared.ask(&mut browser, &path, &Expected::Body(body)).await;
    }
}

/// Reads one stream after the other until the storm is over.
async fn read(mut reader: Reader, shared: Arc<Shared>) {
    while !shared.over.load(Relaxed) {
        let Read { what, is_job, items, verdict } = reader.read().await;
        let mut tally = shared.tally();
        tally.requests += 1;
        tally.jobs += usize::from(is_job);
        tally.streams += usize::from(!is_job);
        tally.items += items as usize;
        tally.add(&what, verdict, &Expected::Body("all items".to_owned()));
    }
}

async fn vandalise(
    mut browser: Browser,
    (what, pool): (Inside, &'static str),
    shared: Arc<Shared>,
) {
    shared.ask(&mut browser, &what.page(pool), &what.expected()).await;
}

/// Adds up how long fewer workers could work than there should be.
async fn time_below_full(client: Client, shared: Arc<Shared>) -> Duration {
    let (mut below, mut last) = (Duration::ZERO, Instant::now());
    while !shared.over.load(Relaxed) {
        tokio::time::sleep(SAMPLE).await;
        let now = Instant::now();
        if !is_full(&client.admin().snapshot(), &shared.stopped()) {
            below += now - last;
        }
        last = now;
    }
    below
}
