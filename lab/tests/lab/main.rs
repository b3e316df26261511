//! The program as its users run it: the real binary, real sockets, real signals.

/// `lab bench`.
mod bench;
/// `lab chaos`.
mod chaos;
/// `lab worker`, and the tour on a cluster.
mod cluster;
/// `lab fairness`.
mod fairness;
/// Pages asked for over a plain socket.
mod http;
/// The live page, in a browser.
mod live;
/// `lab measure`.
mod measure;
/// What /proc knows of a server's workers.
mod process;
/// The binary, started and ended.
mod program;
/// Pictures of the live page for the documents.
mod screenshots;
/// `lab serve`.
mod serve;
/// The stream and the job of the live page, in a browser.
mod streaming;
/// `lab tour`.
mod tour;
/// Arguments that make no sense, and help.
mod usage;
