//! The program as its users run it: the real binary, real sockets, real signals.

/// `outboard bench`.
mod bench;
/// `outboard chaos`.
mod chaos;
/// `outboard worker`, and the tour on a cluster.
mod cluster;
/// `outboard fairness`.
mod fairness;
/// Pages asked for over a plain socket.
mod http;
/// The live page, in a browser.
mod live;
/// `outboard measure`.
mod measure;
/// What /proc knows of a server's workers.
mod process;
/// The binary, started and ended.
mod program;
/// Pictures of the live page for the documents.
mod screenshots;
/// `outboard serve`.
mod serve;
/// `outboard status`, in a terminal and as JSON.
mod status;
/// `outboard tour`.
mod tour;
/// Arguments that make no sense, and help.
mod usage;
