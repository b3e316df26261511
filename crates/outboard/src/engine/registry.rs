//! The engines of this program. Each registers how it is found by a URL, how it is started,
//! and how a process becomes one of its workers.
//!
//! Entries are in a linker section, as task functions are, so nothing here knows an
//! engine by its name.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use linkme::distributed_slice;

use super::owner::Owner;
use super::settings::Settings;
use super::url::Url;
use crate::error::Error;

/// What an engine registers.
pub(crate) struct Entry {
    /// The schemes of its URLs, the first of which is its name.
    pub(crate) schemes: &'static [&'static str],
    /// Who is asked first what a process was started as. A worker inherits the environment
    /// of the process that started it, so the innermost engine goes first.
    pub(crate) order: u8,
    /// Starts it as a URL says, or with settings from elsewhere.
    pub(crate) connect: fn(Url, Option<Settings>) -> Connecting,
    /// Becomes one of its workers and never returns, if this process was started as
    /// one. `setup` is the user's, and runs before the first task.
    pub(crate) become_worker: fn(Setup<'_>),
    /// Whether this process was started as one of its workers.
    pub(crate) is_worker: fn() -> bool,
}

/// An engine that starts, when its first slot is up. Dropping it ends the engine.
pub(crate) type Connecting = Pin<Box<dyn Future<Output = Result<Arc<Owner>, Error>> + Send>>;

/// What precedes a worker's first task.
pub(crate) struct Setup<'a> {
    /// The setup of `init_with`; does nothing when it is called again.
    pub(crate) run: &'a mut dyn FnMut(),
    /// Whether the process is a test binary.
    pub(crate) in_test: bool,
}

/// All engines that were linked into this program.
#[distributed_slice]
pub(crate) static OUTBOARD_0_1_0_ENGINES: [Entry];

/// Schemes of engines that this build does not have, and the feature that would bring
/// each.
const ABSENT: [(&str, &str); 4] = [
    ("dask", "the feature `dask`"),
    ("tcp", "the feature `dask`"),
    ("tls", "the feature `dask`"),
    ("local", "the feature `local`, and a Unix system"),
];

/// The engine that a URL names.
///
/// # Errors
///
/// `Unavailable`, saying what would bring an engine that this build lacks;
/// `InvalidUrl` for a scheme of none.
pub(crate) fn find(url: &Url) -> Result<&'static Entry, Error> {
    let scheme = url.scheme();
    if let Some(entry) = OUTBOARD_0_1_0_ENGINES.iter().find(|entry| entry.schemes.contains(&scheme))
    {
        return Ok(entry);
    }
    if let Some((_, needs)) = ABSENT.iter().find(|(absent, _)| *absent == scheme) {
        return Err(Error::unavailable(format!("`{scheme}://` needs {needs}; {}", known())));
    }
    Err(url.wrong(format!("no engine is named `{scheme}`; {}", known())))
}

/// The schemes that there are.
pub(crate) fn known() -> String {
    let mut schemes: Vec<_> =
        OUTBOARD_0_1_0_ENGINES.iter().flat_map(|entry| entry.schemes).collect();
    schemes.sort_unstable();
    let schemes: Vec<_> = schemes.iter().map(|scheme| format!("{scheme}://")).collect();
    format!("this build has {}", schemes.join(", "))
}

/// Becomes a worker and never returns, if this process was started as one.
pub(crate) fn become_worker(setup: impl FnOnce(), in_test: bool) {
    let mut setup = Some(setup);
    let mut run = || {
        if let Some(setup) = setup.take() {
            setup();
        }
    };
    let mut entries: Vec<_> = OUTBOARD_0_1_0_ENGINES.iter().collect();
    entries.sort_unstable_by_key(|entry| entry.order);
    for entry in entries {
        (entry.become_worker)(Setup { run: &mut run, in_test });
    }
}

/// Whether this process was started as a worker.
pub(crate) fn is_worker() -> bool {
    OUTBOARD_0_1_0_ENGINES.iter().any(|entry| (entry.is_worker)())
}
