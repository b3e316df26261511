//! Worker processes on this machine: both ends of one protocol.
//!
//! `server` starts workers, sends them tasks and reads their answers; `worker` is
//! what such a process does. They talk by the messages of `wire` through a socket,
//! and by the memory of `shm`, which both map.

pub(crate) mod process;
mod program;
mod server;
mod shm;
mod wire;

#[cfg(any(fuzzing, test))]
pub(crate) use wire::fuzz::check as check_wire;
mod worker;

use linkme::distributed_slice;

use crate::engine::owner::Owner;
use crate::engine::registry::{self, OUTBOARD_0_1_0_ENGINES};

#[expect(unsafe_code, reason = "linkme puts it into a linker section")]
#[distributed_slice(OUTBOARD_0_1_0_ENGINES)]
static LOCAL: registry::Entry = registry::Entry {
    schemes: &["local"],
    order: 0,
    connect: |mut url, settings| {
        Box::pin(async move {
            url.refuse_hosts()?;
            let settings = settings.map_or_else(|| url.settings("local"), Ok)?;
            Owner::when_up(server::start(settings)?).await
        })
    },
    become_worker: |setup| {
        if program::is_worker() {
            worker::run_as_worker(setup.run, setup.in_test)
        }
    },
    is_worker: program::is_worker,
};
