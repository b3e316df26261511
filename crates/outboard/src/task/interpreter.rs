//! Which Python the workers of a pool are, and what they import before their first task.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Worker processes that are Python; see [`LocalBuilder::python`](crate::LocalBuilder::python).
///
/// They need Python 3.10 or later, and no package: their program is part of this library.
///
/// # Examples
///
/// ```
/// use outboard::Python;
///
/// let python = Python::new(".venv/bin/python").path("models").preload("app.model").workers(2);
/// # let _ = python;
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[must_use = "an interpreter does nothing until a client has it"]
pub struct Python {
    pub(crate) program: PathBuf,
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) modules: Vec<String>,
    #[serde(skip)]
    pub(crate) workers: Option<usize>,
}

impl Python {
    /// An interpreter: a name that is looked for in `PATH`, or a path, such as that of a
    /// virtual environment's `bin/python`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        let (paths, modules, workers) = (Vec::new(), Vec::new(), None);
        Self { program: program.into(), paths, modules, workers }
    }

    /// Adds a directory to look for modules in, before those that Python has itself.
    ///
    /// The server's working directory is not one unless it is added: `path(".")`.
    pub fn path(mut self, directory: impl Into<PathBuf>) -> Self {
        self.paths.push(directory.into());
        self
    }

    /// Imports a module in each worker before it is ready.
    ///
    /// A model that the module loads is there at the first task. A worker whose import fails
    /// does not come up, and the client's error has the last line of the traceback.
    pub fn preload(mut self, module: impl Into<String>) -> Self {
        self.modules.push(module.into());
        self
    }

    /// Sets the number of workers; by default as many as the pool `default` has.
    ///
    /// # Panics
    ///
    /// If it is 0.
    pub fn workers(mut self, workers: usize) -> Self {
        assert!(workers > 0, "`workers` must be at least 1, not 0");
        self.workers = Some(workers);
        self
    }
}
