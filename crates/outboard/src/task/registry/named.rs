//! Functions by their names, as a cluster asks for them: with encoded arguments,
//! or with Python's values.

use std::borrow::Cow;

use super::{Entry, Function, Registry};
use crate::task::outcome::OTHER_BUILD;

impl Registry {
    /// All functions with a name.
    pub(crate) fn all(&self) -> &[Function] {
        &self.functions
    }

    /// The functions of that name, called with encoded arguments or with Python's values.
    /// It is the version that follows an `@`, or all versions, the latest first.
    pub(crate) fn named(
        &'static self,
        name: &str,
        values: bool,
    ) -> impl Iterator<Item = &'static Function> {
        let functions = if values { &self.with_values } else { &self.functions };
        let (name, version) = match name.split_once('@') {
            Some((name, version)) => (name, Some(version.parse().unwrap_or(0))),
            None => (name, None),
        };
        let first = functions.partition_point(|function| function.name < name);
        let after = functions.partition_point(|function| function.name <= name);
        let meant =
            move |it: &&Function| version.is_none_or(|version| it.version.number == version);
        functions[first..after].iter().rev().filter(meant)
    }
}

impl Registry {
    /// Which versions there are of a function, where the one that was asked for is not here.
    pub(crate) fn instead_of(&'static self, name: &str) -> Cow<'static, str> {
        let name = name.split_once('@').map_or(name, |(name, _)| name);
        let same = self.named(name, false);
        let numbers: Vec<_> = same.map(|function| function.version.number.to_string()).collect();
        match numbers.is_empty() {
            true => OTHER_BUILD,
            false => format!("this worker offers version {}", numbers.join(", ")).into(),
        }
    }
}

impl Entry {
    /// Its place in the registry is the other form's, so workers find it by its
    /// address.
    pub(super) fn with_values(&self, number: usize) -> Function {
        Function {
            pure: false,
            batching: None,
            run_all: None,
            number,
            index: None,
            run: self.run_values,
            ..self.function(0)
        }
    }
}
