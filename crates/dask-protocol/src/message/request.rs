//! The other side of questions: what a scheduler or a worker is asked, and its answers.

use rmpv::Value;

use super::fields::{Fields, Places, into_map, keys, objects, places, sizes};
use super::identity::{ClusterIdentity, Packages, WorkerIdentity};
use super::question::items::{ASK_PROGRESS, TAKE_ITEMS, read_proxy};
use super::question::{AskProgress, Items, TakeItems, TaskProgress};
use crate::document::{Document, map};
use crate::frames::Frames;
use crate::key::Key;
use crate::malformed::Malformed;
use crate::serialized::Serialized;

/// A question that has arrived.
///
/// # Examples
///
/// ```
/// use dask_protocol::message::{GetData, Question, Request, Subject};
///
/// let frames = GetData { keys: vec!["a".into()], who: None }.encode();
/// let request = Request::parse(frames)?;
/// assert_eq!(request.subject, Subject::GetData { keys: vec!["a".into()] });
/// assert!(request.reply && !request.close);
/// # Ok::<(), dask_protocol::Malformed>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    /// What is asked.
    pub subject: Subject,
    /// Whether there is to be an answer.
    pub reply: bool,
    /// Whether the connection is to be closed after that.
    pub close: bool,
}

/// What is asked.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Subject {
    /// Who it is.
    Identity,
    /// Which packages it has.
    Versions,
    /// Whether it is there.
    Ping,
    /// To say that again.
    Echo(Opaque),
    /// What it holds.
    Keys,
    /// To become the scheduler of a client: see
    /// [`RegisterClient`](super::RegisterClient).
    RegisterClient {
        /// The client's name.
        client: String,
    },
    /// Who has what.
    WhoHas {
        /// Of which keys.
        keys: Vec<Key>,
    },
    /// Results, which a scheduler gets from its workers.
    Gather {
        /// Of which keys.
        keys: Vec<Key>,
    },
    /// To get copies from other workers.
    GatherCopies {
        /// Of what, and who has it.
        who_has: Places,
    },
    /// Data that a worker holds. Whoever gets it says so.
    GetData {
        /// Of which keys.
        keys: Vec<Key>,
    },
    /// To hold data.
    UpdateData {
        /// The data.
        data: Vec<(Key, Serialized)>,
    },
    /// To hold data no more.
    FreeKeys {
        /// Of which keys.
        keys: Vec<Key>,
    },
    /// To end.
    Terminate,
    /// To close the connection.
    Close,
    /// To take a plugin, or to let go of one.
    Plugin,
    /// To take a file of so many bytes.
    UploadFile {
        /// How many.
        bytes: u64,
    },
    /// For lines of its log.
    Logs,
    /// For what it has profiled.
    Profile,
    /// For when it has profiled how much.
    ProfileTimes {
        /// Whether those of this moment are meant, too.
        recent: bool,
    },
    /// For the Python frames of what it executes.
    CallStack {
        /// Of which keys; all of them if that is not said.
        keys: Option<Vec<Key>>,
    },
    /// For what it has observed of its machine.
    MonitorInfo {
        /// The latest figures alone.
        recent: bool,
        /// From which figure on.
        start: u64,
    },
    /// For what became of keys.
    Story,
    /// For all that is known of it, for who looks for a fault.
    State,
    /// To measure a disk, memory, or the way to another worker.
    Benchmark,
    /// To call a Python function.
    Run,
    /// For the items of a stream.
    TakeItems(TakeItems),
    /// How far tasks are that run.
    AskProgress(AskProgress),
    /// To ask a worker.
    Proxy {
        /// Its address.
        worker: String,
        /// The message that asks it.
        message: Frames,
    },
    /// To have an actor do something.
    Actor,
    /// Something else, by its name.
    Unknown(String),
}

/// Part of a message that is passed on as it is, with what lies beside the message.
#[derive(Clone, Debug, PartialEq)]
pub struct Opaque {
    value: Value,
    frames: Frames,
}

/// A figure of a worker, at some time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Observed {
    /// When, in seconds since 1970.
    pub time: f64,
    /// How busy it is, in percent of one core.
    pub cpu: f64,
    /// How many bytes of memory it takes.
    pub memory: u64,
    /// How many files it has open.
    pub num_fds: u64,
}

/// An answer.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Reply {
    /// Nothing.
    Nil,
    /// It is done, said by a word.
    Ok,
    /// It is done, said by a map.
    Status,
    /// What was to be said again.
    Echo(Opaque),
    /// To [`Subject::Ping`].
    Pong,
    /// A list of nothing.
    NoList,
    /// A map of nothing.
    NoMap,
    /// To [`Subject::Profile`]: nothing was profiled.
    NoProfile,
    /// To [`Subject::ProfileTimes`]: nothing was profiled, as of that time, if it is of
    /// interest.
    NoProfileTimes(Option<f64>),
    /// To [`Subject::CallStack`]: what each key executes.
    CallStacks(Vec<(Key, String)>),
    /// To [`Subject::MonitorInfo`].
    Monitor {
        /// What is so now.
        now: Observed,
        /// Whether the figures stand alone, and not in lists.
        recent: bool,
        /// Whether this figure is known to who asks.
        known: bool,
    },
    /// To [`Subject::UploadFile`]: so many bytes were taken.
    Uploaded(u64),
    /// To [`Subject::Run`]: `None`.
    RanNothing,
    /// To [`Subject::State`].
    State {
        /// Who it is.
        worker: WorkerIdentity,
        /// Where it listens.
        address: String,
        /// Which tasks it executes.
        executing: Vec<Key>,
        /// Which values it holds.
        in_memory: Vec<Key>,
    },
    /// To [`Subject::Keys`].
    Keys(Vec<Key>),
    /// To [`Subject::Identity`], of a scheduler.
    Cluster(ClusterIdentity),
    /// To [`Subject::Identity`], of a worker.
    Worker(WorkerIdentity),
    /// To [`Subject::Versions`].
    Versions(Packages),
    /// To [`Subject::WhoHas`].
    Places(Places),
    /// To [`Subject::GetData`] and [`Subject::Gather`].
    Data(Vec<(Key, Serialized)>),
    /// To [`Subject::TakeItems`].
    Items(Items),
    /// To [`Subject::AskProgress`].
    Progress(Vec<(Key, TaskProgress)>),
    /// To [`Subject::GetData`]: not now.
    Busy,
    /// To [`Subject::UpdateData`].
    Sizes(Vec<(Key, u64)>),
    /// To [`Subject::GatherCopies`]: what it could not get.
    Missing(Vec<Key>),
    /// It cannot be done.
    Failed(Failed),
}

/// Why something cannot be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// Whether nobody thought of it: to Dask's own clients that is an error in the peer,
    /// and otherwise an answer.
    pub uncaught: bool,
    /// A pickle of the exception.
    pub exception: Vec<u8>,
    /// The exception, as a line.
    pub text: String,
}

impl Request {
    /// Reads a message.
    ///
    /// # Errors
    ///
    /// If it is none, or something that is needed is missing or of another type.
    pub fn parse(frames: Frames) -> Result<Self, Malformed> {
        let mut document = Document::from_frames(frames)?;
        let value = document.take_value();
        let mut fields = Fields::of_operation(value, &mut document)?;
        let reply = fields.bool("reply")?.unwrap_or(true);
        let close = fields.bool("close")?.unwrap_or(false);
        Ok(Self { subject: Subject::read(fields)?, reply, close })
    }
}

impl Subject {
    fn read(mut fields: Fields<'_>) -> Result<Self, Malformed> {
        Ok(match fields.operation() {
            "identity" => Self::Identity,
            "versions" => Self::Versions,
            "ping" => Self::Ping,
            "echo" => {
                let value = fields.value("data").unwrap_or(Value::Nil);
                Self::Echo(Opaque { value, frames: fields.take_frames() })
            }
            "keys" => Self::Keys,
            "register-client" => Self::RegisterClient { client: fields.name("client")? },
            "who_has" => Self::WhoHas { keys: fields.keys("keys")? },
            "gather" if fields.has("who_has") => {
                Self::GatherCopies { who_has: fields.places("who_has")? }
            }
            "gather" => Self::Gather { keys: fields.keys("keys")? },
            "get_data" => Self::GetData { keys: fields.keys("keys")? },
            "update_data" => Self::UpdateData { data: fields.objects("data")? },
            "free_keys" => Self::FreeKeys { keys: fields.keys("keys")? },
            "terminate" => Self::Terminate,
            "close" => Self::Close,
            "plugin-add" | "plugin-remove" => Self::Plugin,
            "upload_file" => Self::UploadFile { bytes: fields.length("data")? },
            "get_logs" => Self::Logs,
            "profile" => Self::Profile,
            "profile_metadata" => Self::ProfileTimes { recent: !fields.has("stop") },
            "call_stack" => {
                let some = fields.has("keys");
                let keys = fields.keys("keys")?;
                Self::CallStack { keys: some.then_some(keys) }
            }
            "get_monitor_info" => Self::MonitorInfo {
                recent: fields.bool("recent")?.unwrap_or(false),
                start: fields.count("start")?.unwrap_or(0),
            },
            "get_story" => Self::Story,
            "dump_state" => Self::State,
            "benchmark_disk" | "benchmark_memory" | "benchmark_network" => Self::Benchmark,
            "run" | "run_coroutine" => Self::Run,
            TAKE_ITEMS => Self::TakeItems(TakeItems {
                stream: fields.name("name")?,
                received: fields.count("received")?.unwrap_or_default(),
                taken: fields.count("taken")?.unwrap_or_default(),
                wait_ms: fields.count("wait_ms")?,
            }),
            ASK_PROGRESS => Self::AskProgress(AskProgress { keys: fields.keys("keys")? }),
            "proxy" => {
                let asked = fields.value("msg");
                let (worker, message) = read_proxy(fields.name("worker")?, asked)?;
                Self::Proxy { worker, message }
            }
            "actor_execute" | "actor_attribute" => Self::Actor,
            other => Self::Unknown(other.to_owned()),
        })
    }
}

impl Observed {
    fn write(self, recent: bool, known: bool) -> Value {
        let figures = [
            ("cpu", Value::from(self.cpu)),
            ("memory", self.memory.into()),
            ("time", self.time.into()),
            ("host_net_io.read_bps", 0.0.into()),
            ("host_net_io.write_bps", 0.0.into()),
            ("host_disk_io.read_bps", 0.0.into()),
            ("host_disk_io.write_bps", 0.0.into()),
            ("num_fds", self.num_fds.into()),
        ];
        let figures = figures.map(|(name, figure)| {
            let figure = match (recent, known) {
                (true, _) => figure,
                (false, true) => Value::Array(Vec::new()),
                (false, false) => Value::Array(vec![figure]),
            };
            (name, figure)
        });
        map([("range_query", map(figures)), ("count", 1.into()), ("last_time", self.time.into())])
    }
}

/// What `distributed.profile.create` makes.
fn no_profile() -> Value {
    let described = map([
        ("filename", "".into()),
        ("name", "".into()),
        ("line_number", 0.into()),
        ("line", "".into()),
    ]);
    map([
        ("count", 0.into()),
        ("children", Value::Map(Vec::new())),
        ("identifier", "root".into()),
        ("description", described),
    ])
}

impl Reply {
    /// The message that says this.
    pub fn encode(self) -> Frames {
        let mut document = Document::new(Value::Nil);
        let ok = || ("status", Value::from("OK"));
        document.value = match self {
            Self::Nil => Value::Nil,
            Self::Ok => "OK".into(),
            Self::Status => map([ok()]),
            Self::Echo(Opaque { value, frames }) => {
                // What the value refers to is where it was.
                document.set_frames(frames);
                value
            }
            Self::Pong => Value::Binary(b"pong".to_vec()),
            Self::NoList => Value::Array(Vec::new()),
            Self::NoMap => Value::Map(Vec::new()),
            Self::NoProfile => no_profile(),
            Self::NoProfileTimes(now) => {
                let with = |value: Value| now.map(|now| Value::Array(vec![now.into(), value]));
                let list = |value| Value::Array(with(value).into_iter().collect());
                map([("counts", list(0.into())), ("keys", list(Value::Map(Vec::new())))])
            }
            Self::CallStacks(stacks) => {
                let stacks = stacks.into_iter();
                let stacks =
                    stacks.map(|(key, line)| (key.value(), Value::Array(vec![line.into()])));
                Value::Map(stacks.collect())
            }
            Self::Monitor { now, recent, known } => now.write(recent, known),
            Self::Uploaded(bytes) => map([ok(), ("nbytes", bytes.into())]),
            Self::RanNothing => map([ok(), ("result", Value::Nil)]),
            Self::State { worker, address, executing, in_memory } => {
                let state = |name: &'static str| {
                    move |key: Key| (key.value(), map([("state", name.into())]))
                };
                let tasks = executing.into_iter().map(state("executing"));
                let tasks = tasks.chain(in_memory.into_iter().map(state("memory")));
                let mut all = vec![
                    ("address".into(), address.into()),
                    ("status".into(), "running".into()),
                    ("logs".into(), Value::Array(Vec::new())),
                    ("log".into(), Value::Array(Vec::new())),
                    ("config".into(), Value::Map(Vec::new())),
                    ("tasks".into(), Value::Map(tasks.collect())),
                ];
                all.extend(into_map(worker.write()).unwrap_or_default());
                Value::Map(all)
            }
            Self::Keys(all) => keys(all),
            Self::Cluster(identity) => identity.write(),
            Self::Worker(identity) => identity.write(),
            Self::Versions(packages) => {
                map([("host", Value::Map(Vec::new())), ("packages", packages.into_value())])
            }
            Self::Places(all) => places(all),
            Self::Data(data) => {
                let data = objects(data, &mut document);
                map([ok(), ("data", data)])
            }
            Self::Items(items) => items.write(&mut document),
            Self::Progress(all) => TaskProgress::write(all),
            Self::Busy => map([("status", "busy".into())]),
            Self::Sizes(all) => map([ok(), ("nbytes", sizes(all))]),
            Self::Missing(all) => map([("status", "partial-fail".into()), ("keys", keys(all))]),
            Self::Failed(Failed { uncaught, exception, text }) => {
                let exception = document.attach(Serialized::from_bytes(exception));
                map([
                    ("status", if uncaught { "uncaught-error" } else { "error" }.into()),
                    ("exception", exception),
                    ("traceback", Value::Nil),
                    ("exception_text", text.into()),
                    ("traceback_text", "".into()),
                ])
            }
        };
        document.into_frames()
    }
}
