//! A page that is written as it is computed: shown to all visitors as it comes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use super::Shared;
use super::load::Order;
use super::words::Tally;
use crate::browser::{Answer, Reading};
use crate::figure;
use crate::measure::Fault;

/// Reads it to its end; what came of it, and how many lines there were.
pub(super) async fn read(shared: &Shared, order: &Order, address: SocketAddr) -> (Tally, String) {
    let mut page = Page { since: Instant::now(), first: None, lines: 0 };
    let browser = order.browser(address);
    let answer = match browser.read(&order.path(), None).await {
        Ok(mut reading) if reading.status.is_success() => {
            page.read(shared, order, &mut reading).await
        }
        Ok(mut refused) => refused.whole().await,
        Err(fault) => Err(fault),
    };
    let mut tally = Tally::default();
    tally.count(answer);
    (tally, page.said())
}

/// What has come.
struct Page {
    since: Instant,
    first: Option<Duration>,
    lines: usize,
}

impl Page {
    async fn read(
        &mut self,
        shared: &Shared,
        order: &Order,
        reading: &mut Reading,
    ) -> Result<Answer, Fault> {
        while let Some(bytes) = reading.more().await? {
            let text = String::from_utf8_lossy(&bytes);
            self.first.get_or_insert_with(|| self.since.elapsed());
            self.lines += text.matches('\n').count();
            shared.change(|board| {
                let Some(load) = board.load(order.load) else { return };
                load.text.entry(order.host).or_default().push_str(&text);
            });
        }
        reading.whole().await
    }

    fn said(&self) -> String {
        let Some(first) = self.first else { return "no line came".to_owned() };
        let lines =
            if self.lines == 1 { "1 line".to_owned() } else { format!("{} lines", self.lines) };
        format!("{lines}, the first after {}", figure::time(first.as_secs_f64()))
    }
}
