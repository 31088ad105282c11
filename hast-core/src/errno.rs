//! Error numbers as they travel: FreeBSD's, whatever the machine.

use core::fmt;
use core::num::NonZeroU16;

/// A FreeBSD error number, 1 to 32767.
///
/// Translating from and to the host's numbers is the shell's business; this
/// crate never sees those.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Errno(NonZeroU16);

macro_rules! numbers {
    ($($name:ident = $n:literal, $text:literal;)*) => {
        impl Errno {
            $(#[doc = $text] pub const $name: Self = Self(NonZeroU16::new($n).unwrap());)*

            /// What the number means, if it is one this program uses.
            #[must_use]
            pub const fn text(self) -> Option<&'static str> {
                match self.0.get() {
                    $($n => Some($text),)*
                    _ => None,
                }
            }
        }
    };
}

// FreeBSD 14: sys/sys/errno.h.
numbers! {
    EIO = 5, "Input/output error";
    ENXIO = 6, "Device not configured";
    ENOMEM = 12, "Cannot allocate memory";
    EINVAL = 22, "Invalid argument";
    ENOTTY = 25, "Inappropriate ioctl for device";
    ENOSPC = 28, "No space left on device";
    EROFS = 30, "Read-only file system";
    EOPNOTSUPP = 45, "Operation not supported";
    ENOTCONN = 57, "Socket is not connected";
    ETIMEDOUT = 60, "Operation timed out";
}

impl Errno {
    /// `None` unless `n` is a number that can travel: 1 to 32767, since the
    /// entry is an int16.
    #[must_use]
    pub fn new(n: u16) -> Option<Self> {
        NonZeroU16::new(n)
            .filter(|n| i16::try_from(n.get()).is_ok())
            .map(Self)
    }

    /// The number.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0.get()
    }

    /// Whether this answers a FLUSH with "there is no volatile cache to
    /// flush", which is a confirmation and not a failure.
    #[must_use]
    pub fn means_no_cache(self) -> bool {
        self == Self::EOPNOTSUPP || self == Self::ENOTTY
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(text) => f.write_str(text),
            None => write!(f, "FreeBSD error {}", self.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::string::ToString;

    #[test]
    fn only_numbers_that_fit_the_entry_exist() {
        assert_eq!(Errno::new(0), None);
        assert_eq!(Errno::new(32767).map(Errno::get), Some(32767));
        assert_eq!(Errno::new(32768), None);
        assert_eq!(Errno::new(22), Some(Errno::EINVAL));
    }

    #[test]
    fn a_missing_cache_is_not_a_failed_flush() {
        assert!(Errno::EOPNOTSUPP.means_no_cache());
        assert!(Errno::ENOTTY.means_no_cache());
        assert!(!Errno::EIO.means_no_cache());
    }

    #[test]
    fn unknown_numbers_are_shown_as_such() {
        assert_eq!(Errno::EIO.to_string(), "Input/output error");
        assert_eq!(Errno::new(97).unwrap().to_string(), "FreeBSD error 97");
    }
}
