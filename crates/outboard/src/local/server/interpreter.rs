//! A pool whose workers are Python: whether there can be one, and which functions they know.

use std::env::split_paths;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use crate::engine::settings::Settings;
use crate::error::Error;
use crate::task::interpreter::Python;
use crate::task::registry::{Function, unknown};

/// Whether there can be workers that are this interpreter.
///
/// # Errors
///
/// `Unavailable`, with what is missing.
pub(super) fn check(python: &Python, settings: &Settings) -> Result<(), Error> {
    if !cfg!(feature = "python") {
        return Err(Error::unavailable(
            "workers that are Python need the feature `python` of outboard: enable it",
        ));
    }
    if settings.sandbox.as_ref().is_some_and(|it| it.no_exec || it.readable.is_some()) {
        return Err(Error::unavailable(
            "the sandbox of workers that are Python cannot have `no_exec` or `read_only`: inside \
             of it the interpreter is executed, and reads its library. Leave them out for this \
             pool",
        ));
    }
    let program = &python.program;
    let found = match program.components().count() {
        1 if program.parent() == Some(Path::new("")) => {
            let path = std::env::var_os("PATH").unwrap_or_default();
            split_paths(&path).any(|directory| is_program(&directory.join(program)))
        }
        _ => is_program(program),
    };
    match found {
        true => Ok(()),
        false => Err(Error::unavailable(format!(
            "the interpreter {} cannot be had: no such file can be executed",
            program.display()
        ))),
    }
}

fn is_program(path: &Path) -> bool {
    let file = std::fs::metadata(path);
    file.is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
}

/// Whether workers that are Python can be asked for a function.
pub(super) fn knows(function: &Function) -> Result<(), Error> {
    match function.python {
        true => Ok(()),
        false => {
            Err(unknown(function.name, "the workers of this pool are Python: choose another pool"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_interpreter_is_refused_by_its_name() {
        let settings = Settings::default();
        for program in ["python9", "/nowhere/python3", "./python3", "/dev/null"] {
            let error = check(&Python::new(program), &settings).unwrap_err().to_string();
            let says = if cfg!(feature = "python") { program } else { "the feature `python`" };
            assert!(error.contains(says), "{error}");
        }
    }
}
