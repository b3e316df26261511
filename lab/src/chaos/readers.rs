//! Readers of streams and jobs: to the end, or not so far, or again and again.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper::{StatusCode, header};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use super::flow::{Flow, ITEMS, MANY_ITEMS};
use super::verdict::{Expected, Verdict};
use crate::browser::{Browser, Reading};
use crate::measure::Fault;

/// How long one that stops to read keeps its connection.
const STOPS_MS: std::ops::Range<u64> = 0..300;

/// How many there are when the server ends, if there are workers for them.
const LAST: usize = 2;

/// One who reads streams.
pub(super) struct Reader {
    browser: Browser,
    notes: PathBuf,
    random: fastrand::Rng,
}

/// What became of one stream, or job.
pub(super) struct Read {
    pub(super) what: String,
    pub(super) is_job: bool,
    pub(super) items: u32,
    pub(super) verdict: Verdict,
}

/// Why a stream was not read to an end that can be judged.
enum Broken {
    Fault(Fault),
    Wrong(String),
    /// It was refused, or is a job that is no more.
    Answered(Verdict),
}

impl From<Fault> for Broken {
    fn from(fault: Fault) -> Self {
        Self::Fault(fault)
    }
}

impl Reader {
    pub(super) fn new(browser: Browser, notes: &Path, random: fastrand::Rng) -> Self {
        Self { browser, notes: notes.to_owned(), random }
    }

    /// Reads a stream, or a job, in one of several ways.
    pub(super) async fn read(&mut self) -> Read {
        // Nobody else has it: notes are by this number.
        let stream = self.random.u64(..);
        let mut flow = Flow::of(stream, ITEMS);
        let is_job = self.random.bool();
        let path = match is_job {
            true => format!("/job/{stream}/{ITEMS}"),
            false => format!("/stream/{stream}/{ITEMS}"),
        };
        let verdict = match is_job {
            true => self.job(&path, &mut flow).await,
            false => self.stream(&path, &mut flow).await,
        };
        let verdict = verdict.unwrap_or_else(|broken| match broken {
            Broken::Fault(fault) => Verdict::Lost(fault.to_string()),
            Broken::Wrong(what) => Verdict::Wrong(what),
            Broken::Answered(verdict) => verdict,
        });
        let what = format!("{path}, {} items: {}", flow.seen(), flow.detail());
        Read { what, is_job, items: flow.seen(), verdict }
    }

    /// Reads a stream to its end, or leaves it.
    async fn stream(&mut self, path: &str, flow: &mut Flow) -> Result<Verdict, Broken> {
        let mut reading = self.browser.read(path, None).await?;
        accepted(&mut reading).await?;
        let far = self.far();
        take(&mut reading, flow, far).await?;
        if far < ITEMS && !flow.has_ended() {
            let stops = Duration::from_millis(self.random.u64(STOPS_MS));
            tokio::time::sleep(stops).await;
            return Ok(Verdict::Right);
        }
        Ok(flow.verdict(&self.notes, false))
    }

    /// Starts a job, and reads it over one connection or several; cancels some.
    async fn job(&mut self, path: &str, flow: &mut Flow) -> Result<Verdict, Broken> {
        let answer = self.browser.post(path).await?;
        let location = answer.headers.get(header::LOCATION).and_then(|it| it.to_str().ok());
        let Some(job) = location.filter(|_| answer.status == StatusCode::ACCEPTED) else {
            let expected = Expected::Body("202 and where the job is".to_owned());
            return Err(Broken::Answered(Verdict::on(Ok(answer), &expected)));
        };
        let (job, events) = (job.to_owned(), format!("{job}/events"));
        let cancels = self.random.u8(..4) == 0;
        while !flow.has_ended() {
            flow.reconnect();
            let mut reading = self.browser.read(&events, flow.last_event_id()).await?;
            accepted(&mut reading).await?;
            let far = self.far();
            take(&mut reading, flow, far).await?;
            if cancels && !flow.has_ended() {
                let answer = self.browser.delete(&job).await?;
                if answer.status != StatusCode::NO_CONTENT {
                    return Err(Broken::Wrong(format!("DELETE is {}", answer.status)));
                }
                take(&mut reading, flow, ITEMS).await?;
            }
        }
        Ok(flow.verdict(&self.notes, cancels))
    }

    /// How many items are read at once.
    fn far(&mut self) -> u32 {
        if self.random.bool() { ITEMS } else { self.random.u32(1..ITEMS) }
    }
}

/// Takes an answer only if it is a stream.
async fn accepted(reading: &mut Reading) -> Result<(), Broken> {
    if reading.status.is_success() {
        return Ok(());
    }
    let answer = reading.whole().await?;
    let expected = Expected::Body("a stream".to_owned());
    Err(Broken::Answered(Verdict::on(Ok(answer), &expected)))
}

/// Reads until there were so many items; until its end, if that is all of them.
async fn take(reading: &mut Reading, flow: &mut Flow, far: u32) -> Result<(), Broken> {
    while far == ITEMS || flow.seen() < far {
        let Some(bytes) = reading.more().await? else { break };
        flow.feed(&bytes).map_err(Broken::Wrong)?;
    }
    Ok(())
}

/// Those who read when their server ends.
pub(super) struct Last {
    readers: JoinSet<Result<(), String>>,
}

impl Last {
    /// Starts them; returns when each has an item.
    pub(super) async fn start(
        address: SocketAddr,
        workers: usize,
        patience: Duration,
    ) -> Result<Self, String> {
        let mut readers = JoinSet::new();
        let mut began = Vec::new();
        for stream in 0..workers.min(LAST) as u64 {
            let (begin, begun) = oneshot::channel();
            began.push(begun);
            let browser = Browser::new(address, &format!("last {stream}"), patience);
            readers.spawn(read_until_cut(browser, stream, begin));
        }
        for begun in began {
            if begun.await.is_err() {
                return Err(Self { readers }.end().await.err().unwrap_or_default());
            }
        }
        Ok(Self { readers })
    }

    /// Waits until all have ended.
    ///
    /// # Errors
    ///
    /// What was wrong with one.
    pub(super) async fn end(mut self) -> Result<(), String> {
        while let Some(ended) = self.readers.join_next().await {
            ended.map_err(|error| error.to_string())??;
        }
        Ok(())
    }
}

/// Reads a stream, or a job if it has an odd number, until its server ends it.
async fn read_until_cut(
    mut browser: Browser,
    stream: u64,
    begin: oneshot::Sender<()>,
) -> Result<(), String> {
    let said = |fault: Fault| format!("stream {stream}: {fault}");
    let mut flow = Flow::of(stream, MANY_ITEMS);
    let mut path = format!("/stream/{stream}/{MANY_ITEMS}");
    if stream % 2 == 1 {
        let answer = browser.post(&format!("/job/{stream}/{MANY_ITEMS}")).await.map_err(said)?;
        let location = answer.headers.get(header::LOCATION).and_then(|it| it.to_str().ok());
        path = format!("{}/events", location.ok_or("no job")?);
    }
    let mut reading = browser.read(&path, None).await.map_err(said)?;
    let mut begin = Some(begin);
    while let Some(bytes) = reading.more().await.map_err(said)? {
        flow.feed(&bytes).map_err(|what| format!("stream {stream}: {what}"))?;
        if flow.seen() > 0
            && let Some(begin) = begin.take()
        {
            let _ = begin.send(());
        }
    }
    match flow.is_cut_well() {
        true => Ok(()),
        false => Err(format!("stream {stream} was not told that its server ends: {flow:?}")),
    }
}
