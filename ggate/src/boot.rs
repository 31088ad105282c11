//! Which run of the operating system this is.

use crate::wire::InstanceId;
use std::io;

/// Names the time from the last start of the operating system to its end: what
/// a process wrote is in the system's cache as long as this stays the same,
/// whatever became of the process. Where the system has no name for it, each
/// call gives another one, which claims too little and never too much.
pub fn id() -> io::Result<InstanceId> {
    system_id().map_or_else(InstanceId::random, |id| Ok(InstanceId(id)))
}

/// Linux: a UUID as text.
#[cfg(target_os = "linux")]
fn system_id() -> Option<[u8; 16]> {
    parse_uuid(&std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?)
}

#[cfg(any(test, target_os = "linux"))]
fn parse_uuid(text: &str) -> Option<[u8; 16]> {
    let digits: Vec<u8> = text
        .trim_ascii_end()
        .chars()
        .filter(|&c| c != '-')
        .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes: Vec<u8> = pairs.iter().map(|[high, low]| high << 4 | low).collect();
    bytes.try_into().ok().filter(|_| rest.is_empty())
}

/// FreeBSD 13 and later: 16 random bytes.
#[cfg(target_os = "freebsd")]
#[allow(unsafe_code, reason = "nix has no sysctl")]
fn system_id() -> Option<[u8; 16]> {
    let mut id = [0; 16];
    let mut length = id.len();
    // SAFETY: the name ends with a NUL, `id` has room for `length` bytes, and
    // nothing is set.
    let result = unsafe {
        libc::sysctlbyname(
            c"kern.boot_id".as_ptr(),
            id.as_mut_ptr().cast(),
            &raw mut length,
            std::ptr::null(),
            0,
        )
    };
    (result == 0 && length == id.len()).then_some(id)
}

#[cfg(not(any(target_os = "linux", target_os = "freebsd")))]
fn system_id() -> Option<[u8; 16]> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_the_same_between_two_starts_of_the_system() {
        assert_eq!(id().unwrap(), id().unwrap());
    }

    #[test]
    fn only_a_uuid_is_one() {
        let uuid = "01234567-89ab-cdef-0123-456789abcdef\n";
        let bytes = parse_uuid(uuid).unwrap();
        assert_eq!(bytes[..5], [0x01, 0x23, 0x45, 0x67, 0x89]);
        for bad in [
            "",
            "0123",
            &uuid[1..],
            "x1234567-89ab-cdef-0123-456789abcdef",
        ] {
            assert_eq!(parse_uuid(bad), None, "{bad:?}");
        }
    }
}
