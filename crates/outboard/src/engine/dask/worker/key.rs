//! Keys, by which a cluster knows tasks and their results: text, bytes, numbers,
//! and tuples of those.

use std::fmt;
use std::sync::Arc;

use rmpv::Value;

use crate::engine::dask::message::{decode, encode};
use crate::engine::dask::pickle::{Node, Object, Symbols};

/// How deep tuples may be nested in a key, and of how many parts it may be: a
/// pickle may share them, and stand for far more than its length.
const DEPTH: usize = 16;
const PARTS: usize = 1000;

/// A key, as the bytes that it is in messages.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Key(Arc<[u8]>);

impl Key {
    /// The key that a part of a message is.
    pub(crate) fn of(value: &Value) -> Self {
        Self(encode(value).into())
    }

    /// The key that a part of a pickle is.
    pub(crate) fn of_node(symbols: &Symbols<'_>, node: Node) -> Option<Self> {
        value_of(symbols, node, DEPTH, &mut { PARTS }).map(|value| Self::of(&value))
    }

    /// Whether it is a text that passes a test.
    pub(crate) fn is_text(&self, test: impl FnOnce(&str) -> bool) -> bool {
        matches!(self.value(), Value::String(text) if text.as_str().is_some_and(test))
    }

    /// What it is in a message.
    pub(crate) fn value(&self) -> Value {
        decode(&self.0).unwrap_or(Value::Nil)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value() {
            Value::String(text) => f.write_str(text.as_str().unwrap_or("?")),
            other => other.fmt(f),
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
            assert_eq!(Key::of_node(&symbols, symbols.root), Some(Key::of(value)));
            assert_eq!(Key::of(value).value(), *value);
        }
        assert_eq!(Key::of(&"f-1".into()).to_string(), "f-1");
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
        assert_eq!(Key::of_node(&symbols, symbols.root), None);
    }
}
