//! Reads pickles without ever importing or calling: what a pickle would call
//! stays a symbol.
//!
//! Understood is what CPython writes with protocols 2 to 5 ([`opcodes`]); all
//! else is an error. Bounded is what a pickle can cost: memory in proportion to
//! its own length and at most [`MAX_COST`]; nothing recurses here, so depth is a
//! matter of whoever walks through the result.
//!
//! [`opcodes`]: https://docs.python.org/3/library/pickletools.html

use super::PickleError;

/// The most that a pickle may cost in memory, in units of a [`Node`].
const MAX_COST: usize = 16 << 20;

/// What an object costs in nodes, beside what it holds.
const OBJECT_COST: usize = 4;

/// A value of a pickle; what it holds is looked up in its [`Symbols`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Node {
    /// Python's `None`.
    None,
    /// `True` or `False`.
    Bool(bool),
    /// An integer of up to 64 bits, signed.
    Int(i64),
    /// An integer beyond 64 bits, signed, little endian: where its bytes are.
    Long(Span),
    /// A float.
    Float(f64),
    /// Text, which is UTF-8.
    Str(Span),
    /// Bytes.
    Bytes(Span),
    /// Bytes that were sent beside the pickle: the number of the buffer.
    Buffer(u32),
    /// A tuple of nothing.
    EmptyTuple,
    /// Something that holds others: see [`Symbols::object`].
    Object(u32),
}

/// Where in a pickle something is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    start: u32,
    length: u32,
}

/// Something that holds others, and may be held by several.
#[derive(Clone, Debug, PartialEq)]
pub enum Object {
    /// A list.
    List(Vec<Node>),
    /// A tuple that is not empty.
    Tuple(Vec<Node>),
    /// A set or frozen set.
    Set(Vec<Node>),
    /// A dict, in the order of its items.
    Dict(Vec<(Node, Node)>),
    /// A class or function by its import path.
    Global {
        /// The module: text, if it is a name.
        module: Node,
        /// The name in it: text, if it is a name.
        name: Node,
    },
    /// What a call would give.
    Call(Box<Call>),
}

/// A call that was not made, and what would have been done with its result.
#[derive(Clone, Debug, PartialEq)]
pub struct Call {
    /// What is called.
    pub callable: Node,
    /// A tuple of its arguments.
    pub args: Node,
    /// Of the form with named arguments.
    pub named: Option<Node>,
    /// What the object would be set up with.
    pub state: Option<Node>,
    /// What would be appended.
    pub items: Vec<Node>,
    /// What would be set.
    pub pairs: Vec<(Node, Node)>,
}

/// A pickle, read.
///
/// A [`Node`] belongs to the pickle that it was found in; one of another gives
/// nonsense, or panics.
///
/// # Examples
///
/// ```
/// use dask_protocol::pickle::Symbols;
///
/// // What Python's `operator.attrgetter("a.b")` is.
/// let pickle = b"\x80\x04\x8c\x08operator\x8c\nattrgetter\x93\x8c\x03a.b\x85R.";
/// let symbols = Symbols::read(pickle, 0)?;
/// let call = symbols.call(symbols.root()).expect("a call");
/// assert_eq!(symbols.global(call.callable), Some(("operator", "attrgetter")));
/// let args = symbols.items(call.args).expect("a tuple");
/// assert_eq!(symbols.str(args[0]), Some("a.b"));
/// # Ok::<(), dask_protocol::pickle::PickleError>(())
/// ```
#[derive(Debug)]
pub struct Symbols<'a> {
    bytes: &'a [u8],
    objects: Vec<Object>,
    root: Node,
    /// What it cost, in nodes.
    cost: usize,
}

impl<'a> Symbols<'a> {
    /// Reads a pickle that takes up to all of the bytes. Beside it `buffers`
    /// were sent.
    ///
    /// # Errors
    ///
    /// If it is broken, has an opcode that CPython does not write today, or would cost
    /// too much memory.
    pub fn read(bytes: &'a [u8], buffers: usize) -> Result<Self, PickleError> {
        if u32::try_from(bytes.len()).is_err() {
            return Err(PickleError::TooLarge);
        }
        let mut machine = Machine {
            bytes,
            at: 0,
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
            objects: Vec::new(),
            buffers,
            next_buffer: 0,
            cost: 0,
        };
        while !machine.step()? {}
        let root = machine.pop()?;
        Ok(Self { bytes, objects: machine.objects, root, cost: machine.cost })
    }

    /// What the pickle stands for.
    pub fn root(&self) -> Node {
        self.root
    }

    /// What it costs in memory, in nodes.
    pub(crate) fn cost(&self) -> usize {
        self.cost
    }

    /// How many bytes the pickle may have.
    pub(crate) fn length(&self) -> usize {
        self.bytes.len()
    }

    /// The object that a [`Node::Object`] stands for.
    pub fn object(&self, index: u32) -> &Object {
        &self.objects[index as usize]
    }

    /// The bytes of a span that a node of this pickle has.
    pub fn span(&self, span: Span) -> &'a [u8] {
        &self.bytes[span.start as usize..][..span.length as usize]
    }

    /// The text that a node is.
    pub fn str(&self, node: Node) -> Option<&'a str> {
        match node {
            Node::Str(span) => std::str::from_utf8(self.span(span)).ok(),
            _ => None,
        }
    }

    /// The items of a tuple or list.
    pub fn items(&self, node: Node) -> Option<&[Node]> {
        match node {
            Node::EmptyTuple => Some(&[]),
            Node::Object(index) => match self.object(index) {
                Object::Tuple(items) | Object::List(items) => Some(items),
                _ => None,
            },
            _ => None,
        }
    }

    /// The call that a node stands for.
    pub fn call(&self, node: Node) -> Option<&Call> {
        match node {
            Node::Object(index) => match self.object(index) {
                Object::Call(call) => Some(call),
                _ => None,
            },
            _ => None,
        }
    }

    /// Module and name of the class or function that a node is.
    pub fn global(&self, node: Node) -> Option<(&'a str, &'a str)> {
        match node {
            Node::Object(index) => match self.object(index) {
                Object::Global { module, name } => Some((self.str(*module)?, self.str(*name)?)),
                _ => None,
            },
            _ => None,
        }
    }

    /// The name of the class of a value, where it is one that literals have.
    pub fn type_name(&self, node: Node) -> Option<&'static str> {
        Some(match node {
            Node::None => "NoneType",
            Node::Bool(_) => "bool",
            Node::Int(_) | Node::Long(_) => "int",
            Node::Float(_) => "float",
            Node::Str(_) => "str",
            Node::Bytes(_) | Node::Buffer(_) => "bytes",
            Node::EmptyTuple => "tuple",
            Node::Object(index) => match self.object(index) {
                Object::List(_) => "list",
                Object::Tuple(_) => "tuple",
                Object::Set(_) => "set",
                Object::Dict(_) => "dict",
                Object::Global { .. } | Object::Call(_) => return None,
            },
        })
    }

    /// What a dict has under a name.
    pub fn entry(&self, node: Node, name: &str) -> Option<Node> {
        let Node::Object(index) = node else { return None };
        let Object::Dict(pairs) = self.object(index) else { return None };
        pairs.iter().find(|(key, _)| self.str(*key) == Some(name)).map(|(_, value)| *value)
    }
}

/// The stack machine that a pickle is a program for.
struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    stack: Vec<Node>,
    /// Where in the stack the marks are.
    marks: Vec<usize>,
    memo: Vec<Option<Node>>,
    objects: Vec<Object>,
    buffers: usize,
    next_buffer: u32,
    cost: usize,
}

impl Machine<'_> {
    /// Executes one opcode; true if it was the last.
    fn step(&mut self) -> Result<bool, PickleError> {
        let [code] = self.take()?;
        match code {
            b'.' => return Ok(true),
            0x80 => drop(self.take::<1>()?),
            0x95 => drop(self.take::<8>()?),
            b'N' => self.push(Node::None)?,
            0x88 => self.push(Node::Bool(true))?,
            0x89 => self.push(Node::Bool(false))?,
            b'K' | b'M' | b'J' | 0x8a | 0x8b => self.int(code)?,
            b'G' => {
                let float = f64::from_be_bytes(self.take()?);
                self.push(Node::Float(float))?;
            }
            0x8c | b'X' | 0x8d | b'C' | b'B' | 0x8e | 0x96 => self.sized(code)?,
            0x97 => self.buffer()?,
            // Whether a buffer can be written to is nothing to a reader.
            0x98 => {}
            b'(' => self.mark()?,
            b'0' => self.drop_last()?,
            b'1' => drop(self.pop_mark()?),
            b'2' => {
                let top = self.top()?;
                self.push(top)?;
            }
            b')' => self.push(Node::EmptyTuple)?,
            b't' | 0x85 | 0x86 | 0x87 => self.tuple(code)?,
            b']' => self.push_object(Object::List(Vec::new()))?,
            b'}' => self.push_object(Object::Dict(Vec::new()))?,
            0x8f => self.push_object(Object::Set(Vec::new()))?,
            0x91 => {
                let items = self.pop_mark()?;
                self.push_object(Object::Set(items))?;
            }
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' | 0x90 => {
                let items = self.pop_mark()?;
                self.append(items)?;
            }
            b's' => {
                let (value, key) = (self.pop()?, self.pop()?);
                self.set_items(&[key, value])?;
            }
            b'u' => {
                let items = self.pop_mark()?;
                self.set_items(&items)?;
            }
            0x94 | b'q' | b'r' => self.memoize(code)?,
            b'h' | b'j' => self.recall(code)?,
            0x93 => {
                let (name, module) = (self.pop()?, self.pop()?);
                self.push_object(Object::Global { module, name })?;
            }
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.push_object(Object::Global { module, name })?;
            }
            b'R' | 0x81 => self.call(None)?,
            0x92 => {
                let named = self.pop()?;
                self.call(Some(named))?;
            }
            b'b' => self.build()?,
            _ => return Err(PickleError::Opcode(code)),
        }
        Ok(false)
    }

    fn broken(&self) -> PickleError {
        PickleError::Broken(self.at)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], PickleError> {
        let bytes = *self.bytes[self.at..].first_chunk::<N>().ok_or(self.broken())?;
        self.at += N;
        Ok(bytes)
    }

    fn take_span(&mut self, length: u64) -> Result<Span, PickleError> {
        let rest = self.bytes.len() - self.at;
        if length > rest as u64 {
            return Err(self.broken());
        }
        let span = Span { start: self.at as u32, length: length as u32 };
        self.at += length as usize;
        Ok(span)
    }

    /// A line of text, as the oldest form of a global has two of.
    fn line(&mut self) -> Result<Node, PickleError> {
        let rest = &self.bytes[self.at..];
        let length = rest.iter().position(|byte| *byte == b'\n').ok_or(self.broken())?;
        let span = self.take_span(length as u64)?;
        self.at += 1;
        self.text(span)
    }

    fn text(&self, span: Span) -> Result<Node, PickleError> {
        let bytes = &self.bytes[span.start as usize..][..span.length as usize];
        // Lone surrogates, which Python can write, are no text here.
        std::str::from_utf8(bytes).map_err(|_| self.broken())?;
        Ok(Node::Str(span))
    }

    fn spend(&mut self, nodes: usize) -> Result<(), PickleError> {
        self.cost += nodes;
        if self.cost > MAX_COST { Err(PickleError::TooLarge) } else { Ok(()) }
    }

    fn push(&mut self, node: Node) -> Result<(), PickleError> {
        self.spend(1)?;
        self.stack.push(node);
        Ok(())
    }

    fn push_object(&mut self, object: Object) -> Result<(), PickleError> {
        self.spend(OBJECT_COST)?;
        let index = u32::try_from(self.objects.len()).map_err(|_| PickleError::TooLarge)?;
        self.objects.push(object);
        self.push(Node::Object(index))
    }

    /// The lowest place that may be popped: nothing below the last mark.
    fn floor(&self) -> usize {
        self.marks.last().copied().unwrap_or(0)
    }

    fn pop(&mut self) -> Result<Node, PickleError> {
        if self.stack.len() <= self.floor() {
            return Err(self.broken());
        }
        self.stack.pop().ok_or(self.broken())
    }

    fn top(&self) -> Result<Node, PickleError> {
        let above = &self.stack[self.floor()..];
        above.last().copied().ok_or(self.broken())
    }

    fn mark(&mut self) -> Result<(), PickleError> {
        self.spend(1)?;
        self.marks.push(self.stack.len());
        Ok(())
    }

    fn pop_mark(&mut self) -> Result<Vec<Node>, PickleError> {
        let mark = self.marks.pop().ok_or(self.broken())?;
        Ok(self.stack.split_off(mark))
    }

    /// Pops a value, or a mark with nothing above it.
    fn drop_last(&mut self) -> Result<(), PickleError> {
        if self.marks.last() == Some(&self.stack.len()) {
            self.marks.pop();
            return Ok(());
        }
        self.pop().map(drop)
    }

    fn int(&mut self, code: u8) -> Result<(), PickleError> {
        let node = match code {
            b'K' => Node::Int(u8::from_le_bytes(self.take()?).into()),
            b'M' => Node::Int(u16::from_le_bytes(self.take()?).into()),
            b'J' => Node::Int(i32::from_le_bytes(self.take()?).into()),
            _ => {
                let length = match code {
                    0x8a => u8::from_le_bytes(self.take()?).into(),
                    _ => u32::from_le_bytes(self.take()?),
                };
                let span = self.take_span(length.into())?;
                self.long(span)
            }
        };
        self.push(node)
    }

    fn long(&self, span: Span) -> Node {
        let bytes = &self.bytes[span.start as usize..][..span.length as usize];
        match widen(bytes).and_then(|wide: i128| i64::try_from(wide).ok()) {
            Some(int) => Node::Int(int),
            None => Node::Long(span),
        }
    }

    fn sized(&mut self, code: u8) -> Result<(), PickleError> {
        let length = match code {
            0x8c | b'C' => u8::from_le_bytes(self.take()?).into(),
            b'X' | b'B' => u32::from_le_bytes(self.take()?).into(),
            _ => u64::from_le_bytes(self.take()?),
        };
        let span = self.take_span(length)?;
        let node = match code {
            0x8c | b'X' | 0x8d => self.text(span)?,
            _ => Node::Bytes(span),
        };
        self.push(node)
    }

    fn buffer(&mut self) -> Result<(), PickleError> {
        let next = self.next_buffer;
        if next as usize >= self.buffers {
            return Err(self.broken());
        }
        self.next_buffer += 1;
        self.push(Node::Buffer(next))
    }

    fn tuple(&mut self, code: u8) -> Result<(), PickleError> {
        let items = if code == b't' {
            self.pop_mark()?
        } else {
            let first = self.stack.len().checked_sub(usize::from(code - 0x84));
            let first = first.filter(|first| *first >= self.floor()).ok_or(self.broken())?;
            self.stack.split_off(first)
        };
        match items.is_empty() {
            true => self.push(Node::EmptyTuple),
            false => self.push_object(Object::Tuple(items)),
        }
    }

    fn top_object(&mut self) -> Result<&mut Object, PickleError> {
        let broken = self.broken();
        match self.top()? {
            Node::Object(index) => self.objects.get_mut(index as usize).ok_or(broken),
            _ => Err(broken),
        }
    }

    fn append(&mut self, mut more: Vec<Node>) -> Result<(), PickleError> {
        self.spend(more.len())?;
        let broken = self.broken();
        match self.top_object()? {
            Object::List(items) | Object::Set(items) => items.append(&mut more),
            Object::Call(call) => call.items.append(&mut more),
            _ => return Err(broken),
        }
        Ok(())
    }

    fn set_items(&mut self, items: &[Node]) -> Result<(), PickleError> {
        self.spend(items.len())?;
        let broken = self.broken();
        let (chunks, []) = items.as_chunks::<2>() else { return Err(broken) };
        let more = chunks.iter().map(|[key, value]| (*key, *value));
        match self.top_object()? {
            Object::Dict(pairs) => pairs.extend(more),
            Object::Call(call) => call.pairs.extend(more),
            _ => return Err(broken),
        }
        Ok(())
    }

    fn memoize(&mut self, code: u8) -> Result<(), PickleError> {
        let at = match code {
            0x94 => self.memo.len(),
            b'q' => usize::from(u8::from_le_bytes(self.take()?)),
            _ => u32::from_le_bytes(self.take()?) as usize,
        };
        let top = self.top()?;
        if at >= self.memo.len() {
            // A gap costs as much as what is in it.
            self.spend(at + 1 - self.memo.len())?;
            self.memo.resize(at + 1, None);
        }
        self.memo[at] = Some(top);
        Ok(())
    }

    fn recall(&mut self, code: u8) -> Result<(), PickleError> {
        let at = match code {
            b'h' => usize::from(u8::from_le_bytes(self.take()?)),
            _ => u32::from_le_bytes(self.take()?) as usize,
        };
        let node = self.memo.get(at).copied().flatten().ok_or(self.broken())?;
        self.push(node)
    }

    fn call(&mut self, named: Option<Node>) -> Result<(), PickleError> {
        let (args, callable) = (self.pop()?, self.pop()?);
        self.spend(2 * OBJECT_COST)?;
        let (items, pairs) = (Vec::new(), Vec::new());
        let call = Call { callable, args, named, state: None, items, pairs };
        self.push_object(Object::Call(Box::new(call)))
    }

    fn build(&mut self) -> Result<(), PickleError> {
        let state = self.pop()?;
        let broken = self.broken();
        match self.top_object()? {
            Object::Call(call) => call.state = Some(state),
            _ => return Err(broken),
        }
        Ok(())
    }
}

/// A signed little-endian number of up to 16 bytes.
pub(crate) fn widen(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i128::from_le_bytes(wide))
}

#[cfg(test)]
mod tests;
