//! Why a value could not be encoded or decoded, and where in it.

use std::any::Any;
use std::fmt::{self, Display};
use std::panic::{AssertUnwindSafe, catch_unwind};

use serde::{de, ser};

use crate::error::panic_message;

/// Why a value could not be encoded or decoded.
///
/// `Display` is the reason, then where in the value: `missing field `price`, at
/// `lines[2]``.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValueError(Box<Trouble>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Trouble {
    reason: String,
    /// Innermost first, as they are added while the error goes up.
    path: Vec<Place>,
}

/// One step into a value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A field, a variant, or a key that is text.
    Name(String),
    Index(usize),
}

impl ValueError {
    #[cold]
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self(Box::new(Trouble { reason: reason.into(), path: Vec::new() }))
    }

    /// The same, seen from outside of that place.
    #[cold]
    pub(super) fn inside(mut self, place: Place) -> Self {
        self.0.path.push(place);
        self
    }

    /// Takes the outermost step, if the value is a tuple of arguments: its place there.
    pub(crate) fn take_index(&mut self) -> Option<usize> {
        let Some(&Place::Index(index)) = self.0.path.last() else { return None };
        self.0.path.pop();
        Some(index)
    }
}

impl Place {
    #[cold]
    pub(super) fn name(name: &str) -> Self {
        /// The longest part of a key that is shown.
        const SHOWN: usize = 60;
        Self::Name(name.chars().take(SHOWN).collect())
    }
}

impl Display for ValueError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Trouble { reason, path } = &*self.0;
        f.write_str(reason)?;
        let Some(outermost) = path.last() else { return Ok(()) };
        f.write_str(", at `")?;
        for place in path.iter().rev().take(SHOWN_STEPS) {
            match place {
                Place::Name(name) if is_plain(name) => {
                    let dot = if std::ptr::eq(place, outermost) { "" } else { "." };
                    write!(f, "{dot}{name}")?;
                }
                Place::Name(name) => write!(f, "[{name:?}]")?,
                Place::Index(index) => write!(f, "[{index}]")?,
            }
        }
        f.write_str(if path.len() > SHOWN_STEPS { "…`" } else { "`" })
    }
}

/// How many steps into a value are shown.
const SHOWN_STEPS: usize = 12;

fn is_plain(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || c == '_')
}

impl std::error::Error for ValueError {}

impl ser::Error for ValueError {
    fn custom<T: Display>(message: T) -> Self {
        /// What serde says of a path, with which it leaves its user alone.
        const NOT_TEXT: &str = "path contains invalid UTF-8 characters";
        match message.to_string() {
            message if message == NOT_TEXT => Self::new(message + ": send its bytes instead"),
            message => Self::new(message),
        }
    }
}

impl de::Error for ValueError {
    fn custom<T: Display>(message: T) -> Self {
        Self::new(message.to_string())
    }
}

/// Runs what calls code of a user's types. That may panic, which is an error of the
/// value and no panic of whoever encodes or decodes it.
pub(crate) fn guarded<T>(f: impl FnOnce() -> Result<T, ValueError>) -> Result<T, ValueError> {
    catch_unwind(AssertUnwindSafe(f)).unwrap_or_else(|panic| Err(panicked(panic)))
}

#[cold]
fn panicked(panic: Box<dyn Any + Send>) -> ValueError {
    let error = ValueError::new(format!("its code panicked: {}", panic_message(&*panic)));
    // What it panicked with may panic when it is dropped.
    if let Err(second) = catch_unwind(AssertUnwindSafe(|| drop(panic))) {
        std::mem::forget(second);
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_says_where() {
        let error = ValueError::new("missing field `price`");
        assert_eq!(error.to_string(), "missing field `price`");
        let error = error.inside(Place::Index(2)).inside(Place::name("lines"));
        assert_eq!(error.to_string(), "missing field `price`, at `lines[2]`");
        let error = error.inside(Place::name("a key")).inside(Place::Index(1));
        assert_eq!(error.to_string(), "missing field `price`, at `[1][\"a key\"].lines[2]`");
        let mut error = error;
        assert_eq!((error.take_index(), error.take_index()), (Some(1), None));
    }

    #[test]
    fn a_long_way_is_shown_up_to_where_it_is_clear() {
        let deep = (0..100).fold(ValueError::new("no"), |error, _| error.inside(Place::name("a")));
        assert_eq!(deep.to_string(), format!("no, at `{}…`", ["a"; SHOWN_STEPS].join(".")));
    }

    #[test]
    fn a_panic_is_an_error_whatever_it_carries() {
        struct Bomb;
        impl Drop for Bomb {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        let error = guarded::<()>(|| std::panic::panic_any(Bomb)).unwrap_err();
        assert_eq!(error.to_string(), "its code panicked: a value that is not a string");
        assert!(guarded::<()>(|| panic!("no {}", 7)).unwrap_err().to_string().contains("no 7"));
    }
}
