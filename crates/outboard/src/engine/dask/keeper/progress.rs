//! Asks workers how far tasks are that somebody looks at, and only those.

use std::collections::{HashMap, HashSet};
use std::io;
use std::pin::pin;
use std::time::{Duration, Instant};

use dask_protocol::key::Key;
use dask_protocol::message::{AskProgress, Processing};
use futures_util::future::join_all;

use super::Keeper;
use super::line::{Line, Lines};
use crate::task::progress::Progress;

/// How long it is at least until a worker is asked again.
const PAUSE: Duration = Duration::from_millis(50);

/// How long a worker may take to answer.
const PATIENCE: Duration = Duration::from_secs(3);

/// How often a scheduler is asked which worker has which task, and for how long that is
/// believed of a task that says nothing.
const LOOK: Duration = Duration::from_millis(500);
const STALE: Duration = Duration::from_secs(5);

/// Asks while somebody looks; ends with the scheduler.
pub(super) async fn run<T>(keeper: &Keeper) -> io::Result<T> {
    let lines = Lines::new(keeper);
    let mut asking = Asking {
        keeper,
        lines: &lines,
        places: HashMap::new(),
        open: HashMap::new(),
        looked: None,
    };
    let mut finishing = pin!(lines.finish());
    loop {
        let look = async {
            let wanted = keeper.shared.said[keeper.at].wanted().await;
            asking.ask(&wanted).await;
            tokio::time::sleep(PAUSE).await;
        };
        tokio::select! {
            () = look => {}
            () = &mut finishing => {}
        }
    }
}

struct Asking<'l, 'a> {
    keeper: &'a Keeper,
    lines: &'l Lines<'a>,
    /// By key, which worker had it when.
    places: HashMap<String, (String, Instant)>,
    open: HashMap<String, Line<'l, 'a>>,
    /// When the scheduler was asked last.
    looked: Option<Instant>,
}

impl Asking<'_, '_> {
    async fn ask(&mut self, wanted: &HashSet<String>) {
        let (shared, at) = (&self.keeper.shared, self.keeper.at);
        let is_there = |key: &str| shared.table().by_key(at, key).is_some();
        self.places.retain(|key, (_, since)| since.elapsed() < STALE && is_there(key));
        if wanted.iter().any(|key| !self.places.contains_key(key)) {
            self.find().await;
        }
        let mut at_worker: HashMap<&str, Vec<Key>> = HashMap::new();
        for key in wanted {
            if let Some((place, _)) = self.places.get(key) {
                at_worker.entry(place).or_default().push(key.as_str().into());
            }
        }
        let asked = at_worker.into_iter().map(|(place, keys)| {
            let open = self.open.remove(place);
            let mut line = open.unwrap_or_else(|| Line::to(self.lines, place));
            async move {
                let asked = line.ask(|_| AskProgress { keys });
                let said = tokio::time::timeout(PATIENCE, asked).await;
                (place.to_owned(), line, said.ok().and_then(Result::ok).unwrap_or_default())
            }
        });
        let mut said = Vec::new();
        let answers = join_all(asked.collect::<Vec<_>>()).await;
        // Lines to workers that nobody asks now are closed.
        self.open.clear();
        for (place, line, answers) in answers {
            self.open.insert(place, line);
            said.extend(answers);
        }
        let now = Instant::now();
        let said = said.into_iter().filter_map(|(key, one)| {
            let key = key.as_str()?.to_owned();
            if let Some((_, since)) = self.places.get_mut(&key) {
                *since = now;
            }
            Some((key, Progress::new(one.done, one.total, one.text)))
        });
        shared.said[at].tell(said, is_there);
    }

    /// Asks the scheduler which worker has which task.
    async fn find(&mut self) {
        if self.looked.is_some_and(|looked| looked.elapsed() < LOOK) {
            return;
        }
        self.looked = Some(Instant::now());
        let keeper = self.keeper;
        let asked = async { keeper.dialer().dial(&keeper.address).await?.ask(Processing).await };
        // The scheduler is kept by others: if it does not answer, they see.
        let Ok(tasks) = keeper.in_time(asked).await else { return };
        let cluster = keeper.shared.cluster(keeper.at);
        let now = Instant::now();
        for (place, keys) in tasks {
            if !cluster.is_ours_at(&place) {
                continue;
            }
            let table = keeper.shared.table();
            let ours = keys.iter().filter_map(Key::as_str);
            let is_ours = |key: &str| table.by_key(keeper.at, key).is_some_and(|it| !it.python);
            let ours = ours.filter(|key| is_ours(key));
            self.places.extend(ours.map(|key| (key.to_owned(), (place.clone(), now))));
        }
    }
}
