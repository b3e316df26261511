//! Values of Python's, written again as plain ones: what a function can be called
//! with that is not Python's.

use std::fmt;

use rmpv::Value;

use crate::document::{decode, field, list, text};
use crate::key::Key;
use crate::pickle::{Call, FORTRAN, Known, Node, Object, Pickle, Source, Symbols, advice, is_part};
use crate::run_spec::{ARGS, CONTAINER_SLOTS, MODULE};
use crate::serialized::{Serialized, is_bytes, whole_frames};

/// How deep values may be nested.
const DEPTH: usize = 128;

/// A part of a task's pickle as a plain value: without anything that only Python
/// has, without parts that are shared, and with a gap for each value of another task
/// that it refers to.
///
/// It takes about as much memory as the part of the pickle. Parts that are shared
/// are written again wherever they are, up to a limit.
///
/// # Examples
///
/// ```
/// use dask_protocol::Serialized;
/// use dask_protocol::pickle::{self, Symbols};
/// use dask_protocol::plain::Template;
///
/// // `[1, TaskRef("k")]`
/// let task = b"\x80\x04](K\x01\x8c\x0fdask._task_spec\x8c\x07TaskRef\x93\x8c\x01k\x85Re.";
/// let symbols = Symbols::read(task, 0)?;
/// let template = Template::of(&symbols, &[], symbols.root(), 1000)?;
/// let two = Serialized::from_pickle(pickle::to_vec(&2)?);
/// let plain = template.fill(|key| (key.as_str() == Some("k")).then_some(&two))?;
/// assert_eq!(pickle::from_slice::<Vec<u8>>(&plain)?, [1, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
    limit: usize,
}

#[derive(Clone, Debug, PartialEq)]
enum Part {
    Opcodes(Vec<u8>),
    /// What a key stands for, and how deep that may be nested.
    Value(Key, usize),
}

/// Why a value cannot be written plainly.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotPlain(String);

impl fmt::Display for NotPlain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for NotPlain {}

fn slices(buffers: &[Vec<u8>]) -> Vec<&[u8]> {
    buffers.iter().map(Vec::as_slice).collect()
}

impl Template {
    /// A part of a pickle, beside which these buffers were sent, of no more than so
    /// many bytes.
    ///
    /// # Errors
    ///
    /// If it has something that only Python has, is nested too deeply, or larger than
    /// that.
    pub fn of(
        symbols: &Symbols<'_>,
        buffers: &[Vec<u8>],
        node: Node,
        limit: usize,
    ) -> Result<Self, NotPlain> {
        let mut plain = Plain::new(limit);
        let buffers = slices(buffers);
        let source = Source { symbols, buffers: &buffers };
        plain.write(source, node, DEPTH).map_err(NotPlain)?;
        Ok(plain.finish())
    }

    /// The same, of a tuple of several parts.
    ///
    /// # Errors
    ///
    /// As [`of`](Self::of).
    pub fn of_tuple(
        symbols: &Symbols<'_>,
        buffers: &[Vec<u8>],
        nodes: &[Node],
        limit: usize,
    ) -> Result<Self, NotPlain> {
        let mut plain = Plain::new(limit);
        plain.out.mark();
        let buffers = slices(buffers);
        let source = Source { symbols, buffers: &buffers };
        plain.write_all(source, nodes, DEPTH).map_err(NotPlain)?;
        plain.out.end_tuple();
        Ok(plain.finish())
    }

    /// The pickle of the value, with what keys stand for in its gaps.
    ///
    /// # Errors
    ///
    /// If one of those is missing, and as [`of`](Self::of) for each.
    pub fn fill<'v>(
        self,
        value: impl Fn(&Key) -> Option<&'v Serialized>,
    ) -> Result<Vec<u8>, NotPlain> {
        let mut plain = Plain { out: Pickle::new(), gaps: None, ..Plain::new(self.limit) };
        for part in self.parts {
            match part {
                Part::Opcodes(opcodes) => plain.out.part(&opcodes),
                Part::Value(key, depth) => {
                    let missing = || NotPlain("a value that it needs is missing".into());
                    let value = value(&key).ok_or_else(missing)?;
                    plain.write_value(value, depth).map_err(NotPlain)?;
                }
            }
        }
        plain.bounded().map_err(NotPlain)?;
        Ok(plain.out.finish())
    }
}

/// The plain pickle of a value as it lies beside messages, whichever way it was
/// serialized, of no more than so many bytes.
///
/// # Errors
///
/// If it has something that only Python has, is broken, nested too deeply, or larger than
/// that.
///
/// # Examples
///
/// ```
/// use dask_protocol::{Serialized, pickle, plain};
///
/// let value = Serialized::from_pickle(pickle::to_vec("text")?);
/// assert_eq!(pickle::from_slice::<String>(&plain::from_value(&value, 1000)?)?, "text");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub fn from_value(value: &Serialized, limit: usize) -> Result<Vec<u8>, NotPlain> {
    Template { parts: vec![Part::Value(Key::from(""), DEPTH)], limit }.fill(|_| Some(value))
}

/// What a gap counts for, in bytes.
const GAP: usize = 16;

/// Writes values.
struct Plain {
    out: Pickle,
    /// What was written before `out`, up to the last gap; `None` if there are to be no
    /// gaps.
    gaps: Option<Vec<Part>>,
    /// How many bytes that counts for.
    before: usize,
    limit: usize,
}

impl Plain {
    fn new(limit: usize) -> Self {
        Self { out: Pickle::part_of(Vec::new()), gaps: Some(Vec::new()), before: 0, limit }
    }

    fn finish(self) -> Template {
        let mut parts = self.gaps.unwrap_or_default();
        parts.push(Part::Opcodes(self.out.into_part()));
        Template { parts, limit: self.limit }
    }

    fn bounded(&self) -> Result<(), String> {
        match self.before + self.out.length() > self.limit {
            true => Err(format!("values exceed the limit of {} bytes", self.limit)),
            false => Ok(()),
        }
    }

    /// Leaves a gap.
    fn write_reference(&mut self, key: Key, depth: usize) -> Result<(), String> {
        let gaps = self.gaps.as_mut().ok_or("a value refers to another")?;
        let written = std::mem::replace(&mut self.out, Pickle::part_of(Vec::new()));
        self.before += written.length() + GAP;
        gaps.extend([Part::Opcodes(written.into_part()), Part::Value(key, depth)]);
        Ok(())
    }

    /// Appends a part of a pickle; `depth` is how deep it may be nested.
    ///
    /// # Errors
    ///
    /// A line that names what only Python has, or the bound.
    fn write(&mut self, source: Source<'_>, node: Node, depth: usize) -> Result<(), String> {
        let depth = depth.checked_sub(1).ok_or("a value is nested too deeply")?;
        self.bounded()?;
        match node {
            Node::None => self.out.none(),
            Node::Bool(value) => self.out.bool(value),
            Node::Int(value) => self.out.int(value.into()),
            Node::Float(value) => self.out.float(value),
            Node::Long(span) => {
                self.out.long(source.symbols.span(span));
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
            Object::Dict(pairs) => self.write_dict(source, pairs, depth)?,
            Object::Global { .. } => match source.symbols.global(node) {
                Some((module, name)) if is_part(module, name) => self.out.global(module, name),
                _ => return Err(refused(source.symbols, node)),
            },
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
                let key = Key::from_pickle(symbols, *key).ok_or("a reference without a key")?;
                self.write_reference(key, depth)
            }
            (Some((MODULE, "DataNode")), [_, value]) => self.write(source, *value, depth),
            (Some((MODULE, class)), _) => {
                let slots = call.state.and_then(|state| symbols.items(state));
                let slots = slots.filter(|slots| slots.len() == CONTAINER_SLOTS);
                let items = slots.and_then(|slots| symbols.items(slots[ARGS]));
                let items = items.ok_or_else(|| refused(symbols, node))?;
                self.write_container(source, class, items, depth)
            }
            (Some((module, name)), _) => match source.known(node)? {
                Some(Known::Bytes(bytes)) => {
                    self.out.bytes(bytes);
                    Ok(())
                }
                Some(Known::Map(pairs)) => self.write_dict(source, pairs, depth),
                Some(_) => self.write_call_again(source, call, depth),
                None if is_part(module, name) => self.write_call_again(source, call, depth),
                None => Err(refused(symbols, node)),
            },
            _ => Err(refused(symbols, node)),
        }
    }

    /// The call of a class that is known, as it was.
    fn write_call_again(
        &mut self,
        source: Source<'_>,
        call: &Call,
        depth: usize,
    ) -> Result<(), String> {
        let (module, name) = source.symbols.global(call.callable).unwrap_or_default();
        self.out.global(module, name);
        self.write(source, call.args, depth)?;
        match call.named {
            Some(named) => {
                self.write(source, named, depth)?;
                self.out.new_object();
            }
            // What has a state and no arguments is made without its constructor.
            None if call.args == Node::EmptyTuple => self.out.new_plain_object(),
            None => self.out.call(),
        }
        if let Some(state) = call.state {
            self.write(source, state, depth)?;
            self.out.build();
        }
        Ok(())
    }

    fn write_dict(
        &mut self,
        source: Source<'_>,
        pairs: &[(Node, Node)],
        depth: usize,
    ) -> Result<(), String> {
        self.out.begin_dict();
        for (key, value) in pairs {
            self.write(source, *key, depth)?;
            self.write(source, *value, depth)?;
        }
        self.out.end_dict();
        Ok(())
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
        self.write_frames(&object.header, frames.map_err(|error| error.to_string())?, depth)
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
                let buffers = slices(&frames);
                let source = Source { symbols: &symbols, buffers: &buffers };
                self.write(source, symbols.root(), depth)
            }
            "dask" if text(header, "type").is_some_and(is_bytes) => {
                self.out.bytes(&frames.concat());
                Ok(())
            }
            "dask" if text(header, "type") == Some("numpy.ndarray") => {
                self.write_array(header, &frames.concat())
            }
            "msgpack" => {
                let value = decode(&frames.concat()).map_err(|error| error.to_string())?;
                self.write_plain(&value, depth)
            }
            _ => match text(header, "type").and_then(|class| class.rsplit_once('.')) {
                Some((module, name)) => {
                    Err(format!("only Python knows {module}.{name}: {}", advice(module, name)))
                }
                None => Err("a value of a class that only Python knows".into()),
            },
        }
    }

    /// An array of numpy's as Dask has it: its shape in the header, its numbers in frames.
    fn write_array(&mut self, header: &Value, bytes: &[u8]) -> Result<(), String> {
        let header = field(header, "sub-header").unwrap_or(header);
        let numbers =
            |name| list(header, name).iter().map(Value::as_i64).collect::<Option<Vec<_>>>();
        let (shape, strides) = (numbers("shape"), numbers("strides"));
        let (Some(shape), Some(strides)) = (shape, strides) else {
            return Err("a numpy array without a shape".into());
        };
        let dtype = match list(header, "dtype") {
            [custom, dtype] if custom.as_u64() == Some(0) => dtype.as_str(),
            _ => None,
        };
        let dtype = dtype.ok_or("a numpy array of no numbers: send `.tolist()`")?;
        if !field(header, "broadcast_to").is_none_or(Value::is_nil) {
            return Err("a numpy array that repeats itself: send `.copy()`".into());
        }
        let size = dtype.get(2..).and_then(|size| size.parse().ok()).unwrap_or(0);
        let steps = shape.iter().zip(&strides).rev();
        let in_order = steps.scan(size, |next, (length, stride)| {
            let fits = stride == next || *length <= 1;
            *next = next.wrapping_mul(*length);
            Some(fits)
        });
        if !bytes.is_empty() && !in_order.min().unwrap_or(true) {
            return Err(FORTRAN.into());
        }
        self.out.global("numpy", "ndarray");
        self.out.empty_tuple();
        self.out.begin_dict();
        self.out.str("dtype");
        self.out.str(dtype);
        self.out.str("shape");
        self.out.mark();
        shape.iter().for_each(|length| self.out.int((*length).into()));
        self.out.end_tuple();
        self.out.str("buffer");
        self.out.bytearray(bytes);
        self.out.end_dict();
        self.out.new_object();
        Ok(())
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

fn refused(symbols: &Symbols<'_>, node: Node) -> String {
    let callable = symbols.call(node).map_or(node, |call| call.callable);
    match symbols.global(callable) {
        Some((module, name)) => {
            format!("only Python knows {module}.{name}: {}", advice(module, name))
        }
        None => "only Python knows what a value is".into(),
    }
}

#[cfg(test)]
mod tests;
