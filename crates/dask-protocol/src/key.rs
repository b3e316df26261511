//! Keys, by which a cluster knows tasks and their results: text, bytes, numbers,
//! and tuples of those.

use std::fmt;
use std::sync::Arc;

use rmpv::Value;

use crate::document::{decode, encode};
use crate::pickle::{Node, Object, Symbols};

/// How deep tuples may be nested in a key, and of how many parts it may be: a
/// pickle may share them, and stand for far more than its length.
const DEPTH: usize = 16;
const PARTS: usize = 1000;

/// A key: cheap to clone, and equal if Dask takes it for equal.
///
/// # Examples
///
/// ```
/// use dask_protocol::key::Key;
///
/// let key = Key::from("add-1");
/// assert_eq!(key.as_str(), Some("add-1"));
/// assert_eq!(key.to_string(), "add-1");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Repr);

#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Repr {
    Text(Arc<str>),
    /// As it is in messages.
    Other(Arc<[u8]>),
}

impl Key {
    /// The key that a part of a pickle is.
    pub fn from_pickle(symbols: &Symbols<'_>, node: Node) -> Option<Self> {
        value_of(symbols, node, DEPTH, &mut { PARTS }).map(|value| Self::of(&value))
    }

    /// The key, if it is text.
    pub fn as_str(&self) -> Option<&str> {
        match &self.0 {
            Repr::Text(text) => Some(text),
            Repr::Other(_) => None,
        }
    }

    /// The key that a part of a message is.
    pub(crate) fn of(value: &Value) -> Self {
        match value.as_str() {
            Some(text) => text.into(),
            None => Self(Repr::Other(encode(value).into())),
        }
    }

    /// What it is in a message.
    pub(crate) fn value(&self) -> Value {
        match &self.0 {
            Repr::Text(text) => (&**text).into(),
            Repr::Other(bytes) => decode(bytes).unwrap_or(Value::Nil),
        }
    }
}

impl From<&str> for Key {
    fn from(text: &str) -> Self {
        Self(Repr::Text(text.into()))
    }
}

impl From<String> for Key {
    fn from(text: String) -> Self {
        Self(Repr::Text(text.into()))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Repr::Text(text) => f.write_str(text),
            Repr::Other(_) => self.value().fmt(f),
        }
    }
}

fn value_of(symbols: &Symbols<'_>, node: Node, depth: usize, parts: &mut usize) -> Option<Value> {
    let depth = depth.checked_sub(1)?;
    *parts = parts.checked_sub(1)?;
    Some(match node {
        Node::Str(_) => symbols.str(node)?.into(),
        Node::Bytes(span) => Value::Binary(symbols.span(span).to_vec()),
        Node::Int(int) => int.into(),
        Node::Float(float) => float.into(),
        Node::EmptyTuple => Value::Array(Vec::new()),
        Node::Object(index) => match symbols.object(index) {
            Object::Tuple(items) => {
                let items = items.iter().map(|item| value_of(symbols, *item, depth, parts));
                Value::Array(items.collect::<Option<_>>()?)
            }
            _ => return None,
        },
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_the_same_in_messages_and_pickles() {
        let tuple = Value::Array(vec!["x".into(), 3.into()]);
        let pickles = [&b"\x80\x04\x8c\x03f-1."[..], b"\x80\x04\x8c\x01xK\x03\x86."];
        for (value, pickle) in [Value::from("f-1"), tuple].iter().zip(pickles) {
            let symbols = Symbols::read(pickle, 0).unwrap();
            assert_eq!(Key::from_pickle(&symbols, symbols.root()), Some(Key::of(value)));
            assert_eq!(Key::of(value).value(), *value);
        }
        assert_eq!(Key::of(&"f-1".into()), Key::from("f-1"));
        assert_eq!(Key::of(&3.into()).to_string(), "3");
    }

    #[test]
    fn a_key_that_shares_its_parts_is_no_key() {
        // Tuples of ten times the one before, fourteen deep.
        let mut pickle = b"\x80\x04K\x01\x940".to_vec();
        for level in 0..14 {
            pickle.push(b'(');
            (0..10).for_each(|_| pickle.extend([b'h', level]));
            pickle.extend(b"t\x940");
        }
        pickle.extend(b"h\x0e.");
        let symbols = Symbols::read(&pickle, 0).unwrap();
        assert_eq!(Key::from_pickle(&symbols, symbols.root()), None);
    }
}
