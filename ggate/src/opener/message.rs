//! What a helper tells: four bytes, the error number or 0 and a descriptor.

#![allow(unsafe_code, reason = "descriptors arrive as numbers")]

use crate::media::MediaError;
use nix::cmsg_space;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;

/// Sends how opening ended.
pub(super) fn send(socket: &UnixStream, opened: &Result<OwnedFd, MediaError>) -> nix::Result<()> {
    let (number, fds) = match opened {
        Ok(fd) => (0, [fd.as_raw_fd()]),
        Err(error) => (error.errno() as i32, [-1]),
    };
    let rights = [ControlMessage::ScmRights(&fds)];
    let control = if opened.is_ok() { &rights[..] } else { &[] };
    let bytes = number.to_le_bytes();
    let flags = MsgFlags::MSG_NOSIGNAL;
    loop {
        match sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(&bytes)],
            control,
            flags,
            None,
        ) {
            Err(Errno::EINTR) => {}
            // Four bytes into an empty socket are sent whole.
            result => return result.map(drop),
        }
    }
}

/// Waits for what [`send`] sent. An error of its own when the helper ended
/// without a word.
pub(super) fn receive(socket: &UnixStream) -> io::Result<Result<OwnedFd, MediaError>> {
    let mut bytes = [0; 4];
    let mut space = cmsg_space!(RawFd);
    let mut slices = [IoSliceMut::new(&mut bytes)];
    let flags = MsgFlags::MSG_CMSG_CLOEXEC;
    let (length, fd) = loop {
        let received = recvmsg::<()>(socket.as_raw_fd(), &mut slices, Some(&mut space), flags);
        match received {
            Err(Errno::EINTR) => {}
            Err(error) => return Err(error.into()),
            Ok(message) => break (message.bytes, descriptor(message.cmsgs()?)),
        }
    };
    match (length, i32::from_le_bytes(bytes), fd) {
        (4, 0, Some(fd)) => Ok(Ok(fd)),
        (4, number @ 1.., None) => Ok(Err(MediaError::Open(Errno::from_raw(number)))),
        _ => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// The first descriptor of a message that has room for one.
fn descriptor(mut messages: impl Iterator<Item = ControlMessageOwned>) -> Option<OwnedFd> {
    messages.find_map(|message| match message {
        ControlMessageOwned::ScmRights(fds) => {
            let fd = *fds.first()?;
            // SAFETY: the kernel has just made it for us; nobody else knows it.
            Some(unsafe { OwnedFd::from_raw_fd(fd) })
        }
        _ => None,
    })
}

/// A descriptor of the socket behind `fd`. A process that is killed has its
/// descriptors closed in ascending order, so this ends when `fd` is closed
/// already.
pub(super) fn close_after(socket: &UnixStream, fd: BorrowedFd<'_>) -> io::Result<UnixStream> {
    let behind = FcntlArg::F_DUPFD_CLOEXEC(fd.as_raw_fd() + 1);
    let number = fcntl(socket, behind)?;
    // SAFETY: fcntl has just made it; nobody else knows it.
    Ok(unsafe { OwnedFd::from_raw_fd(number) }.into())
}
