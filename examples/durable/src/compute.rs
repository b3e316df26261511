//! What takes long, and runs in a worker process.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// How long a page takes.
const PAGE: Duration = Duration::from_millis(50);

/// Renders a report; a stand-in for any computation.
#[outboard::task]
pub(crate) fn render(pages: u32) -> String {
    for page in 1..=pages {
        outboard::progress(page.into(), pages.into(), "rendering");
        let start = Instant::now();
        while start.elapsed() < PAGE {
            black_box(page);
        }
    }
    format!("{pages} pages")
}

/// Adds up pages.
#[outboard::task]
pub(crate) fn total(pages: Vec<i32>) -> i64 {
    pages.into_iter().map(i64::from).sum()
}
