//! A page that is written as it is computed: when its first line is there, and when all are.

use std::time::Instant;

use crate::browser::Browser;
use crate::measure::{Fault, Measurement};
use crate::tasks;

/// What the page has to say.
pub(super) fn right(n: u64) -> String {
    let lines = (1..=tasks::LINES).map(|number| tasks::line(number, n, tasks::fib_by_addition(n)));
    lines.map(|line| String::from_utf8_lossy(&line).into_owned()).collect()
}

/// Reads it: the first line, and all of it.
pub(super) async fn read(browser: &Browser, path: &str, right: &str) -> [Measurement; 2] {
    let start = Instant::now();
    let mut first = None;
    let read = async {
        let mut reading = browser.read(path, None).await?;
        if !reading.status.is_success() {
            return Err(Fault::Status(reading.status.as_u16()));
        }
        let mut body = Vec::new();
        while let Some(some) = reading.more().await? {
            body.extend_from_slice(&some);
            if first.is_none() && body.contains(&b'\n') {
                first = Some(start.elapsed());
            }
        }
        if body == right.as_bytes() { Ok(()) } else { Err(Fault::WrongBody) }
    };
    let read = read.await;
    let all = start.elapsed();
    [first.unwrap_or(all), all].map(|elapsed| Measurement::of_one(read.clone(), elapsed))
}
