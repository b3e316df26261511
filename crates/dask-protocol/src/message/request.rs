//! The other side of questions: what a scheduler or a worker is asked, and its answers.

use rmpv::Value;

use super::fields::{Fields, Places, keys, objects, places, sizes};
use super::identity::{ClusterIdentity, Packages, WorkerIdentity};
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
    /// For lines of its log, or what it has profiled.
    Logs,
    /// For profiles, by names.
    Profile,
    /// To call a Python function.
    Run,
    /// Something else, by its name.
    Unknown(String),
}

/// Part of a message that is passed on as it is.
#[derive(Clone, Debug, PartialEq)]
pub struct Opaque(Value);

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
            "echo" => Self::Echo(Opaque(fields.value("data").unwrap_or(Value::Nil))),
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
            "get_logs" | "profile_metadata" => Self::Logs,
            "profile" | "call_stack" => Self::Profile,
            "run" | "run_coroutine" => Self::Run,
            other => Self::Unknown(other.to_owned()),
        })
    }
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
            Self::Echo(Opaque(value)) => value,
            Self::Pong => Value::Binary(b"pong".to_vec()),
            Self::NoList => Value::Array(Vec::new()),
            Self::NoMap => Value::Map(Vec::new()),
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
