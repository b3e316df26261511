//! What is wrong with a message, and where in it.

use std::fmt;
use std::io;

/// What is wrong with a message, or with a value beside one.
///
/// # Examples
///
/// ```
/// use dask_protocol::Serialized;
///
/// let none = Serialized::from_pickle(b"\x80\x04N.".to_vec());
/// assert_eq!(none.into_bytes().unwrap_err().problem(), "a value that is not bytes");
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Malformed {
    operation: String,
    field: &'static str,
    problem: &'static str,
}

impl Malformed {
    /// Of which it is not known what it should have been.
    pub(crate) const fn new(problem: &'static str) -> Self {
        Self { operation: String::new(), field: "", problem }
    }

    /// A field of an operation.
    pub(crate) fn of(operation: &str, field: &'static str, problem: &'static str) -> Self {
        Self { operation: operation.to_owned(), field, problem }
    }

    /// The operation, as in the field `op` of the message, if it got so far.
    pub fn operation(&self) -> Option<&str> {
        Some(self.operation.as_str()).filter(|name| !name.is_empty())
    }

    /// The field, if it is one that is wrong.
    pub fn field(&self) -> Option<&'static str> {
        Some(self.field).filter(|name| !name.is_empty())
    }

    /// What is wrong with it.
    pub fn problem(&self) -> &'static str {
        self.problem
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.operation(), self.field()) {
            (Some(name), Some(field)) => {
                write!(f, "malformed `{name}`: `{field}` {}", self.problem)
            }
            (Some(name), None) => write!(f, "malformed `{name}`: {}", self.problem),
            (None, _) => f.write_str(self.problem),
        }
    }
}

impl std::error::Error for Malformed {}

impl From<Malformed> for io::Error {
    fn from(error: Malformed) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, error)
    }
}
