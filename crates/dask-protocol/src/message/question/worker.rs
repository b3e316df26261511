//! What a worker is asked.

use rmpv::Value;

use super::{Data, NoAnswer, Question, answer, question};
use crate::frames::Frames;
use crate::key::Key;
use crate::message::fields::{Places, keys, objects, places};
use crate::serialized::Serialized;

/// Asks a worker for data. Who has got it says so: see [`Data::received`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GetData {
    /// Of which keys.
    pub keys: Vec<Key>,
    /// The address of the worker that asks, if it is one.
    pub who: Option<String>,
}

impl Question for GetData {
    type Answer = Data;

    fn encode(self) -> Frames {
        let who = self.who.map_or(Value::Nil, Value::from);
        question("get_data", [("keys", keys(self.keys)), ("who", who)]).into_frames()
    }

    fn answer(frames: Frames) -> Result<Data, NoAnswer> {
        Data::read("get_data", frames)
    }
}

/// Gives data to a worker.
#[derive(Clone, Debug, PartialEq)]
pub struct UpdateData {
    /// The data.
    pub data: Vec<(Key, Serialized)>,
}

impl Question for UpdateData {
    /// How many bytes the worker takes it for.
    type Answer = Vec<(Key, u64)>;

    fn encode(self) -> Frames {
        let mut document = question("update_data", []);
        let data = objects(self.data, &mut document);
        document.push("data", data);
        document.into_frames()
    }

    fn answer(frames: Frames) -> Result<Self::Answer, NoAnswer> {
        answer("update_data", frames, |mut fields| fields.sizes("nbytes"))
    }
}

/// Has a worker get copies from others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GatherCopies {
    /// Of what, and who has it.
    pub who_has: Places,
}

impl Question for GatherCopies {
    /// The keys of what it could not get.
    type Answer = Vec<Key>;

    fn encode(self) -> Frames {
        question("gather", [("who_has", places(self.who_has))]).into_frames()
    }

    fn answer(frames: Frames) -> Result<Vec<Key>, NoAnswer> {
        answer("gather", frames, |mut fields| {
            if fields.name("status")? == "OK" {
                return Ok(Vec::new());
            }
            match fields.keys("keys")? {
                missing if missing.is_empty() => Err(fields.wrong("keys", "is missing")),
                missing => Ok(missing),
            }
        })
    }
}
