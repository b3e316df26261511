//! Which system calls a sandbox refuses.

use std::io;

use seccompiler::SeccompCmpOp::{Eq, MaskedEq, Ne};

use super::{Refused, refuse};

/// Numbers that are the same everywhere, and that the C library's crate does not have for
/// each architecture.
const FCHMODAT2: i64 = 452;
const SETXATTRAT: i64 = 463;
const REMOVEXATTRAT: i64 = 466;
const OPEN_TREE_ATTR: i64 = 467;
const FILE_SETATTR: i64 = 469;

/// What no task has a use for: other processes, mounts, namespaces, the machine, owners and
/// attributes of files. So are parts of the kernel with a long list of faults.
pub(super) const ALWAYS: &[i64] = &[
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_kcmp,
    libc::SYS_shmget,
    libc::SYS_shmat,
    libc::SYS_msgget,
    libc::SYS_semget,
    libc::SYS_mq_open,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    OPEN_TREE_ATTR,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_open_by_handle_at,
    libc::SYS_fanotify_init,
    libc::SYS_quotactl,
    libc::SYS_acct,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_reboot,
    libc::SYS_kexec_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_syslog,
    libc::SYS_vhangup,
    libc::SYS_sethostname,
    libc::SYS_setdomainname,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_keyctl,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_fchown,
    libc::SYS_fchownat,
    libc::SYS_setxattr,
    libc::SYS_lsetxattr,
    libc::SYS_fsetxattr,
    libc::SYS_removexattr,
    libc::SYS_lremovexattr,
    libc::SYS_fremovexattr,
    SETXATTRAT,
    REMOVEXATTRAT,
    FILE_SETATTR,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lchown,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

/// Modes of files: landlock has no rule for them, and archives have modes.
pub(super) const MODES: &[i64] = &[
    libc::SYS_fchmod,
    libc::SYS_fchmodat,
    FCHMODAT2,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_chmod,
];

pub(super) const EXECUTING: &[i64] = &[libc::SYS_execve, libc::SYS_execveat];

/// Limits of other processes, which may be the server's.
pub(super) fn of_other_limits(refused: &mut Refused, own: u32) -> io::Result<()> {
    refuse(refused, libc::SYS_prlimit64, &[(0, Ne, 0), (0, Ne, own)])
}

/// New namespaces, in which a process has rights that it does not have here.
pub(super) fn of_namespaces(refused: &mut Refused) -> io::Result<()> {
    let flags = [
        libc::CLONE_NEWNS,
        libc::CLONE_NEWCGROUP,
        libc::CLONE_NEWUTS,
        libc::CLONE_NEWIPC,
        libc::CLONE_NEWUSER,
        libc::CLONE_NEWPID,
        libc::CLONE_NEWNET,
    ];
    flags.into_iter().try_for_each(|flag| {
        refuse(refused, libc::SYS_clone, &[(0, MaskedEq(flag as u64), flag as u32)])
    })
}

/// What types for the user of a terminal.
pub(super) fn of_terminals(refused: &mut Refused) -> io::Result<()> {
    const TIOCSTI: u32 = 0x5412;
    const TIOCLINUX: u32 = 0x541c;
    [TIOCSTI, TIOCLINUX]
        .into_iter()
        .try_for_each(|command| refuse(refused, libc::SYS_ioctl, &[(1, Eq, command)]))
}

/// All sockets but pairs that are connected. Those of datagrams can be connected anew, and
/// send to others than their peer; a raw one is of datagrams.
pub(super) fn of_sockets(refused: &mut Refused) -> io::Result<()> {
    const KIND: u64 = 0xf;
    let all = [libc::SYS_socket, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen];
    refused.extend(all.map(|call| (call, Vec::new())));
    refuse(refused, libc::SYS_socketpair, &[(0, Ne, libc::AF_UNIX as u32)])?;
    [libc::SOCK_DGRAM, libc::SOCK_RAW].into_iter().try_for_each(|kind| {
        refuse(refused, libc::SYS_socketpair, &[(1, MaskedEq(KIND), kind as u32)])
    })
}

/// Signals to all but this process and its group, by whatever way.
pub(super) fn of_signals(refused: &mut Refused, own: u32) -> io::Result<()> {
    const SETTING_OWNERS: [(i64, u32); 4] = [
        (libc::SYS_fcntl, 8),      // F_SETOWN
        (libc::SYS_fcntl, 15),     // F_SETOWN_EX
        (libc::SYS_ioctl, 0x8901), // FIOSETOWN
        (libc::SYS_ioctl, 0x8902), // SIOCSPGRP
    ];
    // 0 would be the group that the worker is in, and it may enter the server's.
    let group = own.wrapping_neg();
    refuse(refused, libc::SYS_kill, &[(0, Ne, own), (0, Ne, group)])?;
    for call in [libc::SYS_tgkill, libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo] {
        refuse(refused, call, &[(0, Ne, own)])?;
    }
    refused.extend([libc::SYS_tkill, libc::SYS_pidfd_send_signal].map(|call| (call, Vec::new())));
    SETTING_OWNERS
        .into_iter()
        .try_for_each(|(call, command)| refuse(refused, call, &[(1, Eq, command)]))
}

/// The same calls by the numbers of x32, which is the same architecture to a filter, and
/// those that only x32 has.
pub(super) fn in_all_forms(refused: Refused) -> Refused {
    const X32: i64 = 0x4000_0000;
    const OF_X32: std::ops::RangeInclusive<i64> = 512..=547;
    if cfg!(not(target_arch = "x86_64")) {
        return refused;
    }
    let again = refused.clone().into_iter().map(|(call, rules)| (call | X32, rules));
    let own = OF_X32.map(|call| (call | X32, Vec::new()));
    again.chain(own).chain(refused.clone()).collect()
}
