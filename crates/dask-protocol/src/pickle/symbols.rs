//! What was read of a pickle: values, and the calls that were not made.

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
    pub(super) start: u32,
    pub(super) length: u32,
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
    pub(super) bytes: &'a [u8],
    pub(super) objects: Vec<Object>,
    pub(super) root: Node,
    /// What it cost, in nodes.
    pub(super) cost: usize,
}

impl<'a> Symbols<'a> {
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

/// A signed little-endian number of up to 16 bytes.
pub(crate) fn widen(bytes: &[u8]) -> Option<i128> {
    let negative = bytes.last().is_some_and(|last| last & 0x80 != 0);
    let mut wide = [if negative { 0xff } else { 0 }; 16];
    wide.get_mut(..bytes.len())?.copy_from_slice(bytes);
    Some(i128::from_le_bytes(wide))
}

/// A little-endian number, signed, that is not negative and has up to 128 bits.
pub(crate) fn widen_unsigned(bytes: &[u8]) -> Option<u128> {
    match bytes {
        [low @ .., 0] if low.len() == 16 => Some(u128::from_le_bytes(low.try_into().ok()?)),
        _ => widen(bytes).and_then(|wide| u128::try_from(wide).ok()),
    }
}
