//! What a scheduler and a worker say to each other over their stream.

use rmpv::Value;

use super::fields::{Fields, Places, amounts, keys, operations, places, text_fields};
use crate::document::{Document, Pickled, map};
use crate::frames::Frames;
use crate::key::Key;
use crate::malformed::Malformed;
use crate::serialized::{Serialized, pickled_type};

/// What a scheduler says to a worker.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum SchedulerToWorker {
    /// A task is to be computed.
    ComputeTask(ComputeTask),
    /// Data and tasks are not wanted any more. What runs of them is not answered.
    FreeKeys {
        /// The keys.
        keys: Vec<Key>,
    },
    /// A task is not wanted any more, unless it has started.
    CancelCompute {
        /// The task's key.
        key: Key,
    },
    /// Copies are not needed any more. Those that are kept have to be told of.
    RemoveReplicas {
        /// The keys.
        keys: Vec<Key>,
        /// What caused it.
        stimulus_id: String,
    },
    /// Copies are to be fetched, and told of.
    AcquireReplicas {
        /// Which, and who has them.
        who_has: Places,
    },
    /// Another worker would take a task.
    StealRequest {
        /// The task's key.
        key: Key,
        /// What the answer is to name.
        stimulus_id: String,
    },
    /// Whether the worker is to take tasks.
    StatusChange {
        /// `running`, `closing_gracefully`.
        status: String,
    },
    /// Another worker is gone.
    RemoveWorker {
        /// Its address.
        worker: String,
    },
    /// The answer to a question that workers ask who look for data.
    RefreshWhoHas {
        /// Which data, and who has it.
        who_has: Places,
    },
    /// The worker is to end.
    Close {
        /// Why.
        reason: Option<String>,
    },
    /// The stream ends.
    CloseStream,
    /// Something else, by its name.
    Unknown(String),
}

/// A task that a worker is to compute.
#[derive(Clone, Debug, PartialEq)]
pub struct ComputeTask {
    /// Its key.
    pub key: Key,
    /// What its end is to name: that of the latest message for the key.
    pub run_id: i64,
    /// Its place in the order: the first number that differs decides, the least comes
    /// first.
    pub priority: Vec<f64>,
    /// What it needs, and who has that.
    pub who_has: Places,
    /// What it asks for: see [`RunSpec`](crate::run_spec::RunSpec).
    pub run_spec: Option<Pickled>,
    /// What its worker must have, and how much of it.
    pub resources: Vec<(String, f64)>,
}

/// What a worker says to a scheduler. What is about tasks and data has a `stimulus_id`,
/// which says what caused it, to those who read the scheduler's log.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum WorkerToScheduler {
    /// The result of a task is here.
    TaskFinished {
        /// The task's key.
        key: Key,
        /// As the scheduler gave it.
        run_id: i64,
        /// How many bytes the result has.
        nbytes: u64,
        /// The class of the result, as [`Serialized::type_name`] gives it: dashboards show
        /// it.
        type_name: Option<String>,
        /// Where and when it was computed.
        run: Run,
        /// What caused it.
        stimulus_id: String,
    },
    /// A task has failed.
    TaskErred {
        /// The task's key.
        key: Key,
        /// As the scheduler gave it.
        run_id: i64,
        /// A pickle of the exception.
        exception: Vec<u8>,
        /// The exception, as a line.
        text: String,
        /// Where and when it was computed.
        run: Run,
        /// What caused it.
        stimulus_id: String,
    },
    /// A task goes back to the scheduler.
    Reschedule {
        /// The task's key.
        key: Key,
        /// What caused it.
        stimulus_id: String,
    },
    /// Whether the worker takes tasks.
    StatusChange {
        /// `running`, `paused`, `closing_gracefully`.
        status: String,
        /// What caused it.
        stimulus_id: String,
    },
    /// Data is here. If nobody wants it, the scheduler has it removed.
    AddKeys {
        /// The keys.
        keys: Vec<Key>,
        /// What caused it.
        stimulus_id: String,
    },
    /// Whether a task can go elsewhere.
    StealResponse {
        /// The task's key.
        key: Key,
        /// Its state: given up are `ready` and `waiting`, kept are `executing` and
        /// `memory`, and none is one that is not here.
        state: Option<String>,
        /// As the question named it.
        stimulus_id: String,
    },
    /// Something that clients may listen for.
    LogEvent {
        /// What it is about.
        topic: String,
        /// What is said of it. The scheduler adds `worker`, with the address.
        said: Vec<(String, String)>,
    },
    /// The last word of the stream.
    CloseStream,
    /// Something else, by its name.
    Unknown(String),
}

/// When a task was executed, and by which thread or process of the worker.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Run {
    /// The number of the thread or process.
    pub thread: u64,
    /// Since when, in seconds since 1970.
    pub start: f64,
    /// Until when.
    pub stop: f64,
}

/// The name of a type that is not known.
const UNKNOWN: &str = "object";

impl SchedulerToWorker {
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
            "compute-task" => Self::ComputeTask(ComputeTask::read(fields)?),
            "free-keys" => Self::FreeKeys { keys: fields.keys("keys")? },
            "cancel-compute" => Self::CancelCompute { key: fields.key("key")? },
            "remove-replicas" => Self::RemoveReplicas {
                keys: fields.keys("keys")?,
                stimulus_id: fields.text("stimulus_id")?.unwrap_or_default(),
            },
            "acquire-replicas" => Self::AcquireReplicas { who_has: fields.places("who_has")? },
            "steal-request" => Self::StealRequest {
                key: fields.key("key")?,
                stimulus_id: fields.text("stimulus_id")?.unwrap_or_default(),
            },
            "worker-status-change" => Self::StatusChange { status: fields.name("status")? },
            "remove-worker" => Self::RemoveWorker { worker: fields.name("worker")? },
            "refresh-who-has" => Self::RefreshWhoHas { who_has: fields.places("who_has")? },
            "close" => Self::Close { reason: fields.text("reason")? },
            "close-stream" => Self::CloseStream,
            other => Self::Unknown(other.to_owned()),
        })
    }

    fn write(self, document: &mut Document) -> Value {
        let one = |name: &str, field: (&str, Value)| map([("op", name.into()), field]);
        match self {
            Self::ComputeTask(task) => task.write(document),
            Self::FreeKeys { keys: all } => one("free-keys", ("keys", keys(all))),
            Self::CancelCompute { key } => one("cancel-compute", ("key", key.value())),
            Self::RemoveReplicas { keys: all, stimulus_id } => map([
                ("op", "remove-replicas".into()),
                ("keys", keys(all)),
                ("stimulus_id", stimulus_id.into()),
            ]),
            Self::AcquireReplicas { who_has } => {
                one("acquire-replicas", ("who_has", places(who_has)))
            }
            Self::StealRequest { key, stimulus_id } => map([
                ("op", "steal-request".into()),
                ("key", key.value()),
                ("stimulus_id", stimulus_id.into()),
            ]),
            Self::StatusChange { status } => one("worker-status-change", ("status", status.into())),
            Self::RemoveWorker { worker } => one("remove-worker", ("worker", worker.into())),
            Self::RefreshWhoHas { who_has } => one("refresh-who-has", ("who_has", places(who_has))),
            Self::Close { reason } => {
                one("close", ("reason", reason.map_or(Value::Nil, Value::from)))
            }
            Self::CloseStream => map([("op", "close-stream".into())]),
            Self::Unknown(name) => map([("op", name.into())]),
        }
    }
}

impl ComputeTask {
    fn read(mut fields: Fields<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            key: fields.key("key")?,
            run_id: fields.int("run_id")?.unwrap_or_default(),
            priority: fields.numbers("priority")?,
            who_has: fields.places("who_has")?,
            run_spec: fields.pickled("run_spec")?,
            resources: fields.amounts("resource_restrictions")?,
        })
    }

    fn write(self, document: &mut Document) -> Value {
        let run_spec = self.run_spec.map(|spec| document.attach_pickle(spec));
        map([
            ("op", "compute-task".into()),
            ("key", self.key.value()),
            ("run_id", self.run_id.into()),
            ("priority", Value::Array(self.priority.into_iter().map(Value::from).collect())),
            ("who_has", places(self.who_has)),
            ("run_spec", run_spec.unwrap_or(Value::Nil)),
            ("resource_restrictions", amounts(self.resources)),
        ])
    }
}

impl WorkerToScheduler {
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
        let operation = fields.operation().to_owned();
        let stimulus_id = fields.text("stimulus_id")?.unwrap_or_default();
        Ok(match operation.as_str() {
            "task-finished" => Self::TaskFinished {
                key: fields.key("key")?,
                run_id: fields.int("run_id")?.unwrap_or_default(),
                nbytes: fields.count("nbytes")?.unwrap_or_default(),
                type_name: fields.text("typename")?.filter(|name| name != UNKNOWN),
                run: Run::read(&mut fields)?,
                stimulus_id,
            },
            "task-erred" => {
                let exception = fields.object("exception")?;
                let exception = exception.ok_or_else(|| fields.wrong("exception", "is missing"))?;
                let exception = exception.into_bytes();
                Self::TaskErred {
                    key: fields.key("key")?,
                    run_id: fields.int("run_id")?.unwrap_or_default(),
                    exception: exception
                        .map_err(|error| fields.wrong("exception", error.problem()))?,
                    text: fields.text("exception_text")?.unwrap_or_default(),
                    run: Run::read(&mut fields)?,
                    stimulus_id,
                }
            }
            "reschedule" => Self::Reschedule { key: fields.key("key")?, stimulus_id },
            "worker-status-change" => {
                Self::StatusChange { status: fields.name("status")?, stimulus_id }
            }
            "add-keys" => Self::AddKeys { keys: fields.keys("keys")?, stimulus_id },
            "steal-response" => Self::StealResponse {
                key: fields.key("key")?,
                state: fields.text("state")?,
                stimulus_id,
            },
            "log-event" => {
                Self::LogEvent { topic: fields.name("topic")?, said: fields.text_fields("msg") }
            }
            "close-stream" => Self::CloseStream,
            _ => Self::Unknown(operation),
        })
    }

    fn write(self, document: &mut Document) -> Value {
        match self {
            Self::TaskFinished { key, run_id, nbytes, type_name, run, stimulus_id } => {
                let pickled = type_name.as_deref().map(pickled_type);
                map([
                    ("op", "task-finished".into()),
                    ("status", "OK".into()),
                    ("key", key.value()),
                    ("run_id", run_id.into()),
                    ("nbytes", nbytes.into()),
                    ("type", pickled.map_or(Value::Nil, Value::Binary)),
                    ("typename", type_name.as_deref().unwrap_or(UNKNOWN).into()),
                    ("metadata", Value::Map(Vec::new())),
                    ("thread", run.thread.into()),
                    ("startstops", run.startstops()),
                    ("stimulus_id", stimulus_id.into()),
                ])
            }
            Self::TaskErred { key, run_id, exception, text, run, stimulus_id } => map([
                ("op", "task-erred".into()),
                ("status", "error".into()),
                ("key", key.value()),
                ("run_id", run_id.into()),
                ("exception", document.attach(Serialized::from_bytes(exception))),
                ("traceback", Value::Nil),
                ("exception_text", text.into()),
                ("traceback_text", "".into()),
                ("thread", run.thread.into()),
                ("startstops", run.startstops()),
                ("stimulus_id", stimulus_id.into()),
            ]),
            Self::Reschedule { key, stimulus_id } => map([
                ("op", "reschedule".into()),
                ("key", key.value()),
                ("stimulus_id", stimulus_id.into()),
            ]),
            Self::StatusChange { status, stimulus_id } => map([
                ("op", "worker-status-change".into()),
                ("status", status.into()),
                ("stimulus_id", stimulus_id.into()),
            ]),
            Self::AddKeys { keys: all, stimulus_id } => map([
                ("op", "add-keys".into()),
                ("keys", keys(all)),
                ("stimulus_id", stimulus_id.into()),
            ]),
            Self::StealResponse { key, state, stimulus_id } => map([
                ("op", "steal-response".into()),
                ("key", key.value()),
                ("state", state.map_or(Value::Nil, Value::from)),
                ("stimulus_id", stimulus_id.into()),
            ]),
            // A field that the scheduler does not know would be an error there.
            Self::LogEvent { topic, said } => map([
                ("op", "log-event".into()),
                ("topic", topic.into()),
                ("msg", text_fields(said)),
            ]),
            Self::CloseStream => map([("op", "close-stream".into())]),
            Self::Unknown(name) => map([("op", name.into())]),
        }
    }
}

impl Run {
    fn read(fields: &mut Fields<'_>) -> Result<Self, Malformed> {
        let thread = fields.count("thread")?.unwrap_or_default();
        let (start, stop) = fields
            .first("startstops", |first| Ok((first.number("start")?, first.number("stop")?)))?;
        let (start, stop) = (start.unwrap_or_default(), stop.unwrap_or_default());
        Ok(Self { thread, start, stop })
    }

    fn startstops(self) -> Value {
        Value::Array(vec![map([
            ("action", "compute".into()),
            ("start", self.start.into()),
            ("stop", self.stop.into()),
        ])])
    }
}
