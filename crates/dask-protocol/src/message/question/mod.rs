//! What is asked over a connection, one question at a time, and what that is answered.

use std::fmt;
use std::io;

use rmpv::Value;

use crate::document::{Document, text};
use crate::frames::Frames;
use crate::key::Key;
use crate::malformed::Malformed;
use crate::message::fields::Fields;
use crate::serialized::Serialized;

/// What a worker of ours is asked of tasks that run.
pub(crate) mod items;
/// What a scheduler is asked.
mod scheduler;
/// What a worker is asked.
mod worker;

pub use items::{AskProgress, Items, Proxy, TakeItems, TaskProgress};
pub use scheduler::{
    Gather, Heartbeat, HeartbeatWorker, Identity, Processing, Ran, RegisterClient, RegisterWorker,
    RegisterWorkerPlugin, Registered, RetireWorkers, RunOnWorkers, Scatter, TaskStatus, TellData,
    Unregister, Versions, WhoHas,
};
pub use worker::{GatherCopies, GetData, UpdateData};

/// Something that a scheduler or a worker can be asked.
///
/// # Examples
///
/// ```
/// use dask_protocol::Serialized;
/// use dask_protocol::message::{Data, GetData, Question, Reply};
///
/// let question = GetData { keys: vec!["a".into()], who: None };
/// let frames = question.encode();
/// // … which are sent to a worker, that answers:
/// # drop(frames);
/// let data = vec![("a".into(), Serialized::from_bytes(b"abc".to_vec()))];
/// let answer = Reply::Data(data.clone()).encode();
/// assert_eq!(GetData::answer(answer)?, Data::Here(data));
/// # Ok::<(), dask_protocol::message::NoAnswer>(())
/// ```
pub trait Question {
    /// What it is answered.
    type Answer;

    /// The message that asks it.
    fn encode(self) -> Frames;

    /// Reads the answer.
    ///
    /// # Errors
    ///
    /// If the peer could not answer, does not know the question, or does not answer
    /// that.
    fn answer(frames: Frames) -> Result<Self::Answer, NoAnswer>;
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// The peer failed to answer: what it says.
    Failed(String),
    /// It answered something else.
    Malformed(Malformed),
}

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Failed(said) => write!(f, "it failed to answer: {said}"),
            Self::Malformed(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for NoAnswer {}

impl From<Malformed> for NoAnswer {
    fn from(error: Malformed) -> Self {
        Self::Malformed(error)
    }
}

impl From<NoAnswer> for io::Error {
    fn from(error: NoAnswer) -> Self {
        match error {
            NoAnswer::Failed(_) => io::Error::other(error),
            NoAnswer::Malformed(error) => error.into(),
        }
    }
}

/// What [`Gather`] and [`GetData`] are answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Data {
    /// What is there of it.
    Here(Vec<(Key, Serialized)>),
    /// Not now.
    Busy,
    /// Something of it is nowhere.
    Missing,
}

impl Data {
    /// The message that is owed to whoever gave data.
    pub fn received() -> Frames {
        Document::new("OK".into()).into_frames()
    }

    fn read(operation: &'static str, frames: Frames) -> Result<Self, NoAnswer> {
        answer(operation, frames, |mut fields| {
            Ok(match fields.name("status")?.as_str() {
                "OK" => Self::Here(fields.objects("data")?),
                "busy" => Self::Busy,
                _ => Self::Missing,
            })
        })
    }
}

/// A question with its fields.
fn question<const N: usize>(operation: &str, fields: [(&str, Value); N]) -> Document {
    let mut all = vec![("op".into(), operation.into()), ("reply".into(), true.into())];
    all.extend(fields.map(|(name, value)| (name.into(), value)));
    Document::new(Value::Map(all))
}

/// What a peer answers, unless it says that it failed.
fn received(frames: Frames) -> Result<(Value, Document), NoAnswer> {
    let mut document = Document::from_frames(frames)?;
    let value = document.take_value();
    if text(&value, "status") == Some("uncaught-error") {
        let said = text(&value, "exception_text").unwrap_or("without a word");
        return Err(NoAnswer::Failed(said.to_owned()));
    }
    Ok((value, document))
}

/// The same, of a question that is answered something.
fn said(operation: &str, frames: Frames) -> Result<(Value, Document), NoAnswer> {
    let (value, document) = received(frames)?;
    match value.is_nil() {
        true => Err(Malformed::of(operation, "", "the peer does not know it").into()),
        false => Ok((value, document)),
    }
}

/// Reads an answer that is a map of names.
fn answer<T>(
    operation: &str,
    frames: Frames,
    read: impl FnOnce(Fields<'_>) -> Result<T, Malformed>,
) -> Result<T, NoAnswer> {
    let (value, mut document) = said(operation, frames)?;
    Ok(read(Fields::of(operation, value, &mut document)?)?)
}

/// An answer of which nothing is of interest.
fn done(frames: Frames) -> Result<(), NoAnswer> {
    received(frames).map(drop)
}
