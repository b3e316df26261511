//! Bytes, and descriptors beside them, through a socket pair.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

use crate::os::socket::{NO_SIGNAL, RECEIVING, keep_from_programs};

/// The most descriptors beside one message; the kernel closes what is beyond.
const MOST: usize = 3;

/// Sends bytes with descriptors beside the first of them; gives how many bytes
/// were taken, with all descriptors if there was one.
pub(crate) fn send(
    socket: impl AsFd,
    bytes: &[u8],
    fds: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> Result<usize, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    control.push(SendAncillaryMessage::ScmRights(fds));
    sendmsg(socket, &[IoSlice::new(bytes)], &mut control, flags | NO_SIGNAL)
}

/// Receives bytes, and appends descriptors that lay beside them. What follows
/// after descriptors is left to the next call.
pub(crate) fn receive(
    socket: impl AsFd,
    room: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> Result<usize, Errno> {
    receive_all(socket, room, fds).map(|(bytes, _)| bytes)
}

/// As [`receive`], with whether descriptors lay there that were lost: this process has as
/// many open as it may have.
pub(crate) fn receive_all(
    socket: impl AsFd,
    room: &mut [u8],
    fds: &mut Vec<OwnedFd>,
) -> Result<(usize, bool), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut slices = [IoSliceMut::new(room)];
    let received = recvmsg(socket, &mut slices, &mut control, RECEIVING)?;
    for message in control.drain() {
        if let RecvAncillaryMessage::ScmRights(passed) = message {
            for fd in passed {
                fds.push(keep_from_programs(fd)?);
            }
        }
    }
    Ok((received.bytes, received.flags.contains(ReturnFlags::CTRUNC)))
}
