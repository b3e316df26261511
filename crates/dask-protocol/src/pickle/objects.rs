//! Objects of Python's library and of numpy that are values of Rust as well.
//!
//! They are known by the names of their classes, and never imported or called.

use super::array::Array;
use super::symbols::widen_unsigned;
use super::{Call, Node, Object, Symbols};

/// What an object is, in Rust's terms.
#[derive(Debug)]
pub(crate) enum Known<'a> {
    Bytes(&'a [u8]),
    /// As chrono, uuid, `rust_decimal` and others read it.
    Text(String),
    /// Whole seconds, rounded down, and nanoseconds.
    Time(i64, u32),
    Range {
        start: i64,
        stop: i64,
        step: i64,
    },
    Complex(f64, f64),
    /// Numbers; one, if it has no dimension.
    Array(Array<'a>),
    Map(&'a [(Node, Node)]),
    /// A `Some` that holds what Python has only one `None` for.
    Some(Node),
}

/// A pickle and the buffers beside it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Source<'a> {
    pub(crate) symbols: &'a Symbols<'a>,
    pub(crate) buffers: &'a [&'a [u8]],
}

/// The class by which `Some(None)` is told from `None`, and its field.
pub(super) const SOME_CLASS: (&str, &str) = ("types", "SimpleNamespace");
pub(super) const SOME: &str = "Some";

/// Whether this is a class that stands inside of what an object is made of.
#[cfg(feature = "wire")]
pub(crate) fn is_part(module: &str, name: &str) -> bool {
    matches!(
        (module, name),
        ("numpy", "ndarray" | "dtype") | ("array", "array") | ("datetime", "timezone")
    )
}

impl<'a> Source<'a> {
    /// What a call would give; `None` if it is not known, or no call.
    ///
    /// # Errors
    ///
    /// A line, if it is known and has no value in Rust.
    pub(crate) fn known(self, node: Node) -> Result<Option<Known<'a>>, String> {
        let Some(call) = self.symbols.call(node) else { return Ok(None) };
        let Some((module, name)) = self.symbols.global(call.callable) else { return Ok(None) };
        let args = self.symbols.items(call.args).unwrap_or_default();
        let found = match (module, name) {
            ("builtins", "bytes" | "bytearray") => self.wrapped(args).map(Known::Bytes),
            ("builtins", "range") => self.range(args),
            ("builtins", "complex") => match *args {
                [re, im] => {
                    self.float(re).zip(self.float(im)).map(|(re, im)| Known::Complex(re, im))
                }
                _ => None,
            },
            ("decimal", "Decimal") => match *args {
                [text] => self.symbols.str(text).map(|text| Known::Text(text.to_owned())),
                _ => None,
            },
            ("uuid", "UUID") => self.uuid(call).map(Known::Text),
            ("datetime", _) => return self.time(name, args),
            ("collections", _) => self.map(name, call, args),
            ("array", "_array_reconstructor") => return self.machine_array(args),
            ("numpy", _) | ("numpy.core.multiarray" | "numpy._core.multiarray", _) => {
                return self.numpy(name, call, args);
            }
            ("numpy.core.numeric" | "numpy._core.numeric", "_frombuffer") => {
                return self.made_from_buffer(args);
            }
            SOME_CLASS => self.some(call).map(Known::Some),
            _ => None,
        };
        Ok(found)
    }

    /// What a node is that is bytes, here or beside the pickle.
    pub(crate) fn bytes(self, node: Node) -> Option<&'a [u8]> {
        match node {
            Node::Bytes(span) => Some(self.symbols.span(span)),
            Node::Buffer(index) => self.buffers.get(index as usize).copied(),
            _ => None,
        }
    }

    /// The bytes that an object is made of: those, or a `bytearray` of them.
    fn held_bytes(self, node: Node) -> Option<&'a [u8]> {
        self.bytes(node).or_else(|| match self.known(node) {
            Ok(Some(Known::Bytes(bytes))) => Some(bytes),
            _ => None,
        })
    }

    fn wrapped(self, args: &[Node]) -> Option<&'a [u8]> {
        match *args {
            [] => Some(&[]),
            [one] => self.bytes(one),
            _ => None,
        }
    }

    fn int(self, node: Node) -> Option<i64> {
        match node {
            Node::Int(value) => Some(value),
            _ => None,
        }
    }

    fn float(self, node: Node) -> Option<f64> {
        match node {
            Node::Float(value) => Some(value),
            _ => None,
        }
    }

    fn range(self, args: &[Node]) -> Option<Known<'a>> {
        let [start, stop, step] = *args else { return None };
        let (start, stop, step) = (self.int(start)?, self.int(stop)?, self.int(step)?);
        (step != 0).then_some(Known::Range { start, stop, step })
    }

    fn uuid(self, call: &Call) -> Option<String> {
        let number = match self.symbols.entry(call.state?, "int")? {
            Node::Int(small) => u128::try_from(small).ok()?,
            Node::Long(span) => widen_unsigned(self.symbols.span(span))?,
            _ => return None,
        };
        let hex = format!("{number:032x}");
        let parts = [&hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]];
        Some(parts.join("-"))
    }

    fn map(self, name: &str, call: &'a Call, args: &[Node]) -> Option<Known<'a>> {
        match (name, args) {
            ("OrderedDict" | "defaultdict", _) if call.state.is_none() => {
                Some(Known::Map(&call.pairs))
            }
            ("Counter", [Node::Object(index)]) => match self.symbols.object(*index) {
                Object::Dict(pairs) => Some(Known::Map(pairs)),
                _ => None,
            },
            _ => None,
        }
    }

    fn some(self, call: &Call) -> Option<Node> {
        let Node::Object(index) = call.state? else { return None };
        match self.symbols.object(index) {
            Object::Dict(pairs) if pairs.len() == 1 => self.symbols.entry(call.state?, SOME),
            _ => None,
        }
    }

    fn time(self, name: &str, args: &[Node]) -> Result<Option<Known<'a>>, String> {
        let first = args.first().and_then(|first| self.bytes(*first)).unwrap_or_default();
        let text = match (name, first, args) {
            ("date", &[high, low, month, day], [_]) => date(high, low, month, day),
            ("datetime", &[high, low, month, day, ref clock @ ..], [_, zone @ ..]) => {
                // The highest bit of the month tells the second of two equal hours.
                let date = date(high, low, month & 0x7f, day);
                match clock_of(clock) {
                    Some(clock) => format!("{date}T{clock}{}", self.zone(zone)?),
                    None => return Ok(None),
                }
            }
            ("time", clock, [_, zone @ ..]) => match (clock_of(clock), zone) {
                (Some(_), [_, ..]) => {
                    return Err("a datetime.time with a time zone: send a datetime.datetime".into());
                }
                (Some(clock), []) => clock,
                (None, _) => return Ok(None),
            },
            ("timedelta", _, &[days, seconds, micros]) => {
                return Ok(self.elapsed(days, seconds, micros));
            }
            _ => return Ok(None),
        };
        Ok(Some(Known::Text(text)))
    }

    fn elapsed(self, days: Node, seconds: Node, micros: Node) -> Option<Known<'a>> {
        let seconds = self.int(days)?.checked_mul(86_400)?.checked_add(self.int(seconds)?)?;
        let micros = u32::try_from(self.int(micros)?).ok().filter(|micros| *micros < 1_000_000)?;
        Some(Known::Time(seconds, micros * 1000))
    }

    /// A time zone as it is written behind a time.
    fn zone(self, zone: &[Node]) -> Result<String, String> {
        let [zone] = *zone else { return Ok(String::new()) };
        if zone == Node::None {
            return Ok(String::new());
        }
        let call = self.symbols.call(zone);
        let class = call.and_then(|call| self.symbols.global(call.callable));
        let args = call.and_then(|call| self.symbols.items(call.args)).unwrap_or_default();
        let offset = match (class, args) {
            (Some(("datetime", "timezone")), [offset, ..]) => match self.known(*offset)? {
                Some(Known::Time(seconds, 0)) if seconds % 60 == 0 => Some(seconds / 60),
                _ => None,
            },
            (Some(("pytz", "_UTC")), _) => Some(0),
            _ => None,
        };
        let minutes = offset.ok_or(
            "a datetime.datetime with a named time zone: send `.astimezone(datetime.timezone.utc)`",
        )?;
        let sign = if minutes < 0 { '-' } else { '+' };
        let minutes = minutes.unsigned_abs();
        Ok(format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60))
    }

    /// What `array.array` is made of.
    fn machine_array(self, args: &[Node]) -> Result<Option<Known<'a>>, String> {
        let &[_, _, Node::Int(code), bytes] = args else { return Ok(None) };
        let Some(bytes) = self.held_bytes(bytes) else { return Ok(None) };
        let (kind, size) = match code {
            0 => ('u', 1),
            1 => ('i', 1),
            2..14 => (if (code - 2) / 2 % 2 == 0 { 'u' } else { 'i' }, 2 << ((code - 2) / 4)),
            14 | 15 => ('f', 4),
            16 | 17 => ('f', 8),
            _ => return Err("an array.array of characters: send `.tounicode()`".into()),
        };
        let shape = vec![bytes.len() / size];
        Array::new(kind, size, code > 1 && code % 2 == 1, shape, bytes)
            .map(|it| Some(Known::Array(it)))
    }

    fn numpy(self, name: &str, call: &Call, args: &[Node]) -> Result<Option<Known<'a>>, String> {
        match (name, args) {
            ("scalar", &[dtype, bytes]) => {
                let Some(bytes) = self.bytes(bytes) else {
                    return Err("a numpy scalar that is no number: send `.item()`".into());
                };
                match self.dtype(dtype, "a numpy scalar", ".item()")? {
                    ('U', _, swapped) => utf32(bytes, swapped).map(|text| Some(Known::Text(text))),
                    (kind, size, swapped) => self.array(kind, size, swapped, Vec::new(), bytes),
                }
            }
            ("_reconstruct", [class, ..]) => {
                if self.symbols.global(*class) != Some(("numpy", "ndarray")) {
                    return Err("a subclass of numpy.ndarray: send `numpy.asarray(x)`".into());
                }
                let state = call.state.and_then(|state| self.symbols.items(state));
                let Some(&[_, shape, dtype, fortran, bytes]) = state else { return Ok(None) };
                let order = if fortran == Node::Bool(true) { "F" } else { "C" };
                self.whole_array(shape, dtype, order, bytes)
            }
            // As we write it.
            ("ndarray", []) => {
                let named = call.named.unwrap_or(Node::None);
                let parts = ["shape", "dtype", "buffer"].map(|it| self.symbols.entry(named, it));
                let [Some(shape), Some(dtype), Some(bytes)] = parts else { return Ok(None) };
                self.whole_array(shape, dtype, "C", bytes)
            }
            _ => Ok(None),
        }
    }

    fn made_from_buffer(self, args: &[Node]) -> Result<Option<Known<'a>>, String> {
        let [bytes, dtype, shape, order, ..] = *args else { return Ok(None) };
        let order = self.symbols.str(order).unwrap_or_default();
        self.whole_array(shape, dtype, order, bytes)
    }

    fn whole_array(
        self,
        shape: Node,
        dtype: Node,
        order: &str,
        bytes: Node,
    ) -> Result<Option<Known<'a>>, String> {
        let (kind, size, swapped) = self.dtype(dtype, "a numpy array", ".tolist()")?;
        let lengths = self.symbols.items(shape).unwrap_or_default().iter();
        let shape = lengths.map(|length| usize::try_from(self.int(*length)?).ok());
        let Some(shape) = shape.collect::<Option<Vec<_>>>() else { return Ok(None) };
        if kind == 'U' {
            return Err("a numpy array of text: send `.tolist()`".into());
        }
        if order != "C" && shape.len() > 1 {
            return Err(FORTRAN.into());
        }
        let Some(bytes) = self.held_bytes(bytes) else { return Ok(None) };
        self.array(kind, size, swapped, shape, bytes)
    }

    fn array(
        self,
        kind: char,
        size: usize,
        swapped: bool,
        shape: Vec<usize>,
        bytes: &'a [u8],
    ) -> Result<Option<Known<'a>>, String> {
        Array::new(kind, size, swapped, shape, bytes).map(|array| Some(Known::Array(array)))
    }

    /// Kind, bytes and whether they are swapped, of a dtype of numbers or text: an object,
    /// or the text that makes one.
    fn dtype(self, node: Node, what: &str, advice: &str) -> Result<(char, usize, bool), String> {
        let unknown = || format!("{what} of no numbers: send `{advice}`");
        if let Some(text) = self.symbols.str(node) {
            return parse_dtype(text).ok_or_else(unknown);
        }
        let call = self.symbols.call(node).ok_or_else(unknown)?;
        if self.symbols.global(call.callable) != Some(("numpy", "dtype")) {
            return Err(unknown());
        }
        let code = self.symbols.items(call.args).and_then(|args| self.symbols.str(*args.first()?));
        let state = call.state.and_then(|state| self.symbols.items(state)).unwrap_or_default();
        let order = state.get(1).and_then(|order| self.symbols.str(*order)).unwrap_or("=");
        // Of items that have fields, these say what they are.
        if state.get(2..5).is_some_and(|fields| fields != [Node::None; 3]) {
            return Err(format!("{what} of items with fields: send `{advice}`"));
        }
        code.and_then(|code| parse_dtype(&format!("{order}{code}"))).ok_or_else(|| match code {
            Some("O8" | "O4") => format!("{what} of objects: send `{advice}`"),
            Some(code) if code.starts_with(['M', 'm']) => {
                format!("{what} of times: send `{advice}`, or `.astype(\"int64\")`")
            }
            Some("f16" | "f12" | "c32" | "c24") => {
                format!("{what} of more than 64 bits a float: send `.astype(\"float64\")`")
            }
            _ => unknown(),
        })
    }
}

/// What is said of the other order of items.
pub(crate) const FORTRAN: &str =
    "a numpy array in Fortran order: send `numpy.ascontiguousarray(x)`";

/// `<f8` and the like: kind, bytes, and whether these are swapped.
pub(super) fn parse_dtype(text: &str) -> Option<(char, usize, bool)> {
    let swapped = text.starts_with('>');
    let text = text.strip_prefix(['<', '>', '=', '|']).unwrap_or(text);
    let kind = text.chars().next().filter(char::is_ascii)?;
    let size: usize = text[1..].parse().ok()?;
    let fits = match kind {
        'b' => size == 1,
        'i' | 'u' => matches!(size, 1 | 2 | 4 | 8),
        'f' => matches!(size, 2 | 4 | 8),
        'c' => matches!(size, 8 | 16),
        'U' | 'V' => size > 0,
        _ => false,
    };
    fits.then_some((kind, size, swapped && size > 1))
}

fn date(high: u8, low: u8, month: u8, day: u8) -> String {
    format!("{:04}-{month:02}-{day:02}", u16::from_be_bytes([high, low]))
}

/// Hour, minute, second and microseconds, as Python packs them.
fn clock_of(bytes: &[u8]) -> Option<String> {
    let [hour, minute, second, a, b, c] = *bytes else { return None };
    let micros = u32::from_be_bytes([0, a, b, c]);
    let hour = hour & 0x7f;
    let whole = format!("{hour:02}:{minute:02}:{second:02}");
    Some(if micros == 0 { whole } else { format!("{whole}.{micros:06}") })
}

/// Text as numpy has it: four bytes a character, and zeros behind.
fn utf32(bytes: &[u8], swapped: bool) -> Result<String, String> {
    let (chunks, rest) = bytes.as_chunks::<4>();
    let codes = chunks.iter().map(|chunk| match swapped {
        true => u32::from_be_bytes(*chunk),
        false => u32::from_le_bytes(*chunk),
    });
    let text = codes.map(char::from_u32).collect::<Option<String>>().filter(|_| rest.is_empty());
    let text = text.ok_or("a numpy text that is no Unicode: send `str(x)`")?;
    Ok(text.trim_end_matches('\0').to_owned())
}

/// What to send instead of an object of a class that is not known.
pub(crate) fn advice(module: &str, name: &str) -> &'static str {
    match module.split('.').next().unwrap_or(module) {
        "pandas" | "polars" | "pyarrow" | "xarray" | "cudf" => {
            "send its numbers by `.to_numpy()`, or `.to_dict()`"
        }
        "torch" | "jax" | "jaxlib" | "tensorflow" | "cupy" => "send `numpy.asarray(x)`",
        "numpy" => "send `numpy.asarray(x)`, or `.tolist()`",
        "pathlib" | "ipaddress" | "fractions" | "re" => "send `str(x)`",
        "itertools" | "collections" => "send `list(x)`",
        "builtins" if name == "slice" => "send `(x.start, x.stop, x.step)`",
        _ => {
            "send plain values: `.value` of an enum, `dataclasses.asdict(x)` of a dataclass, \
             `.tolist()` of what holds numbers"
        }
    }
}
