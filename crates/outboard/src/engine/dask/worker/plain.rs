//! Values of Python's, written again as plain ones: what a Rust function can be
//! called with.

use std::collections::HashMap;
use std::sync::Arc;

use rmpv::Value;

use super::key::Key;
use crate::engine::dask::message::{Serialized, decode, field, list, text};
use crate::engine::dask::pickle::{Call, Node, Object, Pickle, Symbols, widen};
use crate::engine::dask::values::whole_frames;

/// Where the parts of a graph are defined.
pub(super) const MODULE: &str = "dask._task_spec";

/// How deep values may be nested.
pub(super) const DEPTH: usize = 128;

/// How many slots a container of a graph has, and which of them are its items.
const CONTAINER_SLOTS: usize = 11;
pub(super) const ARGS: usize = 5;

/// Values that a task needs, by their keys.
pub(super) type Needed = HashMap<Key, Arc<Serialized>>;

/// A pickle and what lies beside it.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) symbols: &'a Symbols<'a>,
    pub(super) buffers: &'a [Vec<u8>],
}

/// Writes values again without anything that only Python has, and without parts
/// that are shared.
pub(super) struct Plain<'a> {
    needed: &'a Needed,
    pub(super) out: Pickle,
    limit: usize,
}

impl<'a> Plain<'a> {
    pub(super) fn new(needed: &'a Needed, limit: usize) -> Self {
        Self { needed, out: Pickle::new(), limit }
    }

    /// Appends a part of a pickle; `depth` is how deep it may be nested.
    ///
    /// # Errors
    ///
    /// A line that names what only Python has, or the bound.
    pub(super) fn write(
        &mut self,
        source: Source<'_>,
        node: Node,
        depth: usize,
    ) -> Result<(), String> {
        let depth = depth.checked_sub(1).ok_or("a value is nested too deeply")?;
        if self.out.length() > self.limit {
            return Err(format!("values exceed the limit of {} bytes", self.limit));
        }
        match node {
            Node::None => self.out.none(),
            Node::Bool(value) => self.out.bool(value),
            Node::Int(value) => self.out.int(value.into()),
            Node::Float(value) => self.out.float(value),
            Node::Long(span) => {
                let wide = widen(source.symbols.span(span));
                self.out.int(wide.ok_or("an int beyond 128 bits")?);
            }
            Node::Str(_) => self.out.str(source.symbols.str(node).unwrap_or_default()),
            Node::Bytes(span) => self.out.bytes(source.symbols.span(span)),
            Node::Buffer(index) => {
                let buffer = source.buffers.get(index as usize);
                self.out.bytes(buffer.ok_or("a buffer is missing")?);
            }
            Node::EmptyTuple => self.out.empty_tuple(),
            Node::Object(index) => {
                return self.write_object(source, node, source.symbols.object(index), depth);
            }
        }
        Ok(())
    }

    fn write_object(
        &mut self,
        source: Source<'_>,
        node: Node,
        object: &Object,
        depth: usize,
    ) -> Result<(), String> {
        match object {
            Object::Tuple(items) => {
                self.out.mark();
                self.write_all(source, items, depth)?;
                self.out.end_tuple();
            }
            // Serde has no sets: a list can be read as one.
            Object::List(items) | Object::Set(items) => self.write_list(source, items, depth)?,
            Object::Dict(pairs) => {
                self.out.begin_dict();
                for (key, value) in pairs {
                    self.write(source, *key, depth)?;
                    self.write(source, *value, depth)?;
                }
                self.out.end_dict();
            }
            Object::Global { .. } => return Err(refused(source.symbols, node)),
            Object::Call(call) => self.write_call(source, node, call, depth)?,
        }
        Ok(())
    }

    fn write_all(
        &mut self,
        source: Source<'_>,
        items: &[Node],
        depth: usize,
    ) -> Result<(), String> {
        items.iter().try_for_each(|item| self.write(source, *item, depth))
    }

    fn write_list(
        &mut self,
        source: Source<'_>,
        items: &[Node],
        depth: usize,
    ) -> Result<(), String> {
        self.out.begin_list();
        self.write_all(source, items, depth)?;
        self.out.end_list();
        Ok(())
    }

    /// The parts of graphs, and the few classes that are plain values.
    fn write_call(
        &mut self,
        source: Source<'_>,
        node: Node,
        call: &Call,
        depth: usize,
    ) -> Result<(), String> {
        let symbols = source.symbols;
        let args = symbols.items(call.args).unwrap_or_default();
        match (symbols.global(call.callable), args) {
            (Some((MODULE, "TaskRef" | "Alias")), [.., key]) => {
                let key = Key::of_node(symbols, *key);
                let value = key.and_then(|key| self.needed.get(&key)).cloned();
                let value = value.ok_or("a value that it needs is missing")?;
                self.write_value(&value, depth)
            }
            (Some((MODULE, "DataNode")), [_, value]) => self.write(source, *value, depth),
            (Some((MODULE, class)), _) => {
                let slots = call.state.and_then(|state| symbols.items(state));
                let slots = slots.filter(|slots| slots.len() == CONTAINER_SLOTS);
                let items = slots.and_then(|slots| symbols.items(slots[ARGS]));
                let items = items.ok_or_else(|| refused(symbols, node))?;
                self.write_container(source, class, items, depth)
            }
            (Some(("builtins", "bytes" | "bytearray")), []) => {
                self.out.bytes(b"");
                Ok(())
            }
            (Some(("builtins", "bytes" | "bytearray")), [one]) => self.write(source, *one, depth),
            _ => Err(refused(symbols, node)),
        }
    }

    fn write_container(
        &mut self,
        source: Source<'_>,
        class: &str,
        items: &[Node],
        depth: usize,
    ) -> Result<(), String> {
        match class {
            "List" | "Set" => self.write_list(source, items, depth),
            "Tuple" => {
                self.out.mark();
                self.write_all(source, items, depth)?;
                self.out.end_tuple();
                Ok(())
            }
            "Dict" if items.len().is_multiple_of(2) => {
                self.out.begin_dict();
                self.write_all(source, items, depth)?;
                self.out.end_dict();
                Ok(())
            }
            _ => Err(format!("a {class} of a graph, inside of arguments, is for Python")),
        }
    }

    /// A value as it lies beside messages.
    fn write_value(&mut self, object: &Serialized, depth: usize) -> Result<(), String> {
        let mut room = self.limit;
        let frames = whole_frames(&object.header, object.frames.clone(), &mut room);
        self.write_frames(&object.header, frames.map_err(|error| error.0)?, depth)
    }

    fn write_frames(
        &mut self,
        header: &Value,
        mut frames: Vec<Vec<u8>>,
        depth: usize,
    ) -> Result<(), String> {
        let depth = depth.checked_sub(1).ok_or("a value is nested too deeply")?;
        if field(header, "is-collection").and_then(Value::as_bool) == Some(true) {
            return self.write_collection(header, frames, depth);
        }
        match text(header, "serializer").unwrap_or_default() {
            "pickle" if !frames.is_empty() => {
                let pickle = frames.remove(0);
                let symbols = Symbols::read(&pickle, frames.len());
                let symbols = symbols.map_err(|error| error.to_string())?;
                let source = Source { symbols: &symbols, buffers: &frames };
                self.write(source, symbols.root, depth)
            }
            "dask" if text(header, "type").is_some_and(is_bytes) => {
                self.out.bytes(&frames.concat());
                Ok(())
            }
            "msgpack" => {
                let value = decode(&frames.concat()).map_err(|error| error.0)?;
                self.write_plain(&value, depth)
            }
            _ => Err("a value of a class that Rust functions do not know".into()),
        }
    }

    fn write_collection(
        &mut self,
        header: &Value,
        frames: Vec<Vec<u8>>,
        depth: usize,
    ) -> Result<(), String> {
        let headers = list(header, "sub-headers");
        let lengths = list(header, "frame-lengths").iter();
        let lengths = lengths.map(|length| length.as_u64().unwrap_or(0) as usize);
        let class = text(header, "type-serialized").unwrap_or_default();
        match class {
            "tuple" => self.out.mark(),
            "dict" => self.out.begin_dict(),
            _ => self.out.begin_list(),
        }
        let mut frames = frames.into_iter();
        for (header, length) in headers.iter().zip(lengths) {
            if class == "dict" {
                self.write_plain(field(header, "key").unwrap_or(&Value::Nil), depth)?;
            }
            let part = frames.by_ref().take(length).collect();
            self.write_frames(header, part, depth)?;
        }
        match class {
            "tuple" => self.out.end_tuple(),
            "dict" => self.out.end_dict(),
            _ => self.out.end_list(),
        }
        Ok(())
    }

    /// A value of a message.
    fn write_plain(&mut self, value: &Value, depth: usize) -> Result<(), String> {
        let depth = depth.checked_sub(1).ok_or("a value is nested too deeply")?;
        match value {
            Value::Nil => self.out.none(),
            Value::Boolean(value) => self.out.bool(*value),
            Value::Integer(int) => {
                let int = int.as_i64().map(i128::from).or(int.as_u64().map(i128::from));
                self.out.int(int.unwrap_or_default());
            }
            Value::F32(value) => self.out.float((*value).into()),
            Value::F64(value) => self.out.float(*value),
            Value::String(text) => self.out.str(text.as_str().ok_or("text that is no UTF-8")?),
            Value::Binary(bytes) => self.out.bytes(bytes),
            Value::Array(items) => {
                self.out.begin_list();
                items.iter().try_for_each(|item| self.write_plain(item, depth))?;
                self.out.end_list();
            }
            Value::Map(pairs) => {
                self.out.begin_dict();
                for (key, value) in pairs {
                    self.write_plain(key, depth)?;
                    self.write_plain(value, depth)?;
                }
                self.out.end_dict();
            }
            Value::Ext(..) => return Err("a value of an unknown kind".into()),
        }
        Ok(())
    }
}

fn is_bytes(class: &str) -> bool {
    matches!(class, "bytes" | "bytearray" | "builtins.bytes" | "builtins.bytearray")
}

fn refused(symbols: &Symbols<'_>, node: Node) -> String {
    let callable = symbols.call(node).map_or(node, |call| call.callable);
    match symbols.global(callable) {
        Some((module, name)) => format!("Rust functions do not know {module}.{name}"),
        None => "Rust functions do not know what a value is".into(),
    }
}
