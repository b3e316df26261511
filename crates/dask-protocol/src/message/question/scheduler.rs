//! What a scheduler is asked.

use rmpv::Value;

use super::{Data, NoAnswer, Question, answer, done, question, received, said};
use crate::document::{Document, map};
use crate::frames::Frames;
use crate::key::Key;
use crate::malformed::Malformed;
use crate::message::fields::{
    Fields, Places, amounts, into_list, into_map, into_places, into_text, keys, objects, places,
    sizes, texts,
};
use crate::message::{ClusterIdentity, Metrics, Packages, SchedulerToClient};
use crate::serialized::Serialized;

/// How often a worker is to give a sign of life where nobody says, in seconds.
const HEARTBEAT_S: f64 = 0.5;

/// Asks which releases of which packages a scheduler or worker has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions;

impl Question for Versions {
    type Answer = Packages;

    fn encode(self) -> Frames {
        question("versions", [("packages", Value::Array(Vec::new()))]).into_frames()
    }

    fn answer(frames: Frames) -> Result<Packages, NoAnswer> {
        // Who does not know the question says nothing of packages, and is told of by that.
        let (value, mut document) = received(frames)?;
        let fields = Fields::of("versions", value, &mut document);
        Ok(Packages::of(fields.ok().and_then(|mut fields| fields.value("packages"))))
    }
}

/// Asks a scheduler who its workers are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Identity;

impl Question for Identity {
    type Answer = ClusterIdentity;

    fn encode(self) -> Frames {
        question("identity", []).into_frames()
    }

    fn answer(frames: Frames) -> Result<ClusterIdentity, NoAnswer> {
        answer("identity", frames, ClusterIdentity::read)
    }
}

/// Asks a scheduler who has what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WhoHas {
    /// Of which keys.
    pub keys: Vec<Key>,
}

impl Question for WhoHas {
    type Answer = Places;

    fn encode(self) -> Frames {
        question("who_has", [("keys", keys(self.keys))]).into_frames()
    }

    fn answer(frames: Frames) -> Result<Places, NoAnswer> {
        let (value, _) = said("who_has", frames)?;
        let wrong = || Malformed::of("who_has", "", "it is no map of lists of texts");
        Ok(into_places(value).ok_or_else(wrong)?)
    }
}

/// Asks a scheduler for results, which it gets from its workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gather {
    /// Of which keys.
    pub keys: Vec<Key>,
}

impl Question for Gather {
    type Answer = Data;

    fn encode(self) -> Frames {
        question("gather", [("keys", keys(self.keys))]).into_frames()
    }

    fn answer(frames: Frames) -> Result<Data, NoAnswer> {
        Data::read("gather", frames)
    }
}

/// Asks a scheduler in which state tasks are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TaskStatus {
    /// Of which keys.
    pub keys: Vec<Key>,
}

impl Question for TaskStatus {
    /// Each key with `forgotten`, `memory`, `processing` and so on; none for one that
    /// is not known.
    type Answer = Vec<(Key, Option<String>)>;

    fn encode(self) -> Frames {
        question("get_task_status", [("keys", keys(self.keys))]).into_frames()
    }

    fn answer(frames: Frames) -> Result<Self::Answer, NoAnswer> {
        let (value, _) = said("get_task_status", frames)?;
        let wrong = || Malformed::of("get_task_status", "", "it is no map");
        let pairs = into_map(value).ok_or_else(wrong)?.into_iter();
        Ok(pairs.map(|(key, status)| (Key::of(&key), into_text(status))).collect())
    }
}

/// Asks a scheduler which worker has which tasks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Processing;

impl Question for Processing {
    /// Addresses, with the keys of the tasks that are there and have not ended.
    type Answer = Vec<(String, Vec<Key>)>;

    fn encode(self) -> Frames {
        question("processing", []).into_frames()
    }

    fn answer(frames: Frames) -> Result<Self::Answer, NoAnswer> {
        let (value, _) = said("processing", frames)?;
        let wrong = || Malformed::of("processing", "", "it is no map of lists");
        let pairs = into_map(value).ok_or_else(wrong)?.into_iter();
        let rows = pairs.map(|(address, keys)| {
            let keys = into_list(keys)?;
            Some((into_text(address)?, keys.iter().map(Key::of).collect()))
        });
        Ok(rows.collect::<Option<_>>().ok_or_else(wrong)?)
    }
}

/// Has a scheduler give data to its workers.
#[derive(Clone, Debug, PartialEq)]
pub struct Scatter {
    /// The data.
    pub data: Vec<(Key, Serialized)>,
    /// Which workers may have it; none for any.
    pub workers: Vec<String>,
    /// The name of the client that wants it to be kept.
    pub client: String,
    /// How many seconds to wait for a worker.
    pub timeout_s: u32,
}

impl Question for Scatter {
    type Answer = ();

    fn encode(self) -> Frames {
        let workers = if self.workers.is_empty() { Value::Nil } else { texts(self.workers) };
        let mut document = question(
            "scatter",
            [
                ("workers", workers),
                ("client", self.client.into()),
                ("broadcast", false.into()),
                ("timeout", self.timeout_s.into()),
            ],
        );
        let data = objects(self.data, &mut document);
        document.push("data", data);
        document.into_frames()
    }

    fn answer(frames: Frames) -> Result<(), NoAnswer> {
        done(frames)
    }
}

/// Tells a scheduler that workers have data.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TellData {
    /// Who has it.
    pub who_has: Places,
    /// How many bytes it has, where the scheduler does not know.
    pub nbytes: Vec<(Key, u64)>,
    /// The name of the client that wants it to be kept.
    pub client: String,
}

impl Question for TellData {
    type Answer = ();

    fn encode(self) -> Frames {
        question(
            "update_data",
            [
                ("who_has", places(self.who_has)),
                ("nbytes", sizes(self.nbytes)),
                ("client", self.client.into()),
            ],
        )
        .into_frames()
    }

    fn answer(frames: Frames) -> Result<(), NoAnswer> {
        done(frames)
    }
}

/// Makes a connection the stream of a client.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisterClient {
    /// The client's name.
    pub client: String,
    /// What [`Versions`] answered: where others differ, there is a warning.
    pub packages: Packages,
}

impl Question for RegisterClient {
    type Answer = ();

    fn encode(self) -> Frames {
        let value = map([
            ("op", "register-client".into()),
            ("client", self.client.into()),
            ("reply", false.into()),
            ("versions", map([("packages", self.packages.into_value())])),
        ]);
        Document::new(value).into_frames()
    }

    fn answer(frames: Frames) -> Result<(), NoAnswer> {
        match SchedulerToClient::parse(frames)?.first() {
            Some(SchedulerToClient::StreamStart) => Ok(()),
            _ => Err(NoAnswer::Failed("it did not take this client".into())),
        }
    }
}

/// Makes a connection the stream of a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct RegisterWorker {
    /// Where the worker listens.
    pub address: String,
    /// A name that no other worker has.
    pub name: String,
    /// What nobody else is called, now or later.
    pub server_id: String,
    /// How many tasks it computes at once.
    pub nthreads: u64,
    /// How many bytes it may hold.
    pub memory_limit: u64,
    /// What it has, and how much of it.
    pub resources: Vec<(String, f64)>,
    /// Where it may write.
    pub local_directory: String,
    /// The number of its process.
    pub pid: u32,
    /// What [`Versions`] answered.
    pub packages: Packages,
    /// How it is.
    pub metrics: Metrics,
}

impl Question for RegisterWorker {
    type Answer = Registered;

    fn encode(self) -> Frames {
        let now = self.metrics.time;
        question(
            "register-worker",
            [
                ("address", self.address.into()),
                ("status", "running".into()),
                ("server_id", self.server_id.into()),
                ("name", self.name.into()),
                ("nthreads", self.nthreads.into()),
                ("now", now.into()),
                ("resources", amounts(self.resources)),
                ("memory_limit", self.memory_limit.into()),
                ("local_directory", self.local_directory.into()),
                ("services", Value::Map(Vec::new())),
                ("nanny", Value::Nil),
                ("pid", self.pid.into()),
                ("versions", map([("packages", self.packages.into_value())])),
                // What `identity` says of this worker, beside what it says of all.
                ("extra", map([("pid", self.pid.into())])),
                ("stimulus_id", format!("worker-connect-{now}").into()),
                ("metrics", self.metrics.value()),
            ],
        )
        .into_frames()
    }

    fn answer(frames: Frames) -> Result<Registered, NoAnswer> {
        answer("register-worker", frames, |mut fields| {
            if fields.name("status")? == "OK" {
                let heartbeat_s = fields.number("heartbeat-interval")?.unwrap_or(HEARTBEAT_S);
                return Ok(Registered::Member { heartbeat_s });
            }
            let said = fields.text("message")?;
            Ok(Registered::Refused(said.unwrap_or_else(|| "without a word".to_owned())))
        })
    }
}

/// A worker's sign of life, over another connection than its stream.
#[derive(Clone, Debug, PartialEq)]
pub struct HeartbeatWorker {
    /// Where the worker listens.
    pub address: String,
    /// How it is.
    pub metrics: Metrics,
    /// For how many seconds each task has been executed.
    pub executing: Vec<(Key, f64)>,
}

impl Question for HeartbeatWorker {
    type Answer = Heartbeat;

    fn encode(self) -> Frames {
        let executing = self.executing.into_iter();
        let executing = executing.map(|(key, seconds)| (key.value(), seconds.into()));
        question(
            "heartbeat_worker",
            [
                ("address", self.address.into()),
                ("now", self.metrics.time.into()),
                ("metrics", self.metrics.value()),
                ("executing", Value::Map(executing.collect())),
                ("extensions", Value::Map(Vec::new())),
            ],
        )
        .into_frames()
    }

    fn answer(frames: Frames) -> Result<Heartbeat, NoAnswer> {
        answer("heartbeat_worker", frames, |mut fields| {
            if fields.text("status")?.as_deref() == Some("missing") {
                return Ok(Heartbeat::Missing);
            }
            let heartbeat_s = fields.number("heartbeat-interval")?.unwrap_or(HEARTBEAT_S);
            Ok(Heartbeat::Known { heartbeat_s })
        })
    }
}

/// Has a scheduler move what workers hold to others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetireWorkers {
    /// Their addresses.
    pub workers: Vec<String>,
    /// What caused it.
    pub stimulus_id: String,
}

impl Question for RetireWorkers {
    /// The addresses of those whose data was moved.
    type Answer = Vec<String>;

    fn encode(self) -> Frames {
        question(
            "retire_workers",
            [
                ("workers", texts(self.workers)),
                ("close_workers", false.into()),
                ("remove", false.into()),
                ("stimulus_id", self.stimulus_id.into()),
            ],
        )
        .into_frames()
    }

    fn answer(frames: Frames) -> Result<Vec<String>, NoAnswer> {
        let (value, _) = said("retire_workers", frames)?;
        let moved = into_map(value).unwrap_or_default().into_iter();
        Ok(moved.filter_map(|(address, _)| into_text(address)).collect())
    }
}

/// Has a scheduler forget a worker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unregister {
    /// Its address.
    pub address: String,
    /// What caused it.
    pub stimulus_id: String,
}

impl Question for Unregister {
    type Answer = ();

    fn encode(self) -> Frames {
        question(
            "unregister",
            [("address", self.address.into()), ("stimulus_id", self.stimulus_id.into())],
        )
        .into_frames()
    }

    fn answer(frames: Frames) -> Result<(), NoAnswer> {
        done(frames)
    }
}

/// Gives a plugin to a scheduler, for its workers of now and of later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegisterWorkerPlugin {
    /// A pickle of it.
    pub plugin: Vec<u8>,
    /// By which it is known.
    pub name: String,
    /// Whether one of that name is left as it is.
    pub idempotent: bool,
}

impl Question for RegisterWorkerPlugin {
    type Answer = ();

    fn encode(self) -> Frames {
        question(
            "register_worker_plugin",
            [
                ("plugin", Value::Binary(self.plugin)),
                ("name", self.name.into()),
                ("idempotent", self.idempotent.into()),
            ],
        )
        .into_frames()
    }

    fn answer(frames: Frames) -> Result<(), NoAnswer> {
        done(frames)
    }
}

/// Has a scheduler's workers call a Python function.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunOnWorkers {
    /// A pickle of the function.
    pub function: Vec<u8>,
    /// A pickle of the tuple of its arguments.
    pub args: Vec<u8>,
}

impl Question for RunOnWorkers {
    /// Each worker's address with what it says.
    type Answer = Vec<(String, Ran)>;

    fn encode(self) -> Frames {
        let run = map([
            ("op", "run".into()),
            ("function", Value::Binary(self.function)),
            ("args", Value::Binary(self.args)),
        ]);
        question("broadcast", [("msg", run), ("on_error", "ignore".into())]).into_frames()
    }

    fn answer(frames: Frames) -> Result<Self::Answer, NoAnswer> {
        let (value, mut document) = said("broadcast", frames)?;
        let wrong = || Malformed::of("broadcast", "", "it is no map");
        let workers = into_map(value).ok_or_else(wrong)?.into_iter();
        let workers = workers.filter_map(|(address, said)| Some((into_text(address)?, said)));
        let mut ran = |said: Value| -> Result<Ran, NoAnswer> {
            let mut fields = Fields::of("broadcast", said, &mut document)?;
            if let Some(text) = fields.text("exception_text")? {
                return Ok(Ran::Raised(text));
            }
            let result = fields.object("result")?;
            Ok(Ran::Result(result.unwrap_or_else(|| Serialized::from_plain(&Value::Nil))))
        };
        workers.map(|(worker, said)| Ok((worker, ran(said)?))).collect()
    }
}

/// What [`RegisterWorker`] is answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Registered {
    /// It is a worker.
    Member {
        /// How many seconds are to be between signs of life.
        heartbeat_s: f64,
    },
    /// It was not taken: why.
    Refused(String),
}

/// What [`HeartbeatWorker`] is answered.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Heartbeat {
    /// The worker is known.
    Known {
        /// How many seconds are to be until the next.
        heartbeat_s: f64,
    },
    /// The scheduler does not know it, or not any more.
    Missing,
}

/// What a worker says of a function that it was to call.
#[derive(Clone, Debug, PartialEq)]
pub enum Ran {
    /// What that gave.
    Result(Serialized),
    /// It raised this.
    Raised(String),
}
