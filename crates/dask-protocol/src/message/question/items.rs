//! What a worker of ours is asked of tasks that run: no worker of Dask's own knows this.

use rmpv::Value;

use super::{NoAnswer, Question, answer, question};
use crate::document::{Document, map};
use crate::frames::Frames;
use crate::key::Key;
use crate::malformed::Malformed;
use crate::message::fields::{into_list, keys};
use crate::serialized::Serialized;

/// The names of the questions.
pub(crate) const TAKE_ITEMS: &str = "outboard_items";
pub(crate) const ASK_PROGRESS: &str = "outboard_progress";

/// Asks for the items that a task sends, and says which have arrived.
///
/// Without [`wait_ms`](Self::wait_ms) it says that alone: no items come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TakeItems {
    /// Which stream, as its worker has said in an event.
    pub stream: String,
    /// How many of its items have arrived, from the first on.
    pub received: u64,
    /// How many bytes of them their reader has taken.
    pub taken: u64,
    /// How long to wait for the next, in milliseconds.
    pub wait_ms: Option<u64>,
}

/// What [`TakeItems`] is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Items {
    /// What there is of the stream.
    Here {
        /// The next items: of each the number of its bytes, in eight bytes, and then these.
        items: Serialized,
        /// There are no others.
        ended: bool,
    },
    /// There is no such stream, or not any more.
    Unknown,
}

impl Question for TakeItems {
    type Answer = Items;

    fn encode(self) -> Frames {
        let Self { stream, received, taken, wait_ms } = self;
        // A handler of Dask's whose first parameter is a `stream` gets the connection.
        let fields = [
            ("received", received.into()),
            ("taken", taken.into()),
            ("name", stream.into()),
            ("wait_ms", wait_ms.map_or(Value::Nil, Value::from)),
        ];
        question(TAKE_ITEMS, fields).into_frames()
    }

    fn answer(frames: Frames) -> Result<Items, NoAnswer> {
        answer(TAKE_ITEMS, frames, |mut fields| {
            let ended = fields.bool("ended")?.unwrap_or(false);
            let items = fields.object("items")?;
            Ok(items.map_or(Items::Unknown, |items| Items::Here { items, ended }))
        })
    }
}

impl Items {
    pub(crate) fn write(self, document: &mut Document) -> Value {
        match self {
            Self::Here { items, ended } => {
                map([("items", document.attach(items)), ("ended", ended.into())])
            }
            Self::Unknown => map([("items", Value::Nil)]),
        }
    }
}

/// How far a running task says that it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskProgress {
    /// How much is done.
    pub done: u64,
    /// How much there is to do; 0 if that is not known.
    pub total: u64,
    /// What it does.
    pub text: String,
}

/// Asks how far tasks are that run at a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AskProgress {
    /// The keys of the tasks.
    pub keys: Vec<Key>,
}

impl Question for AskProgress {
    /// Of those that run there and have said something.
    type Answer = Vec<(Key, TaskProgress)>;

    fn encode(self) -> Frames {
        question(ASK_PROGRESS, [("keys", keys(self.keys))]).into_frames()
    }

    fn answer(frames: Frames) -> Result<Self::Answer, NoAnswer> {
        answer(ASK_PROGRESS, frames, |mut fields| {
            let all = fields.value("progress").and_then(into_list).unwrap_or_default();
            let all = all.into_iter().map(TaskProgress::read).collect::<Option<_>>();
            all.ok_or_else(|| fields.wrong("progress", "is no list of keys with their progress"))
        })
    }
}

impl TaskProgress {
    fn read(value: Value) -> Option<(Key, Self)> {
        let [key, done, total, text] = <[Value; 4]>::try_from(into_list(value)?).ok()?;
        let (done, total, text) = (done.as_u64()?, total.as_u64()?, text.as_str()?.to_owned());
        Some((Key::of(&key), Self { done, total, text }))
    }

    pub(crate) fn write(all: Vec<(Key, Self)>) -> Value {
        let one = |(key, Self { done, total, text }): (Key, Self)| {
            Value::Array(vec![key.value(), done.into(), total.into(), text.into()])
        };
        map([("progress", Value::Array(all.into_iter().map(one).collect()))])
    }
}

/// Has a scheduler ask one of its workers, and pass the answer on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Proxy<Q> {
    /// The worker's address.
    pub worker: String,
    /// What it is asked. Nothing may lie beside that message.
    pub question: Q,
}

impl<Q: Question> Question for Proxy<Q> {
    type Answer = Q::Answer;

    fn encode(self) -> Frames {
        let asked = Document::from_frames(self.question.encode());
        let asked = asked.map_or(Value::Nil, |mut document| document.take_value());
        question("proxy", [("msg", asked), ("worker", self.worker.into())]).into_frames()
    }

    fn answer(frames: Frames) -> Result<Q::Answer, NoAnswer> {
        Q::answer(frames)
    }
}

/// What a scheduler is to ask one of its workers: the worker, and the message.
pub(crate) fn read_proxy(
    worker: String,
    asked: Option<Value>,
) -> Result<(String, Frames), Malformed> {
    let asked = asked.ok_or(Malformed::of("proxy", "msg", "is missing"))?;
    Ok((worker, Document::new(asked).into_frames()))
}
