//! How long large values hold up an event loop: the most CPU time that the one thread of
//! a runtime spends at a stretch, before it comes back to a task that is always ready.
//!
//! CPU time, for that the machine has other work is no pause of the loop's.

use std::cell::Cell;
use std::rc::Rc;
use std::sync::mpsc;
use std::time::Duration;

use anyhow::ensure;
use bytes::Bytes;
use outboard::{Client, TaskFunction};
use rustix::time::{ClockId, clock_gettime};
use tokio::task::{LocalSet, spawn_local, yield_now};

use super::figure::Figure;
use super::plan::Plan;
use super::row::{Row, Unit};

/// How long the loop may be held, in seconds.
const LIMIT: f64 = 100e-6;

const MIB: usize = 1 << 20;

/// The CPU time of this thread.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

pub(super) fn measure(plan: Plan) -> anyhow::Result<Vec<Row>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, async {
        let client = Client::local().workers(1).await?;
        let ticker = Ticker::start();
        let mebibytes = if plan.quick { 4 } else { 64 };
        let bytes = mebibytes * MIB;
        let image = move || Bytes::from(vec![7; bytes]);
        let numbers = move || vec![0.5_f64; bytes / size_of::<f64>()];
        let lines = move || {
            vec![
                "a line of a report, of sixty-four bytes with what the codec adds".to_owned();
                bytes / 64
            ]
        };
        let rows = vec![
            ticker.row(&client, "Bytes", mebibytes, give_bytes, image).await?,
            ticker
                .row(&client, "Bytes and a number", mebibytes, give_both, move || (image(), 7))
                .await?,
            ticker.row(&client, "Vec<f64>", mebibytes, give_numbers, numbers).await?,
            ticker.row(&client, "Vec<String>", mebibytes, give_lines, lines).await?,
        ];
        client.shutdown().await;
        anyhow::Ok(rows)
    })
}

#[outboard::task]
fn give_bytes(bytes: Bytes) -> Bytes {
    bytes
}

#[outboard::task]
fn give_both(bytes: Bytes, number: u32) -> (Bytes, u32) {
    (bytes, number)
}

#[outboard::task]
fn give_numbers(numbers: Vec<f64>) -> Vec<f64> {
    numbers
}

#[outboard::task]
fn give_lines(lines: Vec<String>) -> Vec<String> {
    lines
}

/// A task that is always ready, and notes the longest time at a stretch of others.
struct Ticker {
    longest: Rc<Cell<Duration>>,
}

/// How many trips each kind of value makes.
const TRIPS: usize = 5;

impl Ticker {
    fn start() -> Self {
        let longest = Rc::new(Cell::new(Duration::ZERO));
        let noted = longest.clone();
        spawn_local(async move {
            let mut last = cpu_time();
            loop {
                yield_now().await;
                let now = cpu_time();
                noted.set(noted.get().max(now - last));
                last = now;
            }
        });
        Self { longest }
    }

    /// The longest time at a stretch while values go there and back.
    async fn row<F, M>(
        &self,
        client: &Client,
        kind: &str,
        mebibytes: usize,
        function: F,
        make: impl Fn() -> F::Args + Send + Copy + 'static,
    ) -> anyhow::Result<Row>
    where
        F: TaskFunction<M, Output: PartialEq<F::Args>>,
        M: 'static,
    {
        let mut stretches = Vec::with_capacity(TRIPS);
        for trip in 0..=TRIPS {
            // Making, comparing and freeing a value is the caller's own time.
            let (made, value) = mpsc::channel();
            std::thread::spawn(move || made.send((make(), make())));
            yield_now().await;
            let (argument, same) = value.recv()?;
            yield_now().await;
            self.longest.set(Duration::ZERO);
            let back = client.submit(function, argument).await?;
            // The ticker's turn, so that what this poll took is noted.
            yield_now().await;
            yield_now().await;
            let stretch = self.longest.get();
            let right = std::thread::spawn(move || back == same).join();
            ensure!(right.is_ok_and(|same| same), "a value came back as another");
            if trip > 0 {
                stretches.push(stretch.as_secs_f64());
            }
            yield_now().await;
        }
        let name = format!("held by {mebibytes} MiB of {kind}, there and back");
        let longest = stretches.iter().copied().fold(0.0, f64::max);
        Ok(Row::within(name, Unit::Seconds, Figure::exactly(longest), LIMIT)
            .beside("the median of the trips", Figure::of(stretches)))
    }
}
