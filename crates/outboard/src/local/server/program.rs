//! Another program, whose workers execute the tasks: where it is, and which functions it has.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::Error;
use crate::local::wire::{self, FunctionRef, Listed, WireError};
use crate::task::registry::{Function, registry, unknown};
use crate::task::version::Version;

/// Another program.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) path: PathBuf,
    /// What the last of its workers had, once one has said hello. Another file may be at the
    /// path by now, so each worker has its own.
    last: Mutex<Option<Arc<Functions>>>,
}

/// Which functions of this process a worker has.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Functions(Vec<Found>);

/// What became of the search for a function, by its place in the registry here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    /// It is at that place there.
    At(u32),
    Absent,
    /// One of that name has another version, or is bytes where this one has a value.
    OtherVersion,
}

impl Program {
    /// The program at a path.
    ///
    /// # Errors
    ///
    /// `Unavailable`, if there is none.
    pub(super) fn find(path: &Path) -> Result<Self, Error> {
        let shown = path.display();
        let file = std::fs::metadata(path).map_err(|error| {
            Error::unavailable(format!("the workers' program {shown} cannot be had: {error}"))
        })?;
        if !file.is_file() || file.permissions().mode() & 0o111 == 0 {
            return Err(Error::unavailable(format!(
                "the workers' program {shown} is no file that can be executed"
            )));
        }
        Ok(Self { path: path.to_owned(), last: Mutex::new(None) })
    }

    /// Whether its workers have a function, as far as that is known.
    pub(super) fn check(&self, function: &'static Function) -> Result<(), Error> {
        let Some(index) = function.index else {
            let advice = "the workers are another program: mark it with #[task]";
            return Err(unknown(function.name, advice));
        };
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let found = last.as_ref().map_or(Found::At(0), |last| last.of(index));
        drop(last);
        let path = self.path.display();
        match found {
            Found::At(_) => Ok(()),
            Found::Absent => Err(unknown(
                function.name,
                format!("the workers' program {path} has no such function: link its crate there"),
            )),
            Found::OtherVersion => Err(unknown(
                function.name,
                format!(
                    "the workers' program {path} has another version of it: build both from the \
                     same source"
                ),
            )),
        }
    }

    /// A worker has said which functions it has.
    ///
    /// # Errors
    ///
    /// If that is no list.
    pub(super) fn has(&self, list: &[u8]) -> Result<Arc<Functions>, WireError> {
        let (listed, _): (Vec<Listed<'_>>, _) = wire::decode(list)?;
        let here = registry().into_iter().flat_map(|registry| registry.listed());
        let found = Arc::new(Functions::matching(&listed, here));
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = Some(found.clone());
        Ok(found)
    }
}

impl Functions {
    /// Those of here that are listed there; they are sorted by name.
    fn matching<'a>(there: &[Listed<'_>], here: impl Iterator<Item = (&'a str, Version)>) -> Self {
        let find = |(name, version): (&str, Version)| {
            let first = there.partition_point(|one| one.name < name);
            let same = there[first..].iter().take_while(|one| one.name == name);
            match same.clone().position(|one| one.version == version) {
                Some(at) => Found::At((first + at) as u32),
                None if same.count() == 0 => Found::Absent,
                None => Found::OtherVersion,
            }
        };
        Self(here.map(find).collect())
    }

    fn of(&self, index: u32) -> Found {
        self.0.get(index as usize).copied().unwrap_or(Found::Absent)
    }

    /// How its worker finds a function. What it lacks is at no place, which it says.
    pub(super) fn reference(&self, function: &Function) -> FunctionRef {
        let found = function.index.map_or(Found::Absent, |index| self.of(index));
        FunctionRef::Index(if let Found::At(place) = found { place } else { u32::MAX })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_found_by_name_and_version() {
        let version = |number| Version { number, ..Version::default() };
        let there = [("a", 1), ("a", 2), ("c", 3), ("d", 4)];
        let there = there.map(|(name, number)| Listed { name, version: version(number) });
        let here = [("a", 1), ("a", 2), ("b", 2), ("c", 9), ("d", 4)];
        let found =
            Functions::matching(&there, here.map(|(name, at)| (name, version(at))).into_iter());
        use Found::{Absent, At, OtherVersion};
        assert_eq!(found, Functions(vec![At(0), At(1), Absent, OtherVersion, At(3)]));
        assert_eq!(found.of(7), Absent);
    }

    #[test]
    fn what_is_no_program_is_refused_with_its_path() {
        for (path, says) in [("/nowhere/tasks", "cannot be had"), ("/dev/null", "executed")] {
            let error = Program::find(Path::new(path)).unwrap_err().to_string();
            assert!(error.contains(path) && error.contains(says), "{error}");
        }
    }
}
