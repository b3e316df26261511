//! The three demo servers: before, threads and after.

mod after;
mod apart;
mod before;
mod harm;
mod host;
mod pages;
mod server;
mod start;
mod threads;

pub(crate) use after::{TENANT_HEADER, harmful};
pub(crate) use apart::{Apart, Args as ApartArgs, Pulse, Role, run as be_apart};
pub(crate) use host::Host;
pub(crate) use pages::FAST;
pub(crate) use server::Server;
// Of the trials, which need Linux.
#[cfg(target_os = "linux")]
pub(crate) use start::start_after;
pub(crate) use start::{More, Places, Site, listen, serve_after};
