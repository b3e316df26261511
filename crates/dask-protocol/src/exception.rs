//! Python's exceptions, read without Python: class, message, and where.

use crate::pickle::{Node, Object, Symbols};

/// The longest text of an exception, in bytes: what is longer is cut.
const MAX_TEXT: usize = 32 << 10;

/// The most lines of a traceback, and parts of a message.
const LINES: usize = 200;
const PARTS: usize = 1000;

/// How deep a message's values are shown.
const DEPTH: usize = 8;

/// An exception, as far as it can be told without Python.
///
/// # Examples
///
/// ```
/// use dask_protocol::exception::Exception;
///
/// let pickle = b"\x80\x04\x8c\x08builtins\x8c\nValueError\x93\x8c\x04oops\x85R.";
/// let exception = Exception::read(pickle, None);
/// assert_eq!(exception.class, "ValueError");
/// assert_eq!(exception.message, "oops");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exception {
    /// `ValueError`, or with its module `json.decoder.JSONDecodeError`.
    pub class: String,
    /// What it was raised with, as Python prints it.
    pub message: String,
    /// Where it was raised, outermost first: `file:line: function`. Empty where it
    /// is not known.
    pub traceback: Vec<String>,
}

impl Exception {
    /// Reads an exception from its pickle and that of its traceback. Texts are cut at
    /// 32 KiB, tracebacks after 200 lines.
    pub fn read(exception: &[u8], traceback: Option<&[u8]>) -> Self {
        let mut read = match Symbols::read(exception, 0) {
            Ok(symbols) => exception_of(&symbols),
            Err(error) => Self { message: error.to_string(), ..Self::default() },
        };
        if let Some(symbols) = traceback.and_then(|bytes| Symbols::read(bytes, 0).ok()) {
            read.traceback = lines(&symbols);
        }
        read
    }
}

/// The arguments of an exception, of whatever form it was pickled in.
pub fn args<'a>(symbols: &'a Symbols<'_>) -> &'a [Node] {
    let args = parts(symbols).map(|(_, args)| args);
    args.and_then(|args| symbols.items(args)).unwrap_or_default()
}

/// The text, or its beginning.
fn cut(text: &str) -> String {
    let mut end = text.len().min(MAX_TEXT);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

fn exception_of(symbols: &Symbols<'_>) -> Exception {
    let Some((class, args)) = parts(symbols) else {
        let message = shown(symbols, symbols.root());
        return Exception { message, ..Exception::default() };
    };
    let class = match symbols.global(class) {
        Some(("builtins", name)) => name.to_owned(),
        Some((module, name)) => format!("{module}.{name}"),
        None => "an exception".to_owned(),
    };
    // As Python prints it: one argument alone, several as a tuple.
    let message = match symbols.items(args) {
        Some([]) => String::new(),
        Some([one]) => match symbols.str(*one) {
            Some(text) => cut(text),
            None => shown(symbols, *one),
        },
        _ => shown(symbols, args),
    };
    Exception { class, message, traceback: Vec::new() }
}

/// Class and arguments, in the three forms that workers write.
fn parts(symbols: &Symbols<'_>) -> Option<(Node, Node)> {
    let call = symbols.call(symbols.root())?;
    let outer = symbols.items(call.args);
    match symbols.global(call.callable) {
        Some(("tblib.pickling_support", name)) if name.starts_with("unpickle_exception") => {
            let [class, args, ..] = *outer? else { return None };
            // In the form with attributes, the arguments are one of them.
            Some((class, symbols.entry(args, "args").unwrap_or(args)))
        }
        Some(_) => Some((call.callable, call.args)),
        None => None,
    }
}

/// The lines of a traceback, outermost first.
fn lines(symbols: &Symbols<'_>) -> Vec<String> {
    let mut lines = Vec::new();
    if let Some(text) = symbols.str(symbols.root()) {
        lines.extend(text.lines().take(LINES).map(cut));
        return lines;
    }
    let mut next = symbols.root();
    while lines.len() < LINES {
        let Some(call) = symbols.call(next) else { break };
        // The first is a call, the ones in it are objects with a state.
        let (frame, line) = match (call.state, symbols.items(call.args)) {
            (Some(state), _) => {
                let entry = |name| symbols.entry(state, name);
                next = entry("tb_next").unwrap_or(Node::None);
                (entry("tb_frame"), entry("tb_lineno"))
            }
            (None, Some([frame, line, rest])) => {
                next = *rest;
                (Some(*frame), Some(*line))
            }
            _ => break,
        };
        lines.push(place(symbols, frame, line));
    }
    lines
}

fn place(symbols: &Symbols<'_>, frame: Option<Node>, line: Option<Node>) -> String {
    let state = |node: Node| symbols.call(node).and_then(|call| call.state);
    let code = frame.and_then(state).and_then(|frame| symbols.entry(frame, "f_code"));
    let code = code.and_then(state);
    let text = |name| code.and_then(|code| symbols.str(symbols.entry(code, name)?)).unwrap_or("?");
    let line = match line {
        Some(Node::Int(line)) => line,
        _ => 0,
    };
    cut(&format!("{}:{line}: {}", text("co_filename"), text("co_name")))
}

/// A value about as Python shows it.
fn shown(symbols: &Symbols<'_>, node: Node) -> String {
    let mut out = String::new();
    let mut parts = PARTS;
    show(symbols, node, DEPTH, &mut parts, &mut out);
    cut(&out)
}

fn show(symbols: &Symbols<'_>, node: Node, depth: usize, parts: &mut usize, out: &mut String) {
    let (Some(left), Some(depth)) = (parts.checked_sub(1), depth.checked_sub(1)) else {
        return out.push('…');
    };
    *parts = left;
    let mut many = |nodes: &[Node], open: char, close: char, out: &mut String| {
        out.push(open);
        for (place, node) in nodes.iter().enumerate() {
            if place > 0 {
                out.push_str(", ");
            }
            if out.len() > MAX_TEXT || *parts == 0 {
                out.push('…');
                break;
            }
            show(symbols, *node, depth, parts, out);
        }
        out.push(close);
    };
    match node {
        Node::None => out.push_str("None"),
        Node::Bool(true) => out.push_str("True"),
        Node::Bool(false) => out.push_str("False"),
        Node::Int(int) => out.push_str(&format!("{int}")),
        Node::Float(float) => out.push_str(&format!("{float:?}")),
        Node::Long(_) => out.push_str("<a large int>"),
        Node::Str(_) => {
            out.push_str(&format!("'{}'", cut(symbols.str(node).unwrap_or_default())));
        }
        Node::Bytes(_) | Node::Buffer(_) => out.push_str("<bytes>"),
        Node::EmptyTuple => out.push_str("()"),
        Node::Object(index) => match symbols.object(index) {
            Object::List(items) => many(items, '[', ']', out),
            Object::Tuple(items) => many(items, '(', ')', out),
            Object::Set(items) => many(items, '{', '}', out),
            Object::Dict(pairs) => {
                let flat: Vec<Node> = pairs.iter().map(|(key, _)| *key).collect();
                many(&flat, '{', '}', out);
            }
            Object::Global { .. } | Object::Call(_) => {
                let callable = symbols.call(node).map_or(node, |call| call.callable);
                let (module, name) = symbols.global(callable).unwrap_or(("", "object"));
                out.push_str(&format!("<{module}.{name}>"));
            }
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// An exception with a note, as a native worker raises it: the specification,
    /// 9.4.
    #[test]
    fn a_plain_exception_has_class_and_message() {
        let pickle = b"\x80\x04\x8c\x08builtins\x8c\nValueError\x93\x8c\x04oops\x85R\
            }(\x8c\t__notes__](\x8c\x04noteeub.";
        let exception = Exception::read(pickle, None);
        assert_eq!((exception.class.as_str(), exception.message.as_str()), ("ValueError", "oops"));
    }

    #[test]
    fn several_arguments_are_shown_as_a_tuple() {
        let pickle = b"\x80\x04\x8c\x03mod\x8c\x05MyErr\x93K\x07\x8c\x01x\x86R.";
        let exception = Exception::read(pickle, Some(b"\x80\x04N."));
        assert_eq!(exception.class, "mod.MyErr");
        assert_eq!(exception.message, "(7, 'x')");
        assert!(exception.traceback.is_empty());
    }

    #[test]
    fn a_message_that_holds_itself_is_cut() {
        let exception = Exception::read(b"\x80\x04cbuiltins\nE\n]\x94h\0a\x85R.", None);
        assert!(exception.message.starts_with("[[[[[[[[…]]"), "{}", exception.message);
    }

    proptest! {
        #[test]
        fn nonsense_never_panics(
            bytes in prop::collection::vec(any::<u8>(), 0..100),
            code in prop::collection::vec(
                prop::sample::select(&b".NK\x01(t])}u\x85\x86\x93Rb\x94h\0cm\n"[..]), 0..100),
        ) {
            Exception::read(&bytes, Some(&bytes));
            Exception::read(&code, Some(&code));
        }
    }
}
