//! What a scheduler and a client say to each other over their stream.

use rmpv::Value;

use super::fields::{Fields, keys, operations, text_fields};
use crate::document::{Document, map};
use crate::frames::Frames;
use crate::key::Key;
use crate::malformed::Malformed;
use crate::serialized::Serialized;

/// What a scheduler says to a client.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SchedulerToClient {
    /// The stream has begun.
    StreamStart,
    /// The result of a task is there. May be said again.
    KeyInMemory {
        /// The task's key.
        key: Key,
    },
    /// A task has failed, and so have those that need it.
    TaskErred {
        /// The task's key.
        key: Key,
        /// The bytes of a pickle of the exception, most likely.
        exception: Option<Serialized>,
        /// The bytes of a pickle of the traceback.
        traceback: Option<Serialized>,
    },
    /// Tasks were cancelled, or what they need was lost. All clients are told.
    CancelledKeys {
        /// The keys of the tasks.
        keys: Vec<Key>,
        /// `lost dependencies`, `already forgotten`, or something that a client said.
        reason: Option<String>,
    },
    /// A result was lost with its worker, and is computed again.
    LostData {
        /// The task's key.
        key: Key,
    },
    /// A task that had failed is computed again.
    TaskRetried {
        /// The task's key.
        key: Key,
    },
    /// The scheduler has forgotten all tasks.
    Restart,
    /// Something happened that the client listens for.
    Event {
        /// What it is about.
        topic: Key,
        /// What is said of it: the fields that are text.
        said: Vec<(String, String)>,
    },
    /// How often the client is to give a sign of life.
    AdjustHeartbeatInterval {
        /// In seconds.
        seconds: f64,
    },
    /// The scheduler ends the stream.
    Close,
    /// The stream has ended.
    StreamClosed,
    /// Something else, by its name.
    Unknown(String),
}

/// What a client says to a scheduler.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum ClientToScheduler {
    /// Tasks are to be computed.
    UpdateGraph(UpdateGraph),
    /// Results are not wanted any more, nor are tasks that nobody else wants.
    ReleaseKeys {
        /// The keys of the tasks.
        keys: Vec<Key>,
        /// The client's name.
        client: String,
    },
    /// A sign of life.
    Heartbeat,
    /// Events of a topic are to be told.
    SubscribeTopic {
        /// The topic: `all` has workers that come and go.
        topic: String,
        /// The client's name.
        client: String,
    },
    /// The client leaves.
    CloseClient,
    /// The last word of the stream.
    CloseStream,
    /// Something else, by its name.
    Unknown(String),
}

/// Tasks that are to be computed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct UpdateGraph {
    /// What the tasks are: a pickle, as [`Expression`](crate::graph::Expression) makes it.
    pub expression: Vec<u8>,
    /// The tasks whose results are wanted, in the order in which they are to be
    /// computed.
    pub keys: Vec<Key>,
    /// Which of them are more urgent than others: the highest first.
    pub priorities: Vec<(Key, i64)>,
    /// What a worker must have for each task, and how much of it.
    pub resources: Vec<(String, f64)>,
    /// The workers that may compute them; none for any.
    pub workers: Vec<String>,
}

impl SchedulerToClient {
    /// Reads all that one message says.
    ///
    /// # Errors
    ///
    /// If it is no message, or something that is needed is missing or of another type.
    pub fn parse(frames: Frames) -> Result<Vec<Self>, Malformed> {
        operations(frames, Self::read)
    }

    /// The message that says all of this.
    pub fn encode(all: impl IntoIterator<Item = Self>) -> Frames {
        Document::of_list(all, Self::write)
    }

    fn read(mut fields: Fields<'_>) -> Result<Self, Malformed> {
        Ok(match fields.operation() {
            "stream-start" => Self::StreamStart,
            "key-in-memory" => Self::KeyInMemory { key: fields.key("key")? },
            "task-erred" => Self::TaskErred {
                key: fields.key("key")?,
                exception: fields.object("exception")?,
                traceback: fields.object("traceback")?,
            },
            "cancelled-keys" => {
                Self::CancelledKeys { keys: fields.keys("keys")?, reason: fields.text("reason")? }
            }
            "lost-data" => Self::LostData { key: fields.key("key")? },
            "task-retried" => Self::TaskRetried { key: fields.key("key")? },
            "restart" => Self::Restart,
            "event" => Self::Event { topic: fields.key("topic")?, said: fields.event("event") },
            "adjust-heartbeat-interval" => {
                let seconds = fields.number("interval")?.unwrap_or_default();
                Self::AdjustHeartbeatInterval { seconds }
            }
            "close" => Self::Close,
            "stream-closed" => Self::StreamClosed,
            other => Self::Unknown(other.to_owned()),
        })
    }

    fn write(self, document: &mut Document) -> Value {
        let alone = |name: &str| map([("op", name.into())]);
        let of_key = |name: &str, key: Key| map([("op", name.into()), ("key", key.value())]);
        match self {
            Self::StreamStart => {
                map([("op", "stream-start".into()), ("warning", "".into()), ("error", "".into())])
            }
            Self::KeyInMemory { key } => of_key("key-in-memory", key),
            Self::TaskErred { key, exception, traceback } => {
                let mut object = |object: Option<Serialized>| {
                    object.map_or(Value::Nil, |object| document.attach(object))
                };
                map([
                    ("op", "task-erred".into()),
                    ("key", key.value()),
                    ("exception", object(exception)),
                    ("traceback", object(traceback)),
                ])
            }
            Self::CancelledKeys { keys: all, reason } => map([
                ("op", "cancelled-keys".into()),
                ("keys", keys(all)),
                ("reason", reason.map_or(Value::Nil, Value::from)),
                ("msg", Value::Nil),
            ]),
            Self::LostData { key } => of_key("lost-data", key),
            Self::TaskRetried { key } => of_key("task-retried", key),
            Self::Restart => alone("restart"),
            Self::Event { topic, said } => map([
                ("op", "event".into()),
                ("topic", topic.value()),
                ("event", Value::Array(vec![0.0.into(), text_fields(said)])),
            ]),
            Self::AdjustHeartbeatInterval { seconds } => {
                map([("op", "adjust-heartbeat-interval".into()), ("interval", seconds.into())])
            }
            Self::Close => alone("close"),
            Self::StreamClosed => alone("stream-closed"),
            Self::Unknown(name) => alone(&name),
        }
    }
}

impl ClientToScheduler {
    /// Reads all that one message says.
    ///
    /// # Errors
    ///
    /// If it is no message, or something that is needed is missing or of another type.
    pub fn parse(frames: Frames) -> Result<Vec<Self>, Malformed> {
        operations(frames, Self::read)
    }

    /// The message that says all of this.
    pub fn encode(all: impl IntoIterator<Item = Self>) -> Frames {
        Document::of_list(all, Self::write)
    }

    fn read(mut fields: Fields<'_>) -> Result<Self, Malformed> {
        Ok(match fields.operation() {
            "update-graph" => Self::UpdateGraph(UpdateGraph::read(fields)?),
            "client-releases-keys" => {
                Self::ReleaseKeys { keys: fields.keys("keys")?, client: fields.name("client")? }
            }
            "heartbeat-client" => Self::Heartbeat,
            "subscribe-topic" => Self::SubscribeTopic {
                topic: fields.name("topic")?,
                client: fields.name("client")?,
            },
            "close-client" => Self::CloseClient,
            "close-stream" => Self::CloseStream,
            other => Self::Unknown(other.to_owned()),
        })
    }

    fn write(self, document: &mut Document) -> Value {
        let alone = |name: &str| map([("op", name.into())]);
        match self {
            Self::UpdateGraph(graph) => graph.write(document),
            Self::ReleaseKeys { keys: all, client } => map([
                ("op", "client-releases-keys".into()),
                ("keys", keys(all)),
                ("client", client.into()),
            ]),
            Self::Heartbeat => alone("heartbeat-client"),
            Self::SubscribeTopic { topic, client } => map([
                ("op", "subscribe-topic".into()),
                ("topic", topic.into()),
                ("client", client.into()),
            ]),
            Self::CloseClient => alone("close-client"),
            Self::CloseStream => alone("close-stream"),
            Self::Unknown(name) => alone(&name),
        }
    }
}

impl UpdateGraph {
    fn read(mut fields: Fields<'_>) -> Result<Self, Malformed> {
        let expression = fields.object("expr_ser")?;
        let expression = expression.and_then(|object| object.frames.into_iter().next());
        let expression = expression.ok_or_else(|| fields.wrong("expr_ser", "is missing"))?;
        let priorities = fields.map("user_priority")?.into_iter();
        let priorities = priorities.map(|(key, value)| Some((Key::of(&key), value.as_i64()?)));
        let priorities = priorities.collect::<Option<_>>();
        let priorities =
            priorities.ok_or_else(|| fields.wrong("user_priority", "is not a map of integers"))?;
        let keys = fields.keys("keys")?;
        let mut annotations = fields.nested("annotations")?;
        Ok(Self {
            expression,
            keys,
            priorities,
            resources: annotations.amounts("resources")?,
            workers: annotations.texts("workers")?,
        })
    }

    fn write(self, document: &mut Document) -> Value {
        let header =
            map([("serializer", "pickle".into()), ("writeable", Value::Array(Vec::new()))]);
        let expression = Serialized { header, frames: vec![self.expression] };
        let order = self.keys.iter().zip(0_u64..).map(|(key, place)| (key.value(), place.into()));
        let mut operation = vec![
            ("op".into(), "update-graph".into()),
            ("expr_ser".into(), document.attach(expression)),
            ("internal_priority".into(), Value::Map(order.collect())),
            ("keys".into(), keys(self.keys)),
            ("submitting_task".into(), Value::Nil),
            // Anything in it would be mixed up with what other clients put there.
            ("span_metadata".into(), Value::Map(Vec::new())),
        ];
        if !self.priorities.is_empty() {
            let priorities = self.priorities.into_iter();
            let priorities = priorities.map(|(key, priority)| (key.value(), priority.into()));
            operation.push(("user_priority".into(), Value::Map(priorities.collect())));
        }
        let mut annotations = Vec::new();
        if !self.resources.is_empty() {
            annotations.push(("resources".into(), super::fields::amounts(self.resources)));
        }
        if !self.workers.is_empty() {
            annotations.push(("workers".into(), super::fields::texts(self.workers)));
        }
        if !annotations.is_empty() {
            operation.push(("annotations".into(), Value::Map(annotations)));
        }
        Value::Map(operation)
    }
}
