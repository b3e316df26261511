//! What a task is, in whatever process: functions, how they are found and
//! executed, and what a running task can ask.

pub(crate) mod batch;
pub(crate) mod cgroup;
pub(crate) mod closure;
pub(crate) mod current;
pub(crate) mod execute;
pub(crate) mod fork;
pub(crate) mod function;
pub(crate) mod interpreter;
pub(crate) mod limits;
pub(crate) mod outcome;
pub(crate) mod progress;
#[cfg(feature = "python")]
pub(crate) mod python;
pub(crate) mod receive;
pub(crate) mod registry;
pub(crate) mod sandbox;
pub(crate) mod start;
pub(crate) mod stream;
#[cfg(all(feature = "local", unix))]
pub(crate) mod system;
#[cfg(all(feature = "dask", feature = "local", target_os = "linux"))]
pub(crate) mod values;
pub(crate) mod version;
