//! A job as server-sent events: from where its reader left off, to its end.

use std::convert::Infallible;
use std::fmt::Write;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::stream;
use http::{HeaderMap, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use outboard::Progress;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::timeout;

use super::id::Id;
use super::{Handle, Shared, last};
use crate::answer::{Body, answer, with_body};
use crate::jobs::table::Job;

/// What a browser says when it connects again.
const LAST_EVENT_ID: &str = "last-event-id";

/// The id of the last event.
const END: &str = "end";

/// How often progress is looked at.
const LOOK: Duration = Duration::from_millis(100);

/// After so long without an event a comment is sent, so that nobody closes the connection.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// How much is written at once.
const CHUNK_BYTES: usize = 64 << 10;

/// The events of a job; `None` if it was dropped.
pub(super) fn answer_for(
    shared: &Arc<Shared>,
    id: Id,
    headers: &HeaderMap,
) -> Option<Response<Body>> {
    let seen = headers.get(LAST_EVENT_ID).and_then(|seen| seen.to_str().ok());
    let table = shared.table();
    let job = table.get(id, Instant::now())?;
    if seen == Some(END) {
        // `EventSource` does not connect again after that.
        return Some(answer(StatusCode::NO_CONTENT, "text/event-stream", ""));
    }
    let next = seen.and_then(|seen| seen.parse::<u64>().ok()?.checked_add(1));
    let reader = Reader {
        shared: shared.clone(),
        id,
        next: next.filter(|next| *next <= job.sent()).unwrap_or_default(),
        progress: None,
        news: job.handle.news.subscribe(),
        over: false,
    };
    let chunks = stream::unfold(reader, async |mut reader| {
        let chunk = reader.chunk().await?;
        Some((Ok::<_, Infallible>(Frame::data(Bytes::from(chunk))), reader))
    });
    let body = StreamBody::new(chunks).boxed_unsync();
    Some(with_body(StatusCode::OK, "text/event-stream", body))
}

/// Progress as JSON.
pub(super) fn progress(progress: &Progress) -> Value {
    let Progress { done, total, text, .. } = progress;
    json!({ "done": done, "total": total, "text": text })
}

/// One who reads a job.
struct Reader {
    shared: Arc<Shared>,
    id: Id,
    /// The number of the next item.
    next: u64,
    /// What was told last.
    progress: Option<Progress>,
    news: watch::Receiver<()>,
    over: bool,
}

impl Reader {
    /// The next events; `None` after the last.
    async fn chunk(&mut self) -> Option<String> {
        let silent_since = Instant::now();
        while !self.over {
            self.news.mark_unchanged();
            let chunk = self.take();
            if !chunk.is_empty() {
                return Some(chunk);
            }
            if silent_since.elapsed() >= KEEP_ALIVE {
                return Some(":\n\n".to_owned());
            }
            // An error is a job that was dropped, which the next look shows.
            let _ = timeout(LOOK, self.news.changed()).await;
        }
        None
    }

    /// What there is that was not told.
    fn take(&mut self) -> String {
        let shared = self.shared.clone();
        let table = shared.table();
        match table.get(self.id, Instant::now()) {
            Some(job) => self.read(job),
            None => {
                self.over = true;
                String::new()
            }
        }
    }

    fn read(&mut self, job: &Job<Handle>) -> String {
        let mut chunk = String::new();
        if self.next < job.first {
            let items = job.first - self.next;
            let _ = write!(chunk, "event: dropped\ndata: {{\"items\":{items}}}\n\n");
            self.next = job.first;
        }
        for item in job.items.iter().skip((self.next - job.first) as usize) {
            if chunk.len() >= CHUNK_BYTES {
                return chunk;
            }
            let _ = write!(chunk, "id: {}\ndata: {}\n\n", self.next, text(item));
            self.next += 1;
        }
        match last(job) {
            Some((name, value)) => {
                let _ = write!(chunk, "id: {END}\nevent: {name}\ndata: {}\n\n", text(&value));
                self.over = true;
            }
            None => {
                let now = job.handle.progress.now();
                if let Some(now) = now.filter(|now| self.progress.as_ref() != Some(now)) {
                    let _ = write!(chunk, "event: progress\ndata: {}\n\n", progress(&now));
                    self.progress = Some(now);
                }
            }
        }
        chunk
    }
}

/// JSON that was written here.
fn text(json: &Bytes) -> &str {
    std::str::from_utf8(json).unwrap_or_default()
}
