//! Reads the fields of one operation, and names what is wrong with them.
//!
//! What is not asked for is ignored. A field that is absent and one that is nil are the
//! same, as with Dask.

use rmpv::Value;

use crate::document::{Document, Pickled, field};
use crate::frames::Frames;
use crate::key::Key;
use crate::malformed::Malformed;
use crate::serialized::Serialized;

const MISSING: &str = "is missing";

/// Keys, and where each is.
pub type Places = Vec<(Key, Vec<String>)>;

/// An operation that is being read.
pub(crate) struct Fields<'d> {
    operation: String,
    pairs: Vec<(Value, Value)>,
    document: &'d mut Document,
}

impl<'d> Fields<'d> {
    /// Of an operation, which has its name in a field.
    pub(crate) fn of_operation(
        value: Value,
        document: &'d mut Document,
    ) -> Result<Self, Malformed> {
        let mut fields = Self::of("", value, document)?;
        fields.operation =
            fields.text("op")?.ok_or(Malformed::new("an operation without a name"))?;
        Ok(fields)
    }

    /// Of what has no name of its own.
    pub(crate) fn of(
        operation: &str,
        value: Value,
        document: &'d mut Document,
    ) -> Result<Self, Malformed> {
        let operation = operation.to_owned();
        match value {
            Value::Map(pairs) => Ok(Self { operation, pairs, document }),
            _ => Err(Malformed::of(&operation, "", "it is no map")),
        }
    }

    pub(crate) fn operation(&self) -> &str {
        &self.operation
    }

    /// What is wrong with a field.
    pub(crate) fn wrong(&self, name: &'static str, problem: &'static str) -> Malformed {
        Malformed::of(&self.operation, name, problem)
    }

    /// A value, whatever it is.
    pub(crate) fn value(&mut self, name: &str) -> Option<Value> {
        let found = self.pairs.iter_mut().find(|(key, _)| key.as_str() == Some(name))?;
        Some(std::mem::replace(&mut found.1, Value::Nil)).filter(|value| !value.is_nil())
    }

    /// All that lies beside the message.
    pub(crate) fn take_frames(&mut self) -> Frames {
        self.document.take_frames()
    }

    /// Whether there is a field.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.pairs.iter().any(|(key, value)| key.as_str() == Some(name) && !value.is_nil())
    }

    fn read<T>(
        &mut self,
        name: &'static str,
        problem: &'static str,
        read: impl FnOnce(Value) -> Option<T>,
    ) -> Result<Option<T>, Malformed> {
        let Some(value) = self.value(name) else { return Ok(None) };
        read(value).map(Some).ok_or_else(|| self.wrong(name, problem))
    }

    pub(crate) fn text(&mut self, name: &'static str) -> Result<Option<String>, Malformed> {
        self.read(name, "is not text", into_text)
    }

    pub(crate) fn int(&mut self, name: &'static str) -> Result<Option<i64>, Malformed> {
        self.read(name, "is not an integer", |value| value.as_i64())
    }

    pub(crate) fn count(&mut self, name: &'static str) -> Result<Option<u64>, Malformed> {
        self.read(name, "is not a count", |value| value.as_u64())
    }

    pub(crate) fn number(&mut self, name: &'static str) -> Result<Option<f64>, Malformed> {
        self.read(name, "is not a number", |value| value.as_f64())
    }

    pub(crate) fn bool(&mut self, name: &'static str) -> Result<Option<bool>, Malformed> {
        self.read(name, "is not a bool", |value| value.as_bool())
    }

    /// A text that has to be there.
    pub(crate) fn name(&mut self, name: &'static str) -> Result<String, Malformed> {
        self.text(name)?.ok_or_else(|| self.wrong(name, MISSING))
    }

    pub(crate) fn key(&mut self, name: &'static str) -> Result<Key, Malformed> {
        let key = self.value(name).map(|value| Key::of(&value));
        key.ok_or_else(|| self.wrong(name, MISSING))
    }

    /// Keys in a list or a set, which may be absent.
    pub(crate) fn keys(&mut self, name: &'static str) -> Result<Vec<Key>, Malformed> {
        let keys = self.read(name, "is not a list", |value| {
            Some(into_list(value)?.iter().map(Key::of).collect())
        })?;
        Ok(keys.unwrap_or_default())
    }

    /// Texts in a list or a set, which may be absent.
    pub(crate) fn texts(&mut self, name: &'static str) -> Result<Vec<String>, Malformed> {
        Ok(self.read(name, "is not a list of texts", into_texts)?.unwrap_or_default())
    }

    /// The fields of a map that are text; none if it is something else.
    pub(crate) fn text_fields(&mut self, name: &'static str) -> Vec<(String, String)> {
        self.value(name).map(into_text_fields).unwrap_or_default()
    }

    /// What is said of an event, which comes after its time.
    pub(crate) fn event(&mut self, name: &'static str) -> Vec<(String, String)> {
        let said = self.value(name).and_then(into_list).and_then(|mut event| event.pop());
        said.map(into_text_fields).unwrap_or_default()
    }

    /// Those of a list that are numbers.
    pub(crate) fn numbers(&mut self, name: &'static str) -> Result<Vec<f64>, Malformed> {
        let numbers = self.read(name, "is not a list", |value| {
            Some(into_list(value)?.iter().filter_map(Value::as_f64).collect())
        })?;
        Ok(numbers.unwrap_or_default())
    }

    pub(crate) fn map(&mut self, name: &'static str) -> Result<Vec<(Value, Value)>, Malformed> {
        Ok(self.read(name, "is not a map", into_map)?.unwrap_or_default())
    }

    /// Where keys are.
    pub(crate) fn places(&mut self, name: &'static str) -> Result<Places, Malformed> {
        let places = self.read(name, "is not a map of lists of texts", into_places)?;
        Ok(places.unwrap_or_default())
    }

    /// What keys have of something that is counted.
    pub(crate) fn sizes(&mut self, name: &'static str) -> Result<Vec<(Key, u64)>, Malformed> {
        let sizes = self.map(name)?.into_iter();
        let sizes = sizes.map(|(key, size)| Some((Key::of(&key), size.as_u64()?)));
        sizes.collect::<Option<_>>().ok_or_else(|| self.wrong(name, "is not a map of counts"))
    }

    /// What names have of something that is measured.
    pub(crate) fn amounts(&mut self, name: &'static str) -> Result<Vec<(String, f64)>, Malformed> {
        let amounts = self.map(name)?.into_iter();
        let amounts = amounts.map(|(name, amount)| Some((into_text(name)?, amount.as_f64()?)));
        amounts.collect::<Option<_>>().ok_or_else(|| self.wrong(name, "is not a map of numbers"))
    }

    /// The fields of a map in this one, which may be absent.
    pub(crate) fn nested(&mut self, name: &'static str) -> Result<Fields<'_>, Malformed> {
        let pairs = self.map(name)?;
        Ok(Fields { operation: self.operation.clone(), pairs, document: self.document })
    }

    /// Reads each map of a map, with the text by which it stands there.
    pub(crate) fn each<T>(
        &mut self,
        name: &'static str,
        mut read: impl FnMut(&str, Fields<'_>) -> Result<T, Malformed>,
    ) -> Result<Vec<T>, Malformed> {
        let mut all = Vec::new();
        for (key, value) in self.map(name)? {
            if let (Some(key), Value::Map(pairs)) = (key.as_str(), value) {
                let operation = self.operation.clone();
                all.push(read(key, Fields { operation, pairs, document: self.document })?);
            }
        }
        Ok(all)
    }

    /// Reads the first map of a list; an empty one if there is none.
    pub(crate) fn first<T>(
        &mut self,
        name: &'static str,
        read: impl FnOnce(&mut Fields<'_>) -> Result<T, Malformed>,
    ) -> Result<T, Malformed> {
        let first = self.read(name, "is not a list of maps", |value| {
            into_list(value)?.into_iter().next().map_or(Some(Vec::new()), into_map)
        })?;
        let (operation, pairs) = (self.operation.clone(), first.unwrap_or_default());
        read(&mut Fields { operation, pairs, document: self.document })
    }

    /// A value beside the message, or one that stands in it.
    pub(crate) fn object(&mut self, name: &'static str) -> Result<Option<Serialized>, Malformed> {
        let Some(value) = self.value(name) else { return Ok(None) };
        self.taken(name, &value).map(Some)
    }

    /// How many bytes a text, or a value of bytes, has; 0 if it is absent.
    pub(crate) fn length(&mut self, name: &'static str) -> Result<u64, Malformed> {
        let Some(value) = self.value(name) else { return Ok(0) };
        let length = match &value {
            Value::Binary(bytes) => bytes.len(),
            Value::String(text) => text.as_bytes().len(),
            other => self.taken(name, other)?.frames.iter().map(Vec::len).sum(),
        };
        Ok(length as u64)
    }

    /// Values by their keys.
    pub(crate) fn objects(
        &mut self,
        name: &'static str,
    ) -> Result<Vec<(Key, Serialized)>, Malformed> {
        let values = self.map(name)?.into_iter();
        values.map(|(key, value)| Ok((Key::of(&key), self.taken(name, &value)?))).collect()
    }

    fn taken(&mut self, name: &'static str, value: &Value) -> Result<Serialized, Malformed> {
        match self.document.object(value) {
            Ok(Some(object)) => Ok(object),
            Ok(None) => Ok(Serialized::from_plain(value)),
            Err(error) => Err(self.wrong(name, error.problem())),
        }
    }

    /// A pickle that every receiver is meant to load.
    pub(crate) fn pickled(&mut self, name: &'static str) -> Result<Option<Pickled>, Malformed> {
        let Some(value) = self.value(name) else { return Ok(None) };
        self.document.pickled(&value).map_err(|error| self.wrong(name, error.problem()))
    }
}

/// All operations of a message of a stream: a list of them, or one alone.
pub(crate) fn operations<T>(
    frames: Frames,
    mut read: impl FnMut(Fields<'_>) -> Result<T, Malformed>,
) -> Result<Vec<T>, Malformed> {
    let mut document = Document::from_frames(frames)?;
    let all = match document.take_value() {
        Value::Array(all) => all,
        one => vec![one],
    };
    all.into_iter().map(|one| read(Fields::of_operation(one, &mut document)?)).collect()
}

pub(crate) fn into_text(value: Value) -> Option<String> {
    match value {
        Value::String(text) => text.into_str(),
        _ => None,
    }
}

pub(crate) fn into_map(value: Value) -> Option<Vec<(Value, Value)>> {
    match value {
        Value::Map(pairs) => Some(pairs),
        _ => None,
    }
}

/// A list, or a set, which Dask writes as `{"__Set__": true, "as-list": […]}`.
pub(crate) fn into_list(value: Value) -> Option<Vec<Value>> {
    match value {
        Value::Array(items) => Some(items),
        Value::Map(_) => field(&value, "as-list").and_then(Value::as_array).cloned(),
        _ => None,
    }
}

pub(crate) fn into_texts(value: Value) -> Option<Vec<String>> {
    into_list(value)?.into_iter().map(into_text).collect()
}

pub(crate) fn into_places(value: Value) -> Option<Places> {
    let pairs = into_map(value)?.into_iter();
    pairs.map(|(key, places)| Some((Key::of(&key), into_texts(places)?))).collect()
}

fn into_text_fields(value: Value) -> Vec<(String, String)> {
    let pairs = into_map(value).unwrap_or_default().into_iter();
    pairs.filter_map(|(name, value)| Some((into_text(name)?, into_text(value)?))).collect()
}

/// A map of names and texts.
pub(crate) fn text_fields(said: Vec<(String, String)>) -> Value {
    Value::Map(said.into_iter().map(|(name, text)| (name.into(), text.into())).collect())
}

/// A list of keys.
pub(crate) fn keys(keys: impl IntoIterator<Item = Key>) -> Value {
    Value::Array(keys.into_iter().map(|key| key.value()).collect())
}

/// A list of texts.
pub(crate) fn texts(texts: impl IntoIterator<Item = String>) -> Value {
    Value::Array(texts.into_iter().map(Value::from).collect())
}

/// Where keys are.
pub(crate) fn places(places: Places) -> Value {
    let pairs = places.into_iter().map(|(key, places)| (key.value(), texts(places)));
    Value::Map(pairs.collect())
}

/// What keys have of something that is counted.
pub(crate) fn sizes(sizes: Vec<(Key, u64)>) -> Value {
    Value::Map(sizes.into_iter().map(|(key, size)| (key.value(), size.into())).collect())
}

/// What names have of something that is measured.
pub(crate) fn amounts(amounts: Vec<(String, f64)>) -> Value {
    Value::Map(amounts.into_iter().map(|(name, amount)| (name.into(), amount.into())).collect())
}

/// Values by their keys, put beside a message.
pub(crate) fn objects(objects: Vec<(Key, Serialized)>, document: &mut Document) -> Value {
    let pairs = objects.into_iter().map(|(key, value)| (key.value(), document.attach(value)));
    Value::Map(pairs.collect())
}
