//! Hears of workers that come and go, by a connection of its own: a scheduler hangs
//! up on those who listen when it has something to tell that it cannot serialize
//! (as when it copies data for others), and that is not to cost any task.

use std::convert::Infallible;
use std::io;
use std::time::Duration;

use dask_protocol::message::{ClientToScheduler, Packages, SchedulerToClient};

use super::Talk;

/// How long to wait before listening again.
const PAUSE: Duration = Duration::from_millis(100);

impl Talk<'_> {
    /// Listens for as long as it is connected.
    pub(super) async fn listen<T>(&self, packages: &Packages) -> io::Result<T> {
        loop {
            let Err(error) = self.hear(packages).await;
            tracing::debug!(scheduler = %self.keeper.address, %error, "it hung up on who listens");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn hear(&self, packages: &Packages) -> io::Result<Infallible> {
        let client = format!("{}-events", self.keeper.client_name());
        let stream = self.keeper.in_time(self.keeper.register(&client, packages)).await?;
        let (mut incoming, mut outgoing) = stream.split();
        let subscribe = ClientToScheduler::SubscribeTopic { topic: "all".into(), client };
        outgoing.send(ClientToScheduler::encode([subscribe])).await?;
        // What was told before was not heard.
        self.changed.notify_one();
        loop {
            let all = SchedulerToClient::parse(incoming.next().await?)?;
            if all.iter().any(|one| matches!(one, SchedulerToClient::Event { .. })) {
                self.changed.notify_one();
            }
        }
    }
}
