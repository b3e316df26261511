//! The stream of a task on a cluster: what the client has of it, and how a worker says
//! where it is.
//!
//! A task that streams names a topic of its scheduler, to which its client listens. The
//! worker that starts it says there, in an event, by which name it has the stream. Then the
//! client asks that worker for the items.

use std::sync::Arc;

use tokio::sync::watch;

use crate::value::channel::{Channel, Credit, Source};
use crate::value::payload::Payload;

/// What the events are called among others.
const ACTION: &str = "outboard-stream";

/// What a worker says of a task that has started.
#[cfg(any(test, all(feature = "local", target_os = "linux")))]
pub(super) fn said(key: &str, stream: &str) -> Vec<(String, String)> {
    let fields = [("action", ACTION), ("key", key), ("stream", stream)];
    fields.map(|(name, text)| (name.to_owned(), text.to_owned())).into()
}

/// A stream, as its worker has said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    pub(super) key: String,
    /// The worker's address.
    pub(super) worker: String,
    pub(super) stream: String,
}

impl Begun {
    /// Reads an event; `None` if it is another one.
    pub(super) fn read(said: Vec<(String, String)>) -> Option<Self> {
        let (mut action, mut key, mut worker, mut stream) = (None, None, None, None);
        for (name, text) in said {
            match name.as_str() {
                "action" => action = Some(text),
                "key" => key = Some(text),
                "worker" => worker = Some(text),
                "stream" => stream = Some(text),
                _ => {}
            }
        }
        action.filter(|action| action == ACTION)?;
        Some(Self { key: key?, worker: worker?, stream: stream? })
    }
}

/// The items of an answer; `None` if no worker of ours wrote it.
pub(super) fn split(mut bytes: &[u8]) -> Option<Vec<Payload>> {
    let mut items = Vec::new();
    while !bytes.is_empty() {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = usize::try_from(u64::from_le_bytes(*length)).ok()?;
        let (item, rest) = rest.split_at_checked(length)?;
        items.push(Payload::copy(item));
        bytes = rest;
    }
    Some(items)
}

/// The client's end of an attempt's stream.
#[derive(Clone, Debug)]
pub(crate) struct Stream {
    pub(super) source: Source,
    /// How many bytes the reader has taken. It is closed when no item is wanted any more.
    pub(super) taken: watch::Receiver<u64>,
}

impl Stream {
    /// That of an attempt that starts now.
    pub(super) fn new(channel: &Arc<Channel>) -> Self {
        let (tell, taken) = watch::channel(0);
        Self { source: channel.source(Some(Arc::new(Taken(tell)))), taken }
    }
}

#[derive(Debug)]
struct Taken(watch::Sender<u64>);

impl Credit for Taken {
    fn taken(&self, total: u64) {
        self.0.send_replace(total);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stream_is_known_by_what_its_worker_says() {
        let mut event = said("k-1", "s-1");
        assert_eq!(Begun::read(event.clone()), None, "the scheduler adds the worker");
        event.push(("worker".into(), "tcp://a:1".into()));
        let begun = Begun { key: "k-1".into(), worker: "tcp://a:1".into(), stream: "s-1".into() };
        assert_eq!(Begun::read(event), Some(begun));
        let other = vec![("action".to_owned(), "add-client".to_owned())];
        assert_eq!(Begun::read(other), None);
    }

    proptest! {
        #[test]
        fn any_bytes_are_items_or_none(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(items) = split(&bytes) {
                let length: usize = items.iter().map(|item| 8 + item.len()).sum();
                prop_assert_eq!(length, bytes.len());
            }
        }
    }
}
