//! Hears of workers that come and go, by a connection of its own: a scheduler hangs
//! up on those who listen when it has something to tell that it cannot serialize
//! (as when it copies data for others), and that is not to cost any task.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use rmpv::Value;

use super::keeper::Talk;
use dask_protocol::document::{Message, map, text};

/// How long to wait before listening again.
const PAUSE: Duration = Duration::from_millis(100);

impl Talk<'_> {
    /// Listens for as long as it is connected.
    pub(super) async fn listen<T>(&self, versions: &Value) -> io::Result<T> {
        loop {
            let Err(error) = self.hear(versions).await;
            tracing::debug!(scheduler = %self.keeper.address, %error, "it hung up on who listens");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn hear(&self, versions: &Value) -> io::Result<Infallible> {
        let name = format!("{}-events", self.keeper.client_name());
        let mut stream = self.keeper.in_time(self.keeper.register(&name, versions)).await?;
        let subscribe = map([
            ("op", "subscribe-topic".into()),
            ("topic", "all".into()),
            ("client", name.into()),
        ]);
        stream.outgoing.send(Message::new(Value::Array(vec![subscribe]))).await?;
        // What was told before was not heard.
        self.changed.notify_one();
        loop {
            let message = stream.incoming.receive().await?.ok_or(io::ErrorKind::UnexpectedEof)?;
            let all = message.value.as_array().map_or(&[][..], Vec::as_slice);
            if all.iter().any(|one| text(one, "op") == Some("event")) {
                self.changed.notify_one();
            }
        }
    }
}
