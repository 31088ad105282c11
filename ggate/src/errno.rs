//! FreeBSD's error numbers, which the protocols carry, and the host's.
//!
//! Both ggate and HAST put raw FreeBSD `errno` values on the wire. On FreeBSD
//! they are the host's own; elsewhere they are translated, since only 1 to 34
//! without 11 mean the same everywhere. Numbers: FreeBSD `sys/errno.h`;
//! `spec/ggate-wire-and-cli.md` section 8.

use nix::errno::Errno;
use std::fmt;
use std::io;
use std::num::NonZeroU16;

/// An error for people: what the system calls it, without the number that Rust
/// puts behind it.
#[must_use]
pub fn words(error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(number) => Errno::from_raw(number).desc().to_owned(),
        None => error.to_string(),
    }
}

/// An error as peers send it: a FreeBSD number, never 0.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct WireErrno(NonZeroU16);

/// FreeBSD's largest error number (`ELAST`, which is `EINTEGRITY`).
const LAST: u16 = 97;

impl WireErrno {
    /// What every error becomes that has no number of its own.
    pub const EIO: Self = Self::known(5);
    /// A second deadlock number: some callers retry it.
    pub const EDEADLK: Self = Self::known(11);
    /// GEOM retries a request that failed with it for ever.
    pub const ENOMEM: Self = Self::known(12);
    /// Bad range, alignment or length.
    pub const EINVAL: Self = Self::known(22);
    /// A gate puts a request that failed with it back into its queue.
    pub const EAGAIN: Self = Self::known(35);
    /// An unknown command.
    pub const EOPNOTSUPP: Self = Self::known(45);

    const fn known(number: u16) -> Self {
        match NonZeroU16::new(number) {
            Some(number) => Self(number),
            None => panic!("an error number is not 0"),
        }
    }

    /// The number as received; `None` for 0, which means success.
    #[must_use]
    pub fn new(number: u16) -> Option<Self> {
        NonZeroU16::new(number).map(Self)
    }

    /// The number to send.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0.get()
    }

    /// The number for an error of this host. What FreeBSD does not have is EIO.
    #[must_use]
    pub fn from_host(error: Errno) -> Self {
        host_to_wire(error).and_then(Self::new).unwrap_or(Self::EIO)
    }

    /// This host's error for the number. What the host does not have is EIO.
    #[must_use]
    pub fn to_host(self) -> Errno {
        match wire_to_host(self.get()) {
            Errno::UnknownErrno => Errno::EIO,
            known => known,
        }
    }

    /// The same error, or EIO for the numbers that make the kernel at the other
    /// end of a gate retry a request for ever (EAGAIN, ENOMEM), that peers take
    /// for one of these (EDEADLK: Linux' EAGAIN), or that no system knows.
    /// Servers send, and clients believe, nothing else.
    #[must_use]
    pub fn final_error(self) -> Self {
        match self {
            Self::EAGAIN | Self::EDEADLK | Self::ENOMEM => Self::EIO,
            Self(number) if number.get() > LAST => Self::EIO,
            fine => fine,
        }
    }

    /// The error to complete a gate's request with: [`final_error`] as the
    /// host's.
    ///
    /// [`final_error`]: Self::final_error
    #[must_use]
    pub fn for_gate(self) -> Errno {
        self.final_error().to_host()
    }
}

impl From<Errno> for WireErrno {
    fn from(error: Errno) -> Self {
        Self::from_host(error)
    }
}

impl fmt::Display for WireErrno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match wire_to_host(self.get()) {
            Errno::UnknownErrno => write!(f, "error {}", self.get()),
            known => f.write_str(known.desc()),
        }
    }
}

impl fmt::Debug for WireErrno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match wire_to_host(self.get()) {
            Errno::UnknownErrno => write!(f, "WireErrno({})", self.get()),
            known => write!(f, "{known:?}({})", self.get()),
        }
    }
}

#[cfg(target_os = "freebsd")]
fn host_to_wire(error: Errno) -> Option<u16> {
    u16::try_from(error as i32).ok()
}

#[cfg(target_os = "freebsd")]
fn wire_to_host(number: u16) -> Errno {
    Errno::from_raw(i32::from(number))
}

/// Up to here, FreeBSD and everybody else agree (11 apart): the numbers of
/// Seventh Edition Unix and EDOM, ERANGE.
#[cfg(not(target_os = "freebsd"))]
const SHARED: u16 = 34;

#[cfg(not(target_os = "freebsd"))]
fn host_to_wire(error: Errno) -> Option<u16> {
    if let Some((number, _)) = FOREIGN.iter().find(|(_, host)| *host == error) {
        return Some(*number);
    }
    u16::try_from(error as i32).ok().filter(|n| *n <= SHARED)
}

#[cfg(not(target_os = "freebsd"))]
fn wire_to_host(number: u16) -> Errno {
    if let Some((_, host)) = FOREIGN.iter().find(|(wire, _)| *wire == number) {
        return *host;
    }
    if number > SHARED {
        return Errno::UnknownErrno;
    }
    Errno::from_raw(i32::from(number))
}

/// FreeBSD's numbers that mean something else, or nothing, on other hosts.
/// EPROCLIM, the RPC and AUTH errors, EFTYPE, EDOOFUS, ENOTCAPABLE, ECAPMODE
/// and EINTEGRITY exist only there.
#[cfg(not(target_os = "freebsd"))]
const FOREIGN: &[(u16, Errno)] = &[
    (11, Errno::EDEADLK),
    (35, Errno::EAGAIN),
    (36, Errno::EINPROGRESS),
    (37, Errno::EALREADY),
    (38, Errno::ENOTSOCK),
    (39, Errno::EDESTADDRREQ),
    (40, Errno::EMSGSIZE),
    (41, Errno::EPROTOTYPE),
    (42, Errno::ENOPROTOOPT),
    (43, Errno::EPROTONOSUPPORT),
    (44, Errno::ESOCKTNOSUPPORT),
    (45, Errno::EOPNOTSUPP),
    (46, Errno::EPFNOSUPPORT),
    (47, Errno::EAFNOSUPPORT),
    (48, Errno::EADDRINUSE),
    (49, Errno::EADDRNOTAVAIL),
    (50, Errno::ENETDOWN),
    (51, Errno::ENETUNREACH),
    (52, Errno::ENETRESET),
    (53, Errno::ECONNABORTED),
    (54, Errno::ECONNRESET),
    (55, Errno::ENOBUFS),
    (56, Errno::EISCONN),
    (57, Errno::ENOTCONN),
    (58, Errno::ESHUTDOWN),
    (59, Errno::ETOOMANYREFS),
    (60, Errno::ETIMEDOUT),
    (61, Errno::ECONNREFUSED),
    (62, Errno::ELOOP),
    (63, Errno::ENAMETOOLONG),
    (64, Errno::EHOSTDOWN),
    (65, Errno::EHOSTUNREACH),
    (66, Errno::ENOTEMPTY),
    (68, Errno::EUSERS),
    (69, Errno::EDQUOT),
    (70, Errno::ESTALE),
    (71, Errno::EREMOTE),
    (77, Errno::ENOLCK),
    (78, Errno::ENOSYS),
    (82, Errno::EIDRM),
    (83, Errno::ENOMSG),
    (84, Errno::EOVERFLOW),
    (85, Errno::ECANCELED),
    (86, Errno::EILSEQ),
    (87, Errno::ENODATA),
    (89, Errno::EBADMSG),
    (90, Errno::EMULTIHOP),
    (91, Errno::ENOLINK),
    (92, Errno::EPROTO),
    (95, Errno::ENOTRECOVERABLE),
    (96, Errno::EOWNERDEAD),
];

#[cfg(test)]
mod tests {
    use super::*;

    fn wire(number: u16) -> WireErrno {
        WireErrno::new(number).unwrap()
    }

    #[test]
    fn the_numbers_of_the_specification() {
        for (number, host) in [
            (1, Errno::EPERM),
            (2, Errno::ENOENT),
            (5, Errno::EIO),
            (6, Errno::ENXIO),
            (11, Errno::EDEADLK),
            (12, Errno::ENOMEM),
            (21, Errno::EISDIR),
            (22, Errno::EINVAL),
            (27, Errno::EFBIG),
            (28, Errno::ENOSPC),
            (30, Errno::EROFS),
            (35, Errno::EAGAIN),
            (45, Errno::EOPNOTSUPP),
            (54, Errno::ECONNRESET),
            (55, Errno::ENOBUFS),
            (60, Errno::ETIMEDOUT),
            (61, Errno::ECONNREFUSED),
            (63, Errno::ENAMETOOLONG),
            (69, Errno::EDQUOT),
            (70, Errno::ESTALE),
            (78, Errno::ENOSYS),
            (84, Errno::EOVERFLOW),
            (85, Errno::ECANCELED),
            (92, Errno::EPROTO),
        ] {
            assert_eq!(WireErrno::from_host(host), wire(number));
            assert_eq!(wire(number).to_host(), host);
        }
    }

    #[test]
    fn errors_that_make_a_kernel_retry_for_ever_become_eio() {
        for number in [11, 12, 35, 98, 4096, u16::MAX] {
            assert_eq!(wire(number).for_gate(), Errno::EIO, "{number}");
        }
        assert_eq!(wire(28).for_gate(), Errno::ENOSPC);
        assert_eq!(wire(6).for_gate(), Errno::ENXIO);
    }

    #[test]
    fn every_number_has_a_host_error_and_comes_back_or_is_eio() {
        for number in 1..=u16::MAX {
            let host = wire(number).to_host();
            assert_ne!(host, Errno::UnknownErrno, "{number}");
            let back = WireErrno::from_host(host);
            assert!(
                back == wire(number) || back == WireErrno::EIO,
                "{number} became {back:?}"
            );
        }
    }

    #[test]
    fn zero_is_no_error() {
        assert_eq!(WireErrno::new(0), None);
    }
}
