//! TCP as both ends of a ggate session want it.

use crate::log;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{SockRef, Socket, TcpKeepalive};
use std::io;
use std::os::fd::AsFd;
use std::time::Duration;

/// Idle time before TCP asks whether the peer is there, and between questions:
/// a peer that vanished is noticed within half a minute.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);
const KEEPALIVE_RETRIES: u32 = 3;

/// How long TCP tries to deliver data before it gives the connection up.
#[cfg(target_os = "linux")]
const USER_TIMEOUT: Duration = Duration::from_secs(30);

/// Payloads from here on are worth a system call of their own, which puts them
/// where they belong: copying them costs more.
const OWN_CALL: usize = 32 << 10;

/// What is read behind a payload of that size: the next few headers.
const FEW_HEADERS: usize = 4 << 10;

/// How much of a stream of frames to read at once into an input buffer of
/// `size` bytes, when the last payload had `payload` bytes. The next one is
/// likely to be as large, and what the buffer gets of it is copied twice.
#[must_use]
pub fn read_ahead(size: usize, payload: usize) -> usize {
    if payload < OWN_CALL {
        size
    } else {
        size.min(FEW_HEADERS)
    }
}

/// Until the next attempt when the system is short of network buffers.
const SHORTAGE: Duration = Duration::from_millis(10);

/// After sending failed with `why` (EAGAIN, ENOBUFS or ENOMEM): waits until it
/// is worth trying again.
pub fn wait_writable(socket: impl AsFd, why: Errno) {
    if why != Errno::EAGAIN {
        // The socket has room, the system has not: nothing tells when.
        std::thread::sleep(SHORTAGE);
        return;
    }
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
    // Whatever it says, the next attempt to send will say it better.
    let _ = poll(&mut fds, PollTimeout::NONE);
}

/// What the options `-n`, `-S` and `-R` say about connections.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct TcpOptions {
    /// Small frames go out at once (not `-n`).
    pub no_delay: bool,
    /// `-S`, in bytes; without it the system sizes the buffer as it sees fit.
    pub send_buffer: Option<usize>,
    /// `-R`, likewise.
    pub receive_buffer: Option<usize>,
}

impl TcpOptions {
    /// Prepares a socket before it connects or listens: the buffer size decides
    /// the window that is negotiated.
    pub fn prepare(&self, socket: &Socket) -> io::Result<()> {
        if let Some(size) = self.send_buffer {
            socket.set_send_buffer_size(size)?;
        }
        if let Some(size) = self.receive_buffer {
            socket.set_recv_buffer_size(size)?;
        }
        self.tune(&SockRef::from(socket))
    }

    /// What not every system hands down from a listening socket to those it
    /// accepts.
    pub fn tune(&self, socket: &SockRef<'_>) -> io::Result<()> {
        socket.set_tcp_nodelay(self.no_delay)?;
        socket.set_tcp_keepalive(
            &TcpKeepalive::new()
                .with_time(KEEPALIVE_IDLE)
                .with_interval(KEEPALIVE_INTERVAL)
                .with_retries(KEEPALIVE_RETRIES),
        )?;
        #[cfg(target_os = "linux")]
        socket.set_tcp_user_timeout(Some(USER_TIMEOUT))?;
        Ok(())
    }

    /// Warns when the system gave less than was asked for.
    pub fn warn_if_clamped(&self, socket: &SockRef<'_>) {
        let asked = [
            ('S', self.send_buffer, socket.send_buffer_size(), SEND_LIMIT),
            (
                'R',
                self.receive_buffer,
                socket.recv_buffer_size(),
                RECEIVE_LIMIT,
            ),
        ];
        for (option, wanted, got, sysctl) in asked {
            if let Some(message) = clamped(option, wanted, got.ok(), sysctl) {
                log::warning!("{message}");
            }
        }
    }
}

#[cfg(target_os = "linux")]
const SEND_LIMIT: &str = "net.core.wmem_max";
#[cfg(target_os = "linux")]
const RECEIVE_LIMIT: &str = "net.core.rmem_max";
#[cfg(not(target_os = "linux"))]
const SEND_LIMIT: &str = "kern.ipc.maxsockbuf";
#[cfg(not(target_os = "linux"))]
const RECEIVE_LIMIT: &str = "kern.ipc.maxsockbuf";

/// Linux counts its own overhead in and says twice what it grants.
const REPORTED_PER_GRANTED: usize = if cfg!(target_os = "linux") { 2 } else { 1 };

fn clamped(
    option: char,
    wanted: Option<usize>,
    got: Option<usize>,
    sysctl: &str,
) -> Option<String> {
    let (wanted, got) = (wanted?, got? / REPORTED_PER_GRANTED);
    (got < wanted).then(|| {
        format!(
            "-{option} {wanted}: the system grants only {got} bytes; raise the sysctl {sysctl}."
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Type};

    #[test]
    fn a_buffer_that_was_cut_is_told_with_the_sysctl_to_raise() {
        let options = TcpOptions {
            no_delay: true,
            send_buffer: Some(1 << 30),
            receive_buffer: Some(8192),
        };
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        options.prepare(&socket).unwrap();
        let got = socket.send_buffer_size().ok();
        let message = clamped('S', options.send_buffer, got, SEND_LIMIT).unwrap();
        assert!(message.contains(SEND_LIMIT), "{message}");
        let got = socket.recv_buffer_size().ok();
        assert_eq!(clamped('R', options.receive_buffer, got, "x"), None);
        assert_eq!(clamped('S', None, Some(1), "x"), None);
    }
}
