//! What the buttons of the picture send: a long computation, many at once, a
//! flood, a crash, a hunger for memory, a page bit by bit. Leaving it closes its
//! connections, as a browser does whose visitor leaves.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::http::StatusCode;
use tokio::task::JoinSet;

use super::Shared;
use super::board::{Board, Kind, Shown, To};
use super::problem::Problem;
use super::words::{Came, Seen, Tally};
use super::{freed, text};
use crate::browser::{Answer, Browser};
use crate::figure;
use crate::measure::{Fault, Target, connect, get};
use crate::site::{FAST, Host};
use crate::tour::Calibration;

/// How many requests "20 at once" has.
const MANY: usize = 20;

/// How many requests a flood has.
const FLOOD: usize = 100;

/// How many steps of n a request of the flood is below the short computation.
const FLOOD_STEPS: u64 = 2;

/// How many steps of n a line of a stream is below the long computation.
const LINE_STEPS: u64 = 4;

/// How long after the flood somebody else comes.
const LATER: Duration = Duration::from_millis(100);

/// The n of somebody else, who wants next to nothing.
const SMALL_N: u64 = 20;

/// When a request is given up.
const TIMEOUT: Duration = Duration::from_secs(60);

/// How often a server that cut connections is asked whether it is back, and for how long.
const PAUSE: Duration = Duration::from_millis(50);
const MOST_AWAY: Duration = Duration::from_secs(20);

/// How many loads may be under way at a time.
const MOST_UNDER_WAY: usize = 6;

/// What a load asks one server for.
#[derive(Clone, Debug)]
pub(super) struct Order {
    pub(super) load: u64,
    kind: Kind,
    pub(super) host: Host,
    n: u64,
}

impl Kind {
    fn n(self, calibration: &Calibration) -> u64 {
        match self {
            Self::Slow => calibration.long.n,
            Self::Flood => calibration.short.n.saturating_sub(FLOOD_STEPS),
            Self::Stream | Self::BrokenStream => calibration.long.n.saturating_sub(LINE_STEPS),
            Self::Many | Self::Crash | Self::Hoard => calibration.short.n,
        }
    }

    fn requests(self) -> usize {
        match self {
            Self::Many => MANY,
            Self::Flood => FLOOD,
            Self::Slow | Self::Crash | Self::Hoard | Self::Stream | Self::BrokenStream => 1,
        }
    }
}

/// Sends it, unless that would spoil what is measured, or be too much; the
/// number of the load.
pub(super) fn send(
    shared: &Arc<Shared>,
    calibration: &Calibration,
    what: Kind,
    to: To,
) -> Result<u64, Problem> {
    let since = Instant::now();
    let id = shared.change(|board| {
        room(board)?;
        let id = board.number_load();
        let came = to.hosts().into_iter().map(|host| (host, None)).collect();
        let (at, text) = (shared.at(since), BTreeMap::new());
        board.show(Shown { id, what, to, came, text, over: false, at, since });
        Ok::<_, Problem>(id)
    })?;
    let n = what.n(calibration);
    let order = |host| Order { load: id, kind: what, host, n };
    let orders = to.hosts().into_iter().map(order).collect();
    let under_way = follow(Arc::clone(shared), id, orders);
    // The map is locked first: a load that is over at once finds itself in it.
    let mut all = shared.under_way();
    all.insert(id, shared.runtime.spawn(under_way).abort_handle());
    Ok(id)
}

/// Whether the servers may have something to do; if not, why.
pub(super) fn free(board: &Board) -> Result<(), Problem> {
    if board.running.is_some() {
        let why = "an experiment is being measured: it is to have the servers for itself";
        return Err(Problem::new(StatusCode::CONFLICT, why));
    }
    Ok(())
}

/// Whether there is room for a load; if not, why.
fn room(board: &Board) -> Result<(), Problem> {
    free(board)?;
    if board.loads.iter().filter(|load| !load.over).count() >= MOST_UNDER_WAY {
        let why = format!("{MOST_UNDER_WAY} loads are under way: leave one, or wait");
        return Err(Problem::new(StatusCode::TOO_MANY_REQUESTS, why));
    }
    Ok(())
}

/// Leaves a load; `false` if it is over.
pub(super) fn leave(shared: &Arc<Shared>, id: u64) -> bool {
    let Some(under_way) = shared.under_way().remove(&id) else { return false };
    // Its connections close.
    under_way.abort();
    let hosts = shared.change(|board| {
        let Some(load) = board.load(id) else { return Vec::new() };
        let mut hosts = Vec::new();
        let left = Came::left(load.since.elapsed(), shared.at(Instant::now()));
        for (host, came) in load.came.iter_mut().filter(|(_, came)| came.is_none()) {
            *came = Some(left.clone());
            hosts.push(*host);
        }
        load.over = true;
        hosts
    });
    shared.runtime.spawn(freed::tell(Arc::clone(shared), id, hosts));
    shared.moved.notify_one();
    true
}

/// Shows what comes of each order, until there is no other.
async fn follow(shared: Arc<Shared>, id: u64, orders: Vec<Order>) {
    let mut servers = JoinSet::new();
    for order in orders {
        let shared = Arc::clone(&shared);
        servers.spawn(async move { (order.host, order.carry_out(&shared).await) });
    }
    while let Some(Ok((host, came))) = servers.join_next().await {
        shared.change(|board| {
            let slots = board.load(id).into_iter().flat_map(|load| &mut load.came);
            slots.filter(|(on, _)| *on == host).for_each(|(_, slot)| *slot = Some(came.clone()));
        });
    }
    shared.under_way().remove(&id);
    shared.change(|board| board.load(id).into_iter().for_each(|load| load.over = true));
    shared.moved.notify_one();
}

impl Order {
    async fn carry_out(&self, shared: &Shared) -> Came {
        let (since, address) = (Instant::now(), self.host.address(&shared.places));
        let (tally, meanwhile) = match self.kind {
            Kind::Flood => tokio::join!(self.all(address), small(address)),
            Kind::Stream | Kind::BrokenStream => text::read(shared, self, address).await,
            _ => (self.all(address).await, String::new()),
        };
        let elapsed = since.elapsed();
        let away = if tally.was_cut() { away(address).await } else { None };
        let worst = shared.past.worst(self.host, since);
        let until = shared.at(Instant::now());
        Came::of(&tally, &Seen { elapsed, away, worst, meanwhile, until })
    }

    /// Sends all requests at once; what came of them.
    async fn all(&self, address: SocketAddr) -> Tally {
        let mut requests = JoinSet::new();
        for _ in 0..self.kind.requests() {
            let mut browser = self.browser(address);
            let order = self.clone();
            requests.spawn(async move { order.request(&mut browser).await });
        }
        let mut tally = Tally::default();
        while let Some(Ok(answer)) = requests.join_next().await {
            tally.count(answer);
        }
        tally
    }

    async fn request(&self, browser: &mut Browser) -> Result<Answer, Fault> {
        match self.kind {
            Kind::Crash | Kind::Hoard => browser.post(&self.path()).await,
            _ => browser.get(&self.path()).await,
        }
    }

    pub(super) fn path(&self) -> String {
        let n = self.n;
        match self.kind {
            Kind::Slow | Kind::Many | Kind::Flood => format!("/fib/{n}"),
            Kind::Crash => "/crash".to_owned(),
            Kind::Hoard => "/hoard".to_owned(),
            Kind::Stream => format!("/lines/{n}"),
            Kind::BrokenStream => format!("/broken/lines/{n}"),
        }
    }

    /// A visitor of that server; all of a load are one tenant.
    pub(super) fn browser(&self, address: SocketAddr) -> Browser {
        Browser::new(address, &format!("load {}", self.load), TIMEOUT)
    }
}

/// For how long a server is away that has just cut connections; `None` if it is not.
async fn away(address: SocketAddr) -> Option<Duration> {
    let start = Instant::now();
    if answers(address).await {
        return None;
    }
    while start.elapsed() < MOST_AWAY && !answers(address).await {
        tokio::time::sleep(PAUSE).await;
    }
    Some(start.elapsed())
}

/// Whether a server answers its quick page.
async fn answers(address: SocketAddr) -> bool {
    let target = Target::parse(&format!("http://{address}/fast"));
    let target = target.expect("an address makes a URL");
    let answer = async { get(&target, connect(address).await?).await };
    let answer = tokio::time::timeout(MOST_AWAY, answer).await;
    answer.is_ok_and(|body| body.is_ok_and(|body| body == FAST.as_bytes()))
}

/// Somebody else asks for next to nothing while the flood is there.
async fn small(address: SocketAddr) -> String {
    tokio::time::sleep(LATER).await;
    let start = Instant::now();
    let mut browser = Browser::new(address, "somebody else", TIMEOUT);
    let mut tally = Tally::default();
    tally.count(browser.get(&format!("/fib/{SMALL_N}")).await);
    let time = figure::time(start.elapsed().as_secs_f64());
    match tally.faults() {
        faults if faults.is_empty() => format!("somebody else’s fib({SMALL_N}) meanwhile: {time}"),
        faults => format!("somebody else meanwhile: {faults} after {time}"),
    }
}
