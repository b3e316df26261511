//! What is measured.

use clap::ValueEnum;
use serde::Serialize;

/// What is measured; the names are the report's keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub(crate) enum Section {
    /// A trivial task, one after the other
    Roundtrip,
    /// A trivial task now and then, beside a thread
    Pace,
    /// Trivial tasks, as many as can be
    Throughput,
    /// A page that submits a task
    Http,
    /// Large arguments and results
    Payload,
    /// Items of tasks that run
    Streams,
    /// A text for each of a hundred browsers at once
    Browsers,
    /// Several callers' items in one call
    Batches,
    /// How long large values hold up an event loop
    Pauses,
    /// A quick page while all workers compute
    FastUnderLoad,
    /// 20 tasks on all workers
    Scaling,
    /// A million tasks in the queue
    QueueGrowth,
    /// The first result of a new client
    ColdStart,
    /// What a client costs that has nothing to do
    Idle,
    /// A task that is dropped while it runs
    Kill,
    /// A trivial function of Python, one after the other
    Python,
    /// A Dask cluster; measured alone, by its URL
    #[value(skip)]
    Cluster,
}

impl Section {
    pub(super) fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or("cluster".to_owned(), |value| value.get_name().to_owned())
    }
}
