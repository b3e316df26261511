//! The experiments: what each asks of which server, and what came of it.

use std::fmt;

use indicatif::ProgressBar;
use serde::{Deserialize, Serialize};

use super::calibration::Calibration;
use super::notebook::{self, BURST, Name, PARALLEL};
use super::{TIMEOUT, lines, roundtrip};
use crate::browser::Browser;
use crate::measure::{Load, Measurement, Target, milliseconds};
use crate::site::{FAST, Host, Places};
use crate::{figure, tasks};

/// One experiment on one server.
#[derive(Clone, Debug)]
pub(crate) struct Step {
    name: Name,
    /// Whether n is the one that takes as long here as the notebook's there.
    equal_work: bool,
    host: Host,
    page: Page,
    requests: usize,
    /// The page asked for just before, where there is one.
    behind: Option<Page>,
}

/// Figures of one experiment on one server, as JSON has them.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Outcome {
    pub(crate) name: String,
    pub(crate) server: Host,
    pub(crate) path: String,
    pub(crate) requests: usize,
    /// From the first request sent to the last answer; for the round trip, the median.
    pub(crate) seconds: f64,
    pub(crate) p50_ms: Option<f64>,
    pub(crate) p99_ms: Option<f64>,
    pub(crate) errors: usize,
    pub(crate) notebook_seconds: Option<f64>,
    /// What was asked for, in words.
    #[serde(skip)]
    pub(crate) asked: String,
    /// What failed, in words.
    #[serde(skip)]
    pub(crate) faults: Vec<String>,
}

/// What is asked for.
#[derive(Clone, Copy, Debug)]
enum Page {
    Fast,
    Fib(u64),
    CoalescedFib(u64),
    Lines(u64),
    /// No page: a task submitted directly.
    Task,
}

impl Page {
    fn path(self) -> String {
        match self {
            Self::Fast => "/fast".to_owned(),
            Self::Fib(n) => format!("/fib/{n}"),
            Self::CoalescedFib(n) => format!("/coalesced/fib/{n}"),
            Self::Lines(n) => format!("/lines/{n}"),
            Self::Task => roundtrip::TASK.to_owned(),
        }
    }

    fn right_body(self) -> String {
        match self {
            Self::Fast => FAST.to_owned(),
            Self::Fib(n) | Self::CoalescedFib(n) => tasks::fib_by_addition(n).to_string(),
            Self::Lines(n) => lines::right(n),
            Self::Task => String::new(),
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:7} {}", self.host, self.asked(self.page))
    }
}

impl Step {
    /// Runs the experiment; one with a slow page has two outcomes.
    pub(crate) async fn run(&self, places: &Places) -> anyhow::Result<Vec<Outcome>> {
        if self.name == Name::Roundtrip {
            return Ok(vec![self.round_trips(places).await?]);
        }
        if self.name == Name::FirstLine {
            let browser = Browser::new(self.host.address(places), "tour", TIMEOUT);
            let [first, all] =
                lines::read(&browser, &self.page.path(), &self.page.right_body()).await;
            let outcome = |name, found| self.outcome(name, self.page, &found);
            return Ok(vec![outcome(Name::FirstLine, first), outcome(Name::AllLines, all)]);
        }
        let bar = ProgressBar::hidden();
        let load = self.load(places, self.page, self.requests)?;
        let Some(slow) = self.behind else {
            return Ok(vec![self.outcome(self.name, self.page, &load.run(&bar).await?)]);
        };
        let (quick, behind) = load.run_behind(&self.load(places, slow, 1)?, &bar).await?;
        Ok(vec![
            self.outcome(self.name, self.page, &quick),
            self.outcome(Name::Slow, slow, &behind),
        ])
    }

    async fn round_trips(&self, places: &Places) -> anyhow::Result<Outcome> {
        let measurement = match self.host {
            Host::After => roundtrip::of_client(places, self.requests).await?,
            _ => roundtrip::of_threads(self.requests).await?,
        };
        let mut outcome = self.outcome(self.name, self.page, &measurement);
        if let Some(median) = measurement.percentile(0.5) {
            outcome.seconds = median.as_secs_f64();
        }
        Ok(outcome)
    }

    /// `100 × /fast`, or `1 × /fast behind /fib/35`.
    fn asked(&self, page: Page) -> String {
        match (page, self.behind) {
            (Page::Task, _) => format!("{} × x + 1, one by one", figure::count(self.requests)),
            (Page::Fast, Some(slow)) => format!("1 × /fast behind {}", slow.path()),
            _ => format!("{} × {}", figure::count(self.requests), page.path()),
        }
    }

    fn load(&self, places: &Places, page: Page, requests: usize) -> anyhow::Result<Load> {
        let url = format!("http://{}{}", self.host.address(places), page.path());
        Ok(Load {
            target: Target::parse(&url).map_err(anyhow::Error::msg)?,
            requests,
            timeout: TIMEOUT,
            expected: Some(page.right_body()),
        })
    }

    fn outcome(&self, name: Name, page: Page, measurement: &Measurement) -> Outcome {
        let suffix = if self.equal_work { "_equal_work" } else { "" };
        let faults = measurement.faults.iter();
        Outcome {
            name: format!("{}{suffix}", name.text()),
            server: self.host,
            path: page.path(),
            requests: measurement.requests,
            seconds: measurement.total.as_secs_f64(),
            p50_ms: milliseconds(measurement.percentile(0.50)),
            p99_ms: milliseconds(measurement.percentile(0.99)),
            errors: measurement.errors(),
            notebook_seconds: notebook::seconds(name, measurement.requests, self.host),
            asked: self.asked(page),
            faults: faults.map(|(fault, count)| format!("{count} × {fault}")).collect(),
        }
    }
}

/// Every experiment on every server that it makes sense for.
pub(super) fn plan(calibration: &Calibration) -> Vec<Step> {
    let mut steps = Vec::new();
    for requests in [1, BURST] {
        steps.extend(Host::ALL.map(|host| step(Name::Fast, host, Page::Fast, requests)));
    }
    steps.extend(computing(notebook::SHORT_N, notebook::LONG_N));
    let equal = computing(calibration.short.n, calibration.long.n);
    steps.extend(equal.into_iter().map(|step| Step { equal_work: true, ..step }));
    for host in [Host::Threads, Host::After] {
        steps.push(step(Name::Roundtrip, host, Page::Task, roundtrip::TIMES));
    }
    steps
}

/// A visitor's own experiment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Choice {
    Fast,
    Fib,
    Behind,
    Parallel,
    Roundtrip,
}

/// The steps of an experiment at a visitor's n and number of requests, as far
/// as it has them.
pub(crate) fn chosen(choice: Choice, n: u64, requests: usize) -> Vec<Step> {
    let on_all = |name, page| Host::ALL.map(|host| step(name, host, page, requests)).to_vec();
    match choice {
        Choice::Fast => on_all(Name::Fast, Page::Fast),
        Choice::Fib => on_all(Name::Fib, Page::Fib(n)),
        Choice::Behind => behind(n),
        Choice::Parallel => {
            let coalesced = Page::CoalescedFib(n);
            let coalesced = step(Name::ParallelCoalesced, Host::After, coalesced, requests);
            [on_all(Name::Parallel, Page::Fib(n)), vec![coalesced]].concat()
        }
        Choice::Roundtrip => {
            let on = |host| step(Name::Roundtrip, host, Page::Task, requests);
            vec![on(Host::Threads), on(Host::After)]
        }
    }
}

/// A quick page behind a long computation.
fn behind(n: u64) -> Vec<Step> {
    let on = |host| step(Name::FastBehindSlow, host, Page::Fast, 1);
    Host::ALL.map(|host| Step { behind: Some(Page::Fib(n)), ..on(host) }).to_vec()
}

/// The experiments that compute, at one pair of n.
fn computing(short: u64, long: u64) -> Vec<Step> {
    let mut steps = Vec::new();
    for requests in [1, BURST] {
        steps.extend(Host::ALL.map(|host| step(Name::Fib, host, Page::Fib(short), requests)));
    }
    steps.extend(behind(long));
    steps.extend(Host::ALL.map(|host| step(Name::Parallel, host, Page::Fib(short), PARALLEL)));
    let coalesced = Page::CoalescedFib(short);
    steps.push(step(Name::ParallelCoalesced, Host::After, coalesced, PARALLEL));
    steps.extend(Host::ALL.map(|host| step(Name::FirstLine, host, Page::Lines(short), 1)));
    steps
}

fn step(name: Name, host: Host, page: Page, requests: usize) -> Step {
    Step { name, equal_work: false, host, page, requests, behind: None }
}

/// Has every server answer each kind of page once, so that no experiment pays
/// for what happens only the first time.
pub(crate) async fn warm_up(places: &Places) -> anyhow::Result<()> {
    for host in Host::ALL {
        for page in [Page::Fast, Page::Fib(20)] {
            let load = step(Name::Fast, host, page, 4).load(places, page, 4)?;
            load.run(&ProgressBar::hidden()).await?;
        }
    }
    Ok(())
}
