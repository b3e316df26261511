//! The limits that this process was given, and how to have more.

use anyhow::bail;
use rustix::process::{Resource, getrlimit, setrlimit};

use crate::figure;

/// Descriptors that a process of ours holds besides its connections.
const RESERVE: u64 = 64;

/// Raises the limit on open files as far as an ordinary process may.
///
/// Gives the number of files that may be open afterwards, `None` for no limit.
pub(crate) fn raise_open_files() -> Option<u64> {
    let mut limit = getrlimit(Resource::Nofile);
    let lower = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => limit.maximum,
        Err(_) => lower,
    }
}

/// Makes room for `connections` at once, or says which limit is in the way.
pub(crate) fn allow_connections(connections: usize) -> anyhow::Result<()> {
    let needed = connections as u64 + RESERVE;
    if let Some(allowed) = raise_open_files().filter(|&allowed| allowed < needed) {
        bail!(
            "{} requests at once need {} open files, and this process may have {}: \
             raise the hard limit (`ulimit -Hn {needed}` as root, `LimitNOFILE=` in systemd, \
             `--ulimit nofile={needed}` for a container)",
            figure::count(connections),
            figure::count(needed as usize),
            figure::count(allowed as usize),
        );
    }
    if let Some(ports) = local_ports().filter(|&ports| ports < connections as u64) {
        bail!(
            "{} requests at once need as many local ports, and there are {}: \
             widen net.ipv4.ip_local_port_range (`sysctl -w \
             net.ipv4.ip_local_port_range=\"1024 65535\"`)",
            figure::count(connections),
            figure::count(ports as usize),
        );
    }
    Ok(())
}

/// The number of ports that connections to one address may start from.
fn local_ports() -> Option<u64> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").ok()?;
    let mut bounds = range.split_whitespace().map(str::parse::<u64>);
    let (first, last) = (bounds.next()?.ok()?, bounds.next()?.ok()?);
    Some((last + 1).saturating_sub(first))
}
