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
use super::symbols::{Call, Node, Object, Span, Symbols, widen};

/// The most that a pickle may cost in memory, in units of a [`Node`].
const MAX_COST: usize = 16 << 20;

/// What an object costs in nodes, beside what it holds.
const OBJECT_COST: usize = 4;

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

#[cfg(test)]
mod tests;
