//! What a task asks for, as schedulers write it in a pickle.
//!
//! A node of a graph is an object of one of Dask's classes, with its slots in a tuple
//! or a list, in their order. Nothing says which they are: only their number tells a
//! layout that is known.

use std::fmt;

use crate::key::Key;
use crate::pickle::{Call, Node, Object, Symbols};

/// Where the parts of a graph are defined.
pub(crate) const MODULE: &str = "dask._task_spec";

/// How many slots a container of a graph has.
pub(crate) const CONTAINER_SLOTS: usize = 11;

/// Where tasks and containers have their arguments.
pub(crate) const ARGS: usize = 5;

/// The slots of a task.
const TASK_SLOTS: usize = 9;
const FUNCTION: usize = 6;
const NAMED: usize = 8;

/// A node of a graph, at the root of a pickle.
///
/// # Examples
///
/// ```
/// use dask_protocol::pickle::Symbols;
/// use dask_protocol::run_spec::RunSpec;
///
/// let alias = b"\x80\x04\x8c\x0fdask._task_spec\x8c\x05Alias\x93\x8c\x01a\x8c\x01b\x86R.";
/// let symbols = Symbols::read(alias, 0)?;
/// assert_eq!(RunSpec::read(&symbols)?, RunSpec::Alias("b".into()));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug, PartialEq)]
pub enum RunSpec<'a> {
    /// A call.
    Call {
        /// What is called.
        function: Function<'a>,
        /// Its arguments, but for those that are given by name.
        args: &'a [Node],
        /// Those that are.
        named: &'a [(Node, Node)],
    },
    /// Another name for what a task gave.
    Alias(Key),
    /// Data, with references to others perhaps.
    Value,
}

/// What a task calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Function<'a> {
    /// `operator.attrgetter(path)`: text of which Python makes a function without
    /// importing anything.
    Attribute(&'a str),
    /// A function or class, by its import path.
    Global {
        /// The module.
        module: &'a str,
        /// The name in it.
        name: &'a str,
    },
    /// Something else that Python can call.
    Other,
}

/// Why a pickle is no task that can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTask {
    /// A task whose slots are others than those that are known.
    Layout,
    /// No node of a graph.
    Other,
}

impl fmt::Display for NoTask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Layout => "a task of an unknown layout",
            Self::Other => "something that is no task",
        })
    }
}

impl std::error::Error for NoTask {}

impl<'a> RunSpec<'a> {
    /// Reads the root of a pickle.
    ///
    /// # Errors
    ///
    /// If it is no node of a graph, or one of an unknown layout.
    pub fn read(symbols: &'a Symbols<'_>) -> Result<Self, NoTask> {
        let (class, call) = class(symbols, symbols.root()).ok_or(NoTask::Other)?;
        match (class, symbols.items(call.args)) {
            ("Task", _) => Self::task(symbols, call).ok_or(NoTask::Layout),
            ("Alias", Some([_, target])) => {
                Key::from_pickle(symbols, *target).map(Self::Alias).ok_or(NoTask::Layout)
            }
            _ => Ok(Self::Value),
        }
    }

    fn task(symbols: &'a Symbols<'_>, call: &Call) -> Option<Self> {
        let slots = symbols.items(call.state?).filter(|slots| slots.len() == TASK_SLOTS)?;
        let named = match slots[NAMED] {
            Node::Object(index) => match symbols.object(index) {
                Object::Dict(pairs) => &pairs[..],
                _ => &[],
            },
            _ => &[],
        };
        let args = symbols.items(slots[ARGS])?;
        Some(Self::Call { function: Function::read(symbols, slots[FUNCTION]), args, named })
    }
}

impl<'a> Function<'a> {
    fn read(symbols: &'a Symbols<'_>, node: Node) -> Self {
        if let Some((module, name)) = symbols.global(node) {
            return Self::Global { module, name };
        }
        let Some(call) = symbols.call(node) else { return Self::Other };
        match (symbols.global(call.callable), symbols.items(call.args)) {
            (Some(("operator" | "_operator", "attrgetter")), Some([path])) => {
                symbols.str(*path).map_or(Self::Other, Self::Attribute)
            }
            _ => Self::Other,
        }
    }
}

/// The key that an argument refers to, if it is a reference and nothing else.
pub fn reference(symbols: &Symbols<'_>, node: Node) -> Option<Key> {
    let (class, call) = class(symbols, node)?;
    // Older releases make an alias of it, whose last part is what it stands for.
    let [.., key] = symbols.items(call.args)? else { return None };
    Key::from_pickle(symbols, *key).filter(|_| matches!(class, "TaskRef" | "Alias"))
}

/// The class of a node of a graph.
fn class<'a>(symbols: &'a Symbols<'_>, node: Node) -> Option<(&'a str, &'a Call)> {
    let call = symbols.call(node)?;
    match symbols.global(call.callable)? {
        (MODULE, class) => Some((class, call)),
        _ => None,
    }
}
