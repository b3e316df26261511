//! Many browsers in one: requests at the same time.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use reqwest::Client;

use crate::figure::time;

static BROWSER: LazyLock<Client> = LazyLock::new(Client::new);

/// Gets a page `n` times at once, and prints how long it took until all had answered.
///
/// # Panics
///
/// If a page does not answer, or with another status than 200.
pub async fn measure(url: &str, n: usize) -> Duration {
    let start = Instant::now();
    let requests: Vec<_> = (0..n).map(|_| tokio::spawn(BROWSER.get(url).send())).collect();
    for request in requests {
        let answer = request.await.expect("a request does not panic");
        answer.and_then(reqwest::Response::error_for_status).expect("the page answers");
    }
    let took = start.elapsed();
    println!("{:>8}  {n:3} × {url}", time(took));
    took
}
