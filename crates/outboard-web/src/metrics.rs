//! What Prometheus reads: counters, gauges and histograms, made of a snapshot at
//! each scrape, so that tasks pay nothing for them.

use std::collections::{HashMap, HashSet};
use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use outboard::admin::{BatchFigures, FunctionSnapshot, Histogram, Snapshot, WorkerState};
use outboard::{Client, ErrorKind};
use prometheus::proto::{Bucket, Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};
use prometheus::{TEXT_FORMAT, TextEncoder};
use tower_service::Service;

use crate::answer::{Body, answer, only_get};

/// What a client and its engine do, in Prometheus's text format 0.0.4.
///
/// | metric | what it is |
/// |---|---|
/// | `outboard_tasks_submitted_total{function}` | tasks taken |
/// | `outboard_tasks_total{function, outcome}` | ends: `done`, `refused`, `failed`, or the [name of the kind](ErrorKind::as_str) where that is counted apart: `panicked`, `worker_lost`, `cancelled`, `timed_out` |
/// | `outboard_tasks_coalesced_total` | submits that shared the task of an earlier one |
/// | `outboard_run_seconds{function}` | histogram of run times of tasks that gave a result |
/// | `outboard_queue_seconds{function}` | histogram of what else they took: in the queue, and to the worker and back |
/// | `outboard_batch_tasks{function}` | histogram of how many tasks of a function ran in one call |
/// | `outboard_batch_held_seconds{function}` | histogram of how long batches were held open for more tasks |
/// | `outboard_stream_items_total`, `outboard_stream_bytes_total` | items of streams that have arrived, and their bytes |
/// | `outboard_cpu_seconds_total{function}` | CPU time of tasks that ran for a millisecond or more |
/// | `outboard_queued_tasks{priority}`, `outboard_running_tasks` | tasks that wait, and that a worker has |
/// | `outboard_queue_limit_tasks` | how many may wait |
/// | `outboard_predicted_wait_seconds` | how long all that waits needs to start |
/// | `outboard_workers{state}`, `outboard_wanted_workers` | workers that are `idle`, `busy`, `stopping`, `standby`; how many there are to be |
/// | `outboard_worker_ends_total{reason}` | processes that ended: `killed`, `lost`, `recycled`, `dismissed` |
/// | `outboard_worker_memory_bytes{worker}` | resident memory |
/// | `outboard_open` | 1 while tasks are taken |
/// | `outboard_tenant_queued_tasks{tenant}`, `outboard_tenant_tasks_total{tenant, outcome}`, `outboard_tenant_run_seconds_total{tenant}` | only with [`tenants`](Self::tenants) |
///
/// Where a client has pools, each series but those of tenants has the label `pool` too.
///
/// An application with several clients has [`Metrics::of`]: one route, and the label `client`.
///
/// `docs/grafana.json` of the project is a dashboard that shows these.
///
/// It is a service of tower's, for whatever path it is given. In axum `router` makes a route
/// `/metrics` of it, with the feature `axum`, which `outboard-axum` has. Where a framework serves
/// no services, its handler sends [`text`](Self::text).
///
/// Whoever may ask sees names of task functions, and of tenants if you asked for them.
#[derive(Clone, Debug)]
pub struct Metrics {
    clients: Vec<OfClient>,
}

/// One of the clients.
#[derive(Clone, Debug)]
struct OfClient {
    /// The value of the label `client`, where there are several.
    name: Option<String>,
    client: Client,
    tenants: Arc<Mutex<Tenants>>,
}

impl Metrics {
    /// Metrics of a client, without tenants.
    pub fn new(client: Client) -> Self {
        Self { clients: vec![OfClient { name: None, client, tenants: Arc::default() }] }
    }

    /// The metrics of several clients of one application: each series has the label `client`,
    /// with the name of its client.
    ///
    /// # Panics
    ///
    /// If two have the same name.
    ///
    /// # Examples
    ///
    /// ```
    /// # fn example(models: outboard::Client, images: outboard::Client) -> outboard_web::Metrics {
    /// outboard_web::Metrics::of([("models", models), ("images", images)])
    /// # }
    /// ```
    pub fn of<N: Into<String>>(clients: impl IntoIterator<Item = (N, Client)>) -> Self {
        let mut names = HashSet::new();
        let of_client = |(name, client): (N, Client)| {
            let name = name.into();
            assert!(names.insert(name.clone()), "two clients have the name {name:?}");
            OfClient { name: Some(name), client, tenants: Arc::default() }
        };
        Self { clients: clients.into_iter().map(of_client).collect() }
    }

    /// Adds metrics of tenants: of the first `most` that use worker time, each with its name as
    /// a label.
    ///
    /// All others together are `other`. By default there are none: each label is a time series
    /// for good, and names may be personal.
    ///
    /// A tenant is counted if it submits between two scrapes, or is remembered (ten seconds).
    /// Scrape at least that often. Of several clients, each has so many.
    pub fn tenants(mut self, most: usize) -> Self {
        for of in &mut self.clients {
            of.tenants = Arc::new(Mutex::new(Tenants { most, ..Tenants::default() }));
        }
        self
    }

    /// Returns the metrics as text, of the type `text/plain; version=0.0.4`.
    pub fn text(&self) -> String {
        let mut families: Vec<MetricFamily> = Vec::new();
        for mut family in self.clients.iter().flat_map(OfClient::families) {
            // A metric is described once, and its series stand together.
            match families.iter_mut().find(|before| before.name() == family.name()) {
                Some(before) => before.mut_metric().extend(family.take_metric()),
                None => families.push(family),
            }
        }
        families.retain(|family| !family.get_metric().is_empty());
        TextEncoder::new().encode_to_string(&families).unwrap_or_default()
    }
}

impl OfClient {
    fn families(&self) -> Vec<MetricFamily> {
        let now = self.client.admin().snapshot();
        let of_pool = |now: &Snapshot| of_tasks(now).into_iter().chain(of_engine(now)).collect();
        let mut families: Vec<MetricFamily> = match &now.per_pool[..] {
            [] => of_pool(&now),
            pools => {
                let of_each = pools.iter().flat_map(|pool| {
                    let mut families: Vec<MetricFamily> = of_pool(&pool.snapshot);
                    add_label(&mut families, "pool", &pool.pool);
                    families
                });
                of_each.collect()
            }
        };
        let mut tenants = self.tenants.lock().unwrap_or_else(PoisonError::into_inner);
        families.extend(tenants.families(&now));
        drop(tenants);
        if let Some(name) = &self.name {
            add_label(&mut families, "client", name);
        }
        families
    }
}

impl<B> Service<Request<B>> for Metrics {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Ready<Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let text = || answer(StatusCode::OK, TEXT_FORMAT, self.text());
        ready(Ok(only_get(request.method(), text)))
    }
}

/// Adds a label to all series.
fn add_label(families: &mut [MetricFamily], name: &str, value: &str) {
    for metric in families.iter_mut().flat_map(MetricFamily::mut_metric) {
        let mut labels = metric.take_label();
        labels.push(label(name, value));
        metric.set_label(labels);
    }
}

fn of_tasks(now: &Snapshot) -> Vec<MetricFamily> {
    let functions = &now.per_function;
    let each = |make: &dyn Fn(&FunctionSnapshot) -> Metric| functions.iter().map(make).collect();
    let named = |row: &FunctionSnapshot| vec![label("function", row.function)];
    vec![
        family(
            "outboard_tasks_submitted_total",
            "Tasks taken.",
            MetricType::COUNTER,
            each(&|row| counter(named(row), row.figures.submitted as f64)),
        ),
        family(
            "outboard_tasks_total",
            "Tasks by how they ended; submits that were refused.",
            MetricType::COUNTER,
            functions.iter().flat_map(outcomes).collect(),
        ),
        family(
            "outboard_tasks_coalesced_total",
            "Submits that shared the task of an earlier one.",
            MetricType::COUNTER,
            vec![counter(Vec::new(), now.coalesced as f64)],
        ),
        family(
            "outboard_run_seconds",
            "Run times of tasks that gave a result.",
            MetricType::HISTOGRAM,
            each(&|row| histogram(named(row), &row.run_times, row.figures.run_time)),
        ),
        family(
            "outboard_queue_seconds",
            "What else tasks that gave a result took, most of it in the queue.",
            MetricType::HISTOGRAM,
            each(&|row| histogram(named(row), &row.queue_times, row.figures.queue_time)),
        ),
        family(
            "outboard_batch_tasks",
            "How many tasks of a function ran in one call.",
            MetricType::HISTOGRAM,
            of_batches(now, sizes),
        ),
        family(
            "outboard_batch_held_seconds",
            "How long batches were held open for more tasks.",
            MetricType::HISTOGRAM,
            of_batches(now, |labels, of| histogram(labels, &of.held, of.held_time)),
        ),
        family(
            "outboard_stream_items_total",
            "Items of streams that have arrived.",
            MetricType::COUNTER,
            vec![counter(Vec::new(), now.stream_items as f64)],
        ),
        family(
            "outboard_stream_bytes_total",
            "How many bytes these items had.",
            MetricType::COUNTER,
            vec![counter(Vec::new(), now.stream_bytes as f64)],
        ),
        family(
            "outboard_cpu_seconds_total",
            "CPU time of tasks that ran for a millisecond or more.",
            MetricType::COUNTER,
            each(&|row| counter(named(row), row.figures.cpu_time.as_secs_f64())),
        ),
    ]
}

/// Of functions that take batches.
fn of_batches(
    now: &Snapshot,
    make: impl Fn(Vec<LabelPair>, &BatchFigures) -> Metric,
) -> Vec<Metric> {
    let row = |row: &FunctionSnapshot| {
        let labels = vec![label("function", row.function)];
        row.batches.as_ref().map(|batches| make(labels, batches))
    };
    now.per_function.iter().filter_map(row).collect()
}

fn sizes(labels: Vec<LabelPair>, batches: &BatchFigures) -> Metric {
    let mut count = 0;
    let buckets = batches.sizes().map(|(size, calls)| {
        count += calls;
        bucket(size as f64, count)
    });
    let mut histogram = prometheus::proto::Histogram::default();
    histogram.set_bucket(buckets.collect());
    histogram.set_sample_count(batches.calls);
    histogram.set_sample_sum(batches.tasks as f64);
    let mut metric = Metric::from_label(labels);
    metric.set_histogram(histogram);
    metric
}

fn bucket(bound: f64, count: u64) -> Bucket {
    let mut bucket = Bucket::default();
    bucket.set_upper_bound(bound);
    bucket.set_cumulative_count(count);
    bucket
}

fn outcomes(row: &FunctionSnapshot) -> Vec<Metric> {
    let figures = &row.figures;
    let counts = [
        ("done", figures.done),
        (ErrorKind::Panicked.as_str(), figures.panicked),
        (ErrorKind::WorkerLost.as_str(), figures.lost),
        ("failed", figures.failed - figures.panicked - figures.lost),
        (ErrorKind::Cancelled.as_str(), figures.cancelled),
        (ErrorKind::TimedOut.as_str(), figures.timed_out),
        ("refused", figures.refused),
    ];
    let metric = |(outcome, count): (&str, u64)| {
        counter(vec![label("function", row.function), label("outcome", outcome)], count as f64)
    };
    counts.into_iter().map(metric).collect()
}

fn of_engine(now: &Snapshot) -> Vec<MetricFamily> {
    let plain =
        |name, help, value| family(name, help, MetricType::GAUGE, vec![gauge(vec![], value)]);
    vec![
        family(
            "outboard_queued_tasks",
            "Tasks that wait for a worker.",
            MetricType::GAUGE,
            queued(now),
        ),
        plain("outboard_queue_limit_tasks", "How many tasks may wait.", now.queue_limit as f64),
        plain("outboard_running_tasks", "Tasks that a worker has.", now.running as f64),
        plain(
            "outboard_predicted_wait_seconds",
            "How long all tasks that wait need to start.",
            now.predicted_wait.as_secs_f64(),
        ),
        plain("outboard_open", "Whether tasks are taken.", f64::from(u8::from(now.open))),
        plain("outboard_wanted_workers", "How many workers there are to be.", now.workers as f64),
        family("outboard_workers", "Workers by state.", MetricType::GAUGE, workers(now)),
        family(
            "outboard_worker_ends_total",
            "Worker processes that ended, by reason.",
            MetricType::COUNTER,
            ends(now),
        ),
        family(
            "outboard_worker_memory_bytes",
            "Resident memory of each worker.",
            MetricType::GAUGE,
            memory(now),
        ),
    ]
}

/// By priority; without any, that of priority 0 is none.
fn queued(now: &Snapshot) -> Vec<Metric> {
    let mut by_priority = HashMap::from([(0, 0)]);
    for line in &now.queue {
        *by_priority.entry(line.priority).or_default() += line.queued;
    }
    let mut by_priority: Vec<_> = by_priority.into_iter().collect();
    by_priority.sort_unstable();
    let metric = |(priority, queued): (i32, usize)| {
        gauge(vec![label("priority", &priority.to_string())], queued as f64)
    };
    by_priority.into_iter().map(metric).collect()
}

fn workers(now: &Snapshot) -> Vec<Metric> {
    let states = [
        ("idle", WorkerState::Idle),
        ("busy", WorkerState::Busy),
        ("stopping", WorkerState::Stopping),
        ("standby", WorkerState::Standby),
    ];
    let metric = |(name, state)| {
        let count = now.per_worker.iter().filter(|worker| worker.state == state).count();
        gauge(vec![label("state", name)], count as f64)
    };
    states.into_iter().map(metric).collect()
}

fn ends(now: &Snapshot) -> Vec<Metric> {
    let ends = now.restarts;
    let reasons = [
        ("killed", ends.killed),
        ("lost", ends.lost),
        ("recycled", ends.recycled),
        ("dismissed", ends.dismissed),
    ];
    let metric =
        |(reason, count): (&str, u64)| counter(vec![label("reason", reason)], count as f64);
    reasons.into_iter().map(metric).collect()
}

fn memory(now: &Snapshot) -> Vec<Metric> {
    let known = now.per_worker.iter().filter_map(|worker| {
        let name = worker.number.to_string();
        Some(gauge(vec![label("worker", &name)], worker.memory_bytes? as f64))
    });
    known.collect()
}

/// What tenants cost, counted from scrape to scrape: an engine forgets them.
#[derive(Debug, Default)]
struct Tenants {
    /// How many have a name.
    most: usize,
    named: HashMap<String, Cost>,
    other: Cost,
    /// What the engine said of each at the last scrape.
    before: HashMap<String, Cost>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Cost {
    done: u64,
    failed: u64,
    cancelled: u64,
    timed_out: u64,
    refused: u64,
    run_time: Duration,
}

/// The label of tenants without one of their own, and of submits without tenant.
const OTHER: &str = "other";

impl Tenants {
    fn families(&mut self, now: &Snapshot) -> Vec<MetricFamily> {
        if self.most == 0 {
            return Vec::new();
        }
        self.count(now);
        let mut rows: Vec<_> =
            self.named.iter().map(|(name, cost)| (name.as_str(), *cost)).collect();
        rows.sort_unstable_by_key(|(name, _)| *name);
        rows.push((OTHER, self.other));
        let run_time = |(name, cost): &(&str, Cost)| {
            counter(vec![label("tenant", name)], cost.run_time.as_secs_f64())
        };
        vec![
            family(
                "outboard_tenant_queued_tasks",
                "Tasks of each tenant that wait for a worker.",
                MetricType::GAUGE,
                self.queued(now),
            ),
            family(
                "outboard_tenant_tasks_total",
                "Tasks of each tenant by how they ended.",
                MetricType::COUNTER,
                rows.iter().flat_map(|(name, cost)| cost.outcomes(name)).collect(),
            ),
            family(
                "outboard_tenant_run_seconds_total",
                "Run time of each tenant's tasks that gave a result.",
                MetricType::COUNTER,
                rows.iter().map(run_time).collect(),
            ),
        ]
    }

    fn count(&mut self, now: &Snapshot) {
        let mut costs: Vec<(String, Cost)> = (now.per_tenant.iter())
            .map(|row| (row.tenant.clone().unwrap_or_default(), Cost::of(&row.figures)))
            .collect();
        // Names go to those that take most, as long as there are some.
        costs.sort_by_key(|(_, cost)| std::cmp::Reverse(cost.run_time));
        for (name, cost) in &costs {
            let grown = cost.since(self.before.get(name).copied().unwrap_or_default());
            let room = self.named.len() < self.most && grown != Cost::default();
            let named = !name.is_empty() && name != OTHER;
            if named && (room || self.named.contains_key(name)) {
                self.named.entry(name.clone()).or_default().add(grown);
            } else {
                self.other.add(grown);
            }
        }
        self.before = costs.into_iter().collect();
    }

    fn queued(&self, now: &Snapshot) -> Vec<Metric> {
        let mut queued: HashMap<&str, usize> = HashMap::from([(OTHER, 0)]);
        for row in &now.per_tenant {
            let name = row.tenant.as_deref().filter(|name| self.named.contains_key(*name));
            *queued.entry(name.unwrap_or(OTHER)).or_default() += row.queued;
        }
        let mut queued: Vec<_> = queued.into_iter().collect();
        queued.sort_unstable();
        let metric =
            |(name, queued): (&str, usize)| gauge(vec![label("tenant", name)], queued as f64);
        queued.into_iter().map(metric).collect()
    }
}

impl Cost {
    fn of(figures: &outboard::admin::Figures) -> Self {
        Self {
            done: figures.done,
            failed: figures.failed,
            cancelled: figures.cancelled,
            timed_out: figures.timed_out,
            refused: figures.refused,
            run_time: figures.run_time,
        }
    }

    /// What came since the last scrape; all of it, if the tenant was forgotten
    /// meanwhile and began again.
    fn since(self, before: Self) -> Self {
        let again = self.done < before.done
            || self.failed < before.failed
            || self.cancelled < before.cancelled
            || self.timed_out < before.timed_out
            || self.refused < before.refused;
        if again {
            return self;
        }
        Self {
            done: self.done - before.done,
            failed: self.failed - before.failed,
            cancelled: self.cancelled - before.cancelled,
            timed_out: self.timed_out - before.timed_out,
            refused: self.refused - before.refused,
            run_time: self.run_time.saturating_sub(before.run_time),
        }
    }

    fn add(&mut self, other: Self) {
        self.done += other.done;
        self.failed += other.failed;
        self.cancelled += other.cancelled;
        self.timed_out += other.timed_out;
        self.refused += other.refused;
        self.run_time += other.run_time;
    }

    fn outcomes(&self, tenant: &str) -> Vec<Metric> {
        let counts = [
            ("done", self.done),
            ("failed", self.failed),
            (ErrorKind::Cancelled.as_str(), self.cancelled),
            (ErrorKind::TimedOut.as_str(), self.timed_out),
            ("refused", self.refused),
        ];
        let metric = |(outcome, count): (&str, u64)| {
            counter(vec![label("tenant", tenant), label("outcome", outcome)], count as f64)
        };
        counts.into_iter().map(metric).collect()
    }
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn label(name: &str, value: &str) -> LabelPair {
    let mut label = LabelPair::default();
    label.set_name(name.to_owned());
    label.set_value(value.to_owned());
    label
}

fn counter(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter);
    metric
}

fn gauge(labels: Vec<LabelPair>, value: f64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}

/// Every second bound of ours: a factor of four is enough for a quantile over
/// time, and each bucket is a time series.
fn histogram(labels: Vec<LabelPair>, times: &Histogram, sum: Duration) -> Metric {
    let mut count = 0;
    let mut buckets = Vec::new();
    for (index, (bound, within)) in times.buckets().enumerate() {
        count += within;
        if index % 2 == 0 {
            buckets.push(bucket(bound.as_secs_f64(), count));
        }
    }
    let mut histogram = prometheus::proto::Histogram::default();
    histogram.set_sample_count(times.count());
    histogram.set_sample_sum(sum.as_secs_f64());
    histogram.set_bucket(buckets);
    let mut metric = Metric::from_label(labels);
    metric.set_histogram(histogram);
    metric
}
