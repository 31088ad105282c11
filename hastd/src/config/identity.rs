//! Which `on` block is this machine. Facts: spec/hast-config.md section 4.

use nix::unistd;
use std::io;

/// The names a machine goes by.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Identity {
    /// Its host name, in full.
    pub hostname: String,
    /// Its id as a UUID: FreeBSD's `kern.hostuuid`.
    pub uuid: Option<String>,
    /// FreeBSD's `kern.hostid`.
    pub hostid: Option<u64>,
}

/// Why this machine has no name.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot tell which node this is: {what}: {}",
    ggate::errno::words(error)
)]
pub struct IdentityError {
    what: &'static str,
    error: io::Error,
}

impl Identity {
    /// The names of the machine this runs on.
    pub fn of_system() -> Result<Self, IdentityError> {
        let fail = |what| move |error| IdentityError { what, error };
        let hostname = unistd::gethostname()
            .map_err(|errno| fail("gethostname")(errno.into()))?
            .into_string()
            .map_err(|name| {
                fail("gethostname")(io::Error::other(format!("{} is no text", name.display())))
            })?;
        Ok(Self {
            hostname,
            uuid: system::uuid().map_err(fail(system::UUID))?,
            hostid: system::hostid().map_err(fail(system::HOSTID))?,
        })
    }

    /// A node that goes by one name only (`node NAME`, ours), so that several
    /// can be on one machine.
    #[must_use]
    pub fn node(name: &str) -> Self {
        Self {
            hostname: name.into(),
            ..Self::default()
        }
    }

    /// Whether a block is this machine's.
    #[must_use]
    pub fn is(&self, name: &str) -> bool {
        self.hostname == name
            || self.short() == Some(name)
            || self
                .uuid
                .as_ref()
                .is_some_and(|uuid| uuid.eq_ignore_ascii_case(name))
            || self.hostid_word().as_deref() == Some(name)
    }

    /// Whether a block would be, if host names were compared without their
    /// case.
    pub(super) fn is_but_for_case(&self, name: &str) -> bool {
        let same = |own: &str| own != name && own.eq_ignore_ascii_case(name);
        !self.is(name) && (same(&self.hostname) || self.short().is_some_and(same))
    }

    /// All names, for messages.
    pub(super) fn names(&self) -> String {
        let short = self.short().map(str::to_owned);
        let full = Some(self.hostname.clone());
        let names = [short, full, self.uuid.clone(), self.hostid_word()];
        names.into_iter().flatten().collect::<Vec<_>>().join(", ")
    }

    fn short(&self) -> Option<&str> {
        self.hostname.split_once('.').map(|(short, _)| short)
    }

    fn hostid_word(&self) -> Option<String> {
        self.hostid.map(|id| format!("hostid{id}"))
    }
}

#[cfg(target_os = "freebsd")]
#[allow(unsafe_code, reason = "nix has no sysctl")]
mod system {
    use std::ffi::CStr;
    use std::io;

    pub(super) const UUID: &str = "kern.hostuuid";
    pub(super) const HOSTID: &str = "kern.hostid";

    /// Longest value in bytes: a UUID has 36.
    const LONGEST: usize = 64;

    pub(super) fn uuid() -> io::Result<Option<String>> {
        let mut value = [0; LONGEST];
        let length = read(c"kern.hostuuid", &mut value)?;
        let text = CStr::from_bytes_until_nul(&value[..length]).map_err(io::Error::other)?;
        let text = text.to_str().map_err(io::Error::other)?;
        Ok(Some(text.to_owned()))
    }

    /// An unsigned long.
    pub(super) fn hostid() -> io::Result<Option<u64>> {
        let mut value = [0; size_of::<u64>()];
        if read(c"kern.hostid", &mut value)? != value.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        // Both of the architectures that are supported are little-endian.
        Ok(Some(u64::from_le_bytes(value)))
    }

    /// Bytes of the value.
    fn read(name: &CStr, value: &mut [u8]) -> io::Result<usize> {
        let mut length = value.len();
        // SAFETY: the name ends with a NUL, `value` has room for `length`
        // bytes, and nothing is set.
        let result = unsafe {
            libc::sysctlbyname(
                name.as_ptr(),
                value.as_mut_ptr().cast(),
                &raw mut length,
                std::ptr::null(),
                0,
            )
        };
        match result {
            0 => Ok(length),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

#[cfg(not(target_os = "freebsd"))]
mod system {
    use std::{fs, io};

    pub(super) const UUID: &str = "/etc/machine-id";
    pub(super) const HOSTID: &str = "hostid";

    /// The id systemd gives a machine, written as FreeBSD writes one. Not
    /// every machine has one.
    pub(super) fn uuid() -> io::Result<Option<String>> {
        match fs::read_to_string(UUID) {
            Ok(id) => Ok(super::uuid_of(id.trim_ascii_end())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// What Linux calls so is made of an IP address.
    #[expect(clippy::unnecessary_wraps, reason = "it can fail on FreeBSD")]
    pub(super) const fn hostid() -> io::Result<Option<u64>> {
        Ok(None)
    }
}

/// 32 hexadecimal digits as a UUID.
#[cfg(any(test, not(target_os = "freebsd")))]
fn uuid_of(id: &str) -> Option<String> {
    let digits = id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
    let parts = [0..8, 8..12, 12..16, 16..20, 20..32];
    digits.then(|| parts.map(|part| &id[part]).join("-"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodea() -> Identity {
        Identity {
            hostname: "nodea.example.org".into(),
            uuid: Some("8a7b6c5d-0000-1111-2222-333344445555".into()),
            hostid: Some(12345),
        }
    }

    #[test]
    fn a_machine_goes_by_four_names() {
        for name in [
            "nodea.example.org",
            "nodea",
            "8a7b6c5d-0000-1111-2222-333344445555",
            "8A7B6C5D-0000-1111-2222-333344445555",
            "hostid12345",
        ] {
            assert!(nodea().is(name), "{name}");
        }
        for name in [
            "NodeA",
            "nodea.",
            "example.org",
            "12345",
            "Hostid12345",
            "nodeb",
        ] {
            assert!(!nodea().is(name), "{name}");
        }
        assert_eq!(
            nodea().names(),
            "nodea, nodea.example.org, 8a7b6c5d-0000-1111-2222-333344445555, hostid12345"
        );
    }

    #[test]
    fn a_name_of_other_case_is_noticed() {
        assert!(nodea().is_but_for_case("NodeA"));
        assert!(nodea().is_but_for_case("nodea.Example.org"));
        assert!(!nodea().is_but_for_case("nodea"));
        assert!(!nodea().is_but_for_case("nodeb"));
    }

    #[test]
    fn a_node_goes_by_its_own_name_only() {
        let node = Identity::node("a.local");
        assert!(node.is("a.local") && node.is("a"));
        assert_eq!(node.names(), "a, a.local");
    }

    #[test]
    fn the_system_has_a_name() {
        let identity = Identity::of_system().unwrap();
        assert!(identity.is(&identity.hostname));
    }

    #[test]
    fn only_an_id_becomes_a_uuid() {
        assert_eq!(
            uuid_of("0123456789abcdef0123456789abcdef").unwrap(),
            "01234567-89ab-cdef-0123-456789abcdef"
        );
        for bad in ["", "uninitialized", "0123456789abcdef0123456789abcdeg"] {
            assert_eq!(uuid_of(bad), None, "{bad}");
        }
    }
}
