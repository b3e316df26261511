//! The rules that this worker enters once its start is over: landlock's for files, and a
//! filter of system calls for the rest.
//!
//! Few calls are refused, rather than few allowed, so that parsers, allocators and thread
//! pools go on to work. What is refused reaches other processes, the network or parts of
//! the kernel that computing has no use for.

use std::collections::BTreeMap;
use std::io;
use std::mem::forget;
use std::os::fd::OwnedFd;
use std::path::Path;

use landlock::{
    ABI, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset, RulesetAttr,
    RulesetCreated, RulesetCreatedAttr,
};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp, SeccompCondition,
    SeccompFilter, SeccompRule, TargetArch, apply_filter_all_threads,
};

use crate::local::process::every_thread::restrict_every_thread;
use crate::local::program::kernel::{LANDLOCK, has_filters, has_landlock};
use crate::task::sandbox::Sandbox;

mod calls;

/// Devices without anything behind them.
const DEVICES: [&str; 5] = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/// Restricts this process, on all its threads, for good.
///
/// # Errors
///
/// What cannot be had, unless that is done without.
pub(super) fn enter(sandbox: &Sandbox) -> io::Result<()> {
    let optional = sandbox.best_effort;
    if !optional || has_landlock() {
        let entered = ruleset(sandbox).and_then(restrict_every_thread);
        or_not(optional, entered.map_err(|error| said("landlock", error)))?;
    }
    if !optional || has_filters() {
        let entered = filters(sandbox).and_then(|filters| {
            filters.iter().try_for_each(|it| apply_filter_all_threads(it)).map_err(io::Error::other)
        });
        or_not(optional, entered.map_err(|error| said("seccomp", error)))?;
    }
    Ok(())
}

fn said(layer: &str, error: io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{layer}: {error}"))
}

/// A path that is not there is a mistake in any case.
fn or_not(optional: bool, entered: io::Result<()>) -> io::Result<()> {
    match entered {
        Err(error) if optional && error.kind() != io::ErrorKind::NotFound => Ok(()),
        entered => entered,
    }
}

/// Landlock's rules.
fn ruleset(sandbox: &Sandbox) -> io::Result<OwnedFd> {
    let reading = AccessFs::ReadFile | AccessFs::ReadDir;
    let mut handled = AccessFs::from_write(LANDLOCK);
    if sandbox.readable.is_some() {
        handled |= reading;
    }
    if sandbox.no_exec {
        handled |= AccessFs::Execute;
    }
    let created = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(handled)
        .map(|ruleset| ruleset.set_compatibility(CompatLevel::BestEffort))
        // Commands to devices, where the kernel knows a rule for them.
        .and_then(|ruleset| ruleset.handle_access(AccessFs::IoctlDev))
        .and_then(Ruleset::create);
    let mut rules = Rules { handled, created: Some(created.map_err(io::Error::other)?) };
    let writing = AccessFs::from_write(LANDLOCK) & !(AccessFs::MakeChar | AccessFs::MakeBlock);
    for path in sandbox.readable.iter().flatten() {
        rules.allow(path.as_ref(), reading)?;
    }
    for path in &sandbox.writable {
        rules.allow(path.as_ref(), reading | writing)?;
    }
    for device in DEVICES.into_iter().filter(|device| Path::new(device).exists()) {
        rules.allow(device.as_ref(), AccessFs::ReadFile | AccessFs::WriteFile)?;
    }
    rules.allow("/proc/self/exe".as_ref(), AccessFs::ReadFile.into())?;
    // Files of processes are others for the rules when the system has forgotten them, which
    // it does not as long as they are open.
    forget(rules.allow("/proc/self".as_ref(), reading)?);
    let peak = AccessFs::WriteFile | AccessFs::Truncate;
    forget(rules.allow("/proc/self/clear_refs".as_ref(), peak)?);
    let ruleset: Option<OwnedFd> = rules.created.and_then(Into::into);
    ruleset.ok_or_else(|| io::ErrorKind::Unsupported.into())
}

struct Rules {
    handled: BitFlags<AccessFs>,
    created: Option<RulesetCreated>,
}

impl Rules {
    /// Allows what of these is restricted; gives the open path.
    fn allow(&mut self, path: &Path, access: BitFlags<AccessFs>) -> io::Result<PathFd> {
        let named = |error: io::Error| {
            io::Error::new(error.kind(), format!("`{}`: {error}", path.display()))
        };
        let is_directory = path.metadata().map_err(named)?.is_dir();
        let fitting = if is_directory { BitFlags::all() } else { AccessFs::from_file(ABI::V5) };
        let access = access & self.handled & fitting;
        let opened = PathFd::new(path).map_err(|error| named(io::Error::other(error)))?;
        if access.is_empty() {
            return Ok(opened);
        }
        if let Some(created) = self.created.take() {
            let added = created.add_rule(PathBeneath::new(&opened, access));
            self.created = Some(added.map_err(|error| named(io::Error::other(error)))?);
        }
        Ok(opened)
    }
}

/// Refused calls, each with the conditions under which it is; without one, always.
type Refused = BTreeMap<i64, Vec<SeccompRule>>;

fn filters(sandbox: &Sandbox) -> io::Result<Vec<BpfProgram>> {
    let own = rustix::process::getpid().as_raw_nonzero().get() as u32;
    let mut refused: Refused = calls::ALWAYS.iter().map(|call| (*call, Vec::new())).collect();
    calls::of_other_limits(&mut refused, own)?;
    calls::of_namespaces(&mut refused)?;
    calls::of_terminals(&mut refused)?;
    if sandbox.writable.is_empty() {
        refused.extend(calls::MODES.iter().map(|call| (*call, Vec::new())));
    }
    if sandbox.no_network {
        calls::of_sockets(&mut refused)?;
    }
    if sandbox.no_exec {
        refused.extend(calls::EXECUTING.iter().map(|call| (*call, Vec::new())));
        calls::of_signals(&mut refused, own)?;
    }
    // The C library makes threads by `clone` where the system does not know `clone3`, whose
    // flags no filter sees.
    let unknown = Refused::from([(libc::SYS_clone3, Vec::new())]);
    [(refused, libc::EPERM), (unknown, libc::ENOSYS)]
        .map(|(calls, error)| program(calls::in_all_forms(calls), error as u32))
        .into_iter()
        .collect()
}

fn program(refused: Refused, error: u32) -> io::Result<BpfProgram> {
    let arch = TargetArch::try_from(std::env::consts::ARCH).map_err(io::Error::other)?;
    let action = SeccompAction::Errno(error);
    let filter = SeccompFilter::new(refused, SeccompAction::Allow, action, arch);
    filter.and_then(BpfProgram::try_from).map_err(io::Error::other)
}

/// Adds to the conditions of a call: all of these together.
fn refuse(
    refused: &mut Refused,
    call: i64,
    conditions: &[(u8, SeccompCmpOp, u32)],
) -> io::Result<()> {
    let conditions = conditions.iter().map(|(argument, op, value)| {
        SeccompCondition::new(*argument, Dword, op.clone(), u64::from(*value))
    });
    let rule = conditions.collect::<Result<_, _>>().and_then(SeccompRule::new);
    refused.entry(call).or_default().push(rule.map_err(io::Error::other)?);
    Ok(())
}
