//! Numbered streams: the task that sends one, the pages that serve it, and what a reader must
//! see of it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path as FilePath, PathBuf};

use axum::Router;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use outboard::Sender;
use outboard_axum::{Compute, Exposure, Jobs, sse};
use serde_json::Value;

use super::verdict::{Verdict, typed};
use crate::tasks;

/// How many items a stream of the storm has, and one that is to be cut with its server.
pub(super) const ITEMS: u32 = 40;
pub(super) const MANY_ITEMS: u32 = 1_000_000;

/// What a task computes before each item: a millisecond, about.
const WORK_N: u64 = 22;

/// Every so many items one is large, so that it is hit in its middle now and then.
const LARGE_EVERY: u64 = 8;

/// Sends numbered items, and notes how many were sent: it may be killed at any moment.
#[outboard::task]
fn numbers(stream: u64, items: u32, notes: PathBuf, out: Sender<String>) -> u32 {
    let note = File::create(note(&notes, stream)).ok();
    for n in 0..items {
        tasks::fib(WORK_N);
        if out.send(item(stream, n)).is_err() {
            return n;
        }
        if let Some(note) = &note {
            let _ = note.write_all_at(&(n + 1).to_le_bytes(), 0);
        }
    }
    items
}

/// The item of a stream: nothing of another one could be taken for it.
fn item(stream: u64, n: u32) -> String {
    let number = stream.wrapping_add(u64::from(n));
    let length = match number % LARGE_EVERY {
        0 => 20_000 + number.wrapping_mul(7919) % 100_000,
        _ => number % 100,
    };
    let letter = char::from(b'a' + (number % 26) as u8);
    format!("{stream}:{n}:{}", String::from(letter).repeat(length as usize))
}

/// Where a task notes what it has sent.
fn note(notes: &FilePath, stream: u64) -> PathBuf {
    notes.join(stream.to_string())
}

/// What the handlers share.
#[derive(Clone)]
struct Served {
    jobs: Jobs,
    notes: PathBuf,
}

/// The pages whose tasks stream; only this command has them.
pub(super) fn pages(notes: &FilePath) -> Router {
    let jobs = Jobs::at("/jobs").exposure(Exposure::Full);
    Router::new()
        .route("/stream/{stream}/{items}", get(stream))
        .route("/job/{stream}/{items}", post(job))
        .nest("/jobs", jobs.router())
        .with_state(Served { jobs, notes: notes.to_owned() })
}

async fn stream(
    State(served): State<Served>,
    compute: Compute,
    Path((stream, items)): Path<(u64, u32)>,
) -> Response {
    sse(compute.stream(numbers, (stream, items, served.notes)))
}

async fn job(
    State(served): State<Served>,
    compute: Compute,
    Path((stream, items)): Path<(u64, u32)>,
) -> impl IntoResponse {
    served.jobs.stream(&compute, numbers, (stream, items, served.notes))
}

/// What a reader has seen of a stream.
#[derive(Debug)]
pub(super) struct Flow {
    stream: u64,
    items: u32,
    /// The number of the next item.
    next: u32,
    end: Option<End>,
    /// An event that has not arrived in full.
    part: Vec<u8>,
}

/// How a stream ended.
#[derive(Clone, Debug, PartialEq, Eq)]
enum End {
    Output(u32),
    Problem { kind: String, status: u16, detail: String },
}

impl Flow {
    pub(super) fn of(stream: u64, items: u32) -> Self {
        Self { stream, items, next: 0, end: None, part: Vec::new() }
    }

    /// How many items there were.
    pub(super) fn seen(&self) -> u32 {
        self.next
    }

    pub(super) fn has_ended(&self) -> bool {
        self.end.is_some()
    }

    /// What a browser says that connects again.
    pub(super) fn last_event_id(&self) -> Option<String> {
        self.next.checked_sub(1).map(|last| last.to_string())
    }

    /// The connection has ended, and another one begins.
    pub(super) fn reconnect(&mut self) {
        self.part.clear();
    }

    /// Takes what has arrived.
    ///
    /// # Errors
    ///
    /// What is wrong with it.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<(), String> {
        // The end of an event is not in what was looked at before, but for its first half.
        let mut from = self.part.len().saturating_sub(1);
        self.part.extend_from_slice(bytes);
        while let Some(at) = self.part[from..].windows(2).position(|two| two == b"\n\n") {
            let event: Vec<u8> = self.part.drain(..from + at + 2).collect();
            self.event(&String::from_utf8_lossy(&event))?;
            from = 0;
        }
        Ok(())
    }

    fn event(&mut self, event: &str) -> Result<(), String> {
        let field = |name: &str| {
            let mut lines = event.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        let Some(data) = field("data") else { return Ok(()) };
        if self.end.is_some() {
            return Err(format!("an event after the end: {}", shortened(event)));
        }
        let data: Value = serde_json::from_str(data)
            .map_err(|error| format!("torn ({error}): {}", shortened(event)))?;
        match field("event") {
            None => self.item(field("id"), &data),
            Some("progress") => Ok(()),
            Some("output") => {
                let output = data.as_u64().and_then(|output| output.try_into().ok());
                self.end = Some(End::Output(output.unwrap_or_default()));
                Ok(())
            }
            Some("problem") => {
                let kind = data["kind"].as_str().unwrap_or_default().to_owned();
                let status = data["status"].as_u64().and_then(|status| status.try_into().ok());
                let detail = data["detail"].as_str().unwrap_or_default().to_owned();
                let status = status.unwrap_or_default();
                self.end = Some(End::Problem { kind, status, detail });
                Ok(())
            }
            Some(other) => Err(format!("an event `{other}`")),
        }
    }

    fn item(&mut self, id: Option<&str>, data: &Value) -> Result<(), String> {
        if id.and_then(|id| id.parse().ok()) != Some(self.next) {
            return Err(format!("item {id:?} instead of {}", self.next));
        }
        if data.as_str() != Some(&item(self.stream, self.next)) {
            let data = shortened(data.as_str().unwrap_or_default());
            return Err(format!("item {} is `{data}`", self.next));
        }
        self.next += 1;
        Ok(())
    }

    /// Judges a stream that was read to its end; `cancelled` says whether its reader cancelled it.
    pub(super) fn verdict(&self, notes: &FilePath, cancelled: bool) -> Verdict {
        let Some(end) = &self.end else {
            return Verdict::Lost(format!("no end after {} items", self.next));
        };
        match end {
            End::Output(items) if (*items, self.next) == (self.items, self.items) => Verdict::Right,
            End::Output(items) => {
                Verdict::Wrong(format!("{} items, and the output {items}", self.next))
            }
            End::Problem { kind, .. } if cancelled && kind == "cancelled" => Verdict::Right,
            End::Problem { kind, status, .. } => match typed(kind, *status) {
                None => Verdict::Wrong(format!("the end is {status} `{kind}`")),
                Some(kind @ ("worker_lost" | "out_of_memory")) if self.sent(notes) > self.next => {
                    let sent = self.sent(notes);
                    Verdict::Wrong(format!("{} of {sent} items, then {kind}", self.next))
                }
                Some(kind) => Verdict::Typed(kind),
            },
        }
    }

    /// What was said of an error.
    pub(super) fn detail(&self) -> &str {
        match &self.end {
            Some(End::Problem { detail, .. }) => detail,
            _ => "",
        }
    }

    /// Whether it was cut with its server, or had ended before.
    pub(super) fn is_cut_well(&self) -> bool {
        match &self.end {
            Some(End::Problem { kind, .. }) => kind == "closed",
            _ => false,
        }
    }

    /// How many items were sent before the end of the task.
    fn sent(&self, notes: &FilePath) -> u32 {
        let noted = std::fs::read(note(notes, self.stream)).unwrap_or_default();
        noted.try_into().map_or(0, u32::from_le_bytes)
    }
}

fn shortened(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fed(events: &[String]) -> Result<Flow, String> {
        let mut flow = Flow::of(7, 3);
        // In parts, as a network gives them.
        for part in events.concat().as_bytes().chunks(3) {
            flow.feed(part)?;
        }
        Ok(flow)
    }

    fn event(n: u32) -> String {
        format!("id: {n}\ndata: {}\n\n", serde_json::json!(item(7, n)))
    }

    fn output(n: u32) -> String {
        format!("id: end\nevent: output\ndata: {n}\n\n")
    }

    #[test]
    fn a_whole_stream_in_order_is_right() {
        let notes = FilePath::new("/nowhere");
        let flow = fed(&[event(0), ":\n\n".into(), event(1), event(2), output(3)]).unwrap();
        assert_eq!((flow.seen(), flow.verdict(notes, false)), (3, Verdict::Right));
        let short = fed(&[event(0), output(3)]).unwrap();
        assert!(matches!(short.verdict(notes, false), Verdict::Wrong(_)));
        let open = fed(&[event(0), event(1)]).unwrap();
        assert!(matches!(open.verdict(notes, false), Verdict::Lost(_)));
        assert_eq!(open.last_event_id().as_deref(), Some("1"));
    }

    #[test]
    fn lost_doubled_torn_and_foreign_items_are_wrong() {
        assert!(fed(&[event(0), event(2)]).is_err());
        assert!(fed(&[event(0), event(0)]).is_err());
        assert!(fed(&[event(0).replace("7:0:", "7:0")]).is_err());
        assert!(fed(&["id: 0\ndata: \"7:0\n\n".to_owned()]).is_err());
        assert!(fed(&[event(0), output(1), event(1)]).is_err());
        assert!(fed(&["event: dropped\ndata: {\"items\":1}\n\n".to_owned()]).is_err());
    }

    #[test]
    fn a_problem_is_typed_unless_something_that_was_sent_is_missing() {
        let notes = std::env::temp_dir().join(format!("outboard-flow-{}", std::process::id()));
        std::fs::create_dir_all(&notes).unwrap();
        let problem = |kind: &str, status: u16| {
            format!("event: problem\ndata: {{\"kind\":\"{kind}\",\"status\":{status}}}\n\n")
        };
        let lost = fed(&[event(0), problem("worker_lost", 500)]).unwrap();
        assert_eq!(lost.verdict(&notes, false), Verdict::Typed("worker_lost"));
        std::fs::write(note(&notes, 7), 2_u32.to_le_bytes()).unwrap();
        assert!(matches!(lost.verdict(&notes, false), Verdict::Wrong(_)));
        std::fs::remove_dir_all(&notes).unwrap();
        let cancelled = fed(&[problem("cancelled", 503)]).unwrap();
        assert_eq!(cancelled.verdict(&notes, true), Verdict::Right);
        assert!(matches!(cancelled.verdict(&notes, false), Verdict::Wrong(_)));
        assert!(fed(&[problem("closed", 503)]).unwrap().is_cut_well());
    }
}
