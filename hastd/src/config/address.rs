//! Addresses of `control`, `listen`, `remote` and `source`.
//! Facts: spec/hast-config.md section 5.
//!
//! | form | what |
//! |---|---|
//! | `uds://PATH`, `unix://PATH`, `/PATH` | a UNIX socket |
//! | `tcp://HOST`, `tcp4://HOST`, `tcp6://HOST`, `HOST`, each with or without `:PORT` | TCP |
//!
//! As in base, but for an IPv6 address in brackets without a port, which base
//! refuses (K33).

use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};

/// Port of `listen` and `remote` where none is given.
pub const DEFAULT_PORT: u16 = 8457;

/// Longest path of a UNIX socket in bytes: FreeBSD has 104 with the NUL.
pub const LONGEST_UNIX_PATH: usize = 103;

/// Longest host in bytes.
const LONGEST_HOST: usize = 255;

/// An address, understood but not looked up.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub enum Address {
    /// A UNIX socket.
    Unix(PathBuf),
    /// TCP.
    Tcp(TcpAddress),
}

/// An address of TCP.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct TcpAddress {
    /// Which kind of IP.
    pub family: Family,
    /// An IP address without brackets, or a name.
    pub host: String,
    /// The port, if one is given: [`DEFAULT_PORT`] else, and 0 for `source`.
    pub port: Option<u16>,
}

/// A version of IP.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Family {
    /// Either.
    Any,
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Why an address cannot be understood.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AddressError {
    /// No transport has this name.
    #[error("`{0}://` is none of tcp://, tcp4://, tcp6://, uds:// and unix://")]
    Scheme(String),
    /// A UNIX socket without path.
    #[error("the path of the socket is missing")]
    NoPath,
    /// A path too long for a UNIX socket.
    #[error("the path has {0} bytes; a UNIX socket can have {LONGEST_UNIX_PATH}")]
    LongPath(usize),
    /// There is nothing before the port.
    #[error("the host is missing")]
    NoHost,
    /// A host too long for a name.
    #[error("the host has more than {LONGEST_HOST} bytes")]
    LongHost,
    /// A network, or a path.
    #[error("a host has no `/`: write the address alone, without the length of a prefix")]
    Slash,
    /// `[` without `]`, or the other way round, or something behind `]`.
    #[error("brackets belong round the IPv6 address and nothing else: [::1]:8457")]
    Brackets,
    /// Not a number from 1 to 65535.
    #[error("`{0}` is no port: it must be a number from 1 to 65535")]
    Port(String),
    /// An IPv4 address behind `tcp6://`, or the other way round.
    #[error("{0} is not of the family that the address begins with")]
    Family(IpAddr),
}

impl Address {
    /// Understands an address.
    pub fn parse(text: &str) -> Result<Self, AddressError> {
        let (scheme, rest) = match text.split_once("://") {
            Some((scheme, rest)) if !scheme.contains(['/', ':']) => (scheme, rest),
            _ => ("", text),
        };
        let family = match scheme.to_ascii_lowercase().as_str() {
            "uds" | "unix" => return unix(rest),
            "" if text.starts_with('/') && !text.contains("://") => return unix(text),
            "" if rest.len() < text.len() => return Err(AddressError::Scheme(String::new())),
            "" | "tcp" => Family::Any,
            "tcp4" => Family::V4,
            "tcp6" => Family::V6,
            _ => return Err(AddressError::Scheme(scheme.into())),
        };
        tcp(family, rest).map(Self::Tcp)
    }

    /// Where it is, alike for all ways to write it that need no resolver: to
    /// look for one address among others.
    #[must_use]
    pub(super) fn place(self) -> Self {
        match self {
            Self::Unix(path) => Self::Unix(path),
            Self::Tcp(TcpAddress { host, port, .. }) => Self::Tcp(TcpAddress {
                family: Family::Any,
                host: match host.parse::<IpAddr>() {
                    Ok(ip) => ip.to_string(),
                    Err(_) => host.to_ascii_lowercase(),
                },
                port: port.or(Some(DEFAULT_PORT)),
            }),
        }
    }

    /// The path, if it is a UNIX socket's.
    #[must_use]
    pub fn as_unix(&self) -> Option<&Path> {
        match self {
            Self::Unix(path) => Some(path),
            Self::Tcp(_) => None,
        }
    }
}

fn unix(path: &str) -> Result<Address, AddressError> {
    match path.len() {
        0 => Err(AddressError::NoPath),
        1..=LONGEST_UNIX_PATH => Ok(Address::Unix(path.into())),
        length => Err(AddressError::LongPath(length)),
    }
}

fn tcp(family: Family, text: &str) -> Result<TcpAddress, AddressError> {
    let (host, port) = split(text);
    let port = port.map(parse_port).transpose()?;
    let host = match host.strip_prefix('[') {
        Some(inner) => inner.strip_suffix(']').ok_or(AddressError::Brackets)?,
        None => host,
    };
    match host.len() {
        0 => return Err(AddressError::NoHost),
        1..=LONGEST_HOST => {}
        _ => return Err(AddressError::LongHost),
    }
    if host.contains(['[', ']']) {
        return Err(AddressError::Brackets);
    }
    if host.contains('/') {
        return Err(AddressError::Slash);
    }
    if let Ok(ip) = host.parse::<IpAddr>()
        && !family.has(ip)
    {
        return Err(AddressError::Family(ip));
    }
    Ok(TcpAddress {
        family,
        host: host.into(),
        port,
    })
}

/// Host, perhaps in brackets, and port.
fn split(text: &str) -> (&str, Option<&str>) {
    let split = match text.rsplit_once(':') {
        // The last colon belongs to the address.
        Some((host, _)) if host.contains(':') && !text.starts_with('[') => None,
        Some(_) if text.starts_with('[') && text.ends_with(']') => None,
        split => split,
    };
    split.map_or((text, None), |(host, port)| (host, Some(port)))
}

fn parse_port(text: &str) -> Result<u16, AddressError> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let port = text.parse().ok().filter(|port| *port != 0 && digits);
    port.ok_or_else(|| AddressError::Port(text.into()))
}

impl Family {
    /// Whether the IP address is of this kind.
    #[must_use]
    pub const fn has(self, ip: IpAddr) -> bool {
        match self {
            Self::Any => true,
            Self::V4 => ip.is_ipv4(),
            Self::V6 => ip.is_ipv6(),
        }
    }
}

impl TcpAddress {
    /// Looks the host up: the first address of the family counts, as in base.
    /// May take as long as the resolver waits for its servers.
    pub fn resolve(&self, default_port: u16) -> io::Result<SocketAddr> {
        let port = self.port.unwrap_or(default_port);
        let found = (self.host.as_str(), port).to_socket_addrs()?;
        let mut fitting = found.filter(|address| self.family.has(address.ip()));
        fitting.next().ok_or_else(|| {
            let family = match self.family {
                Family::Any => "IP",
                Family::V4 => "IPv4",
                Family::V6 => "IPv6",
            };
            io::Error::other(format!("{} has no {family} address", self.host))
        })
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "uds://{}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

impl fmt::Display for TcpAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.family {
            Family::Any => "tcp://",
            Family::V4 => "tcp4://",
            Family::V6 => "tcp6://",
        })?;
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?;
        } else {
            f.write_str(&self.host)?;
        }
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn parse(text: &str) -> String {
        match Address::parse(text) {
            Ok(address) => address.to_string(),
            Err(error) => format!("error: {error}"),
        }
    }

    #[test]
    fn every_form_of_base_is_understood() {
        let table = [
            ("/var/run/hastctl", "uds:///var/run/hastctl"),
            ("uds:///var/run/hastctl", "uds:///var/run/hastctl"),
            ("UNIX://run/ctl", "uds://run/ctl"),
            ("host.example.org:8457", "tcp://host.example.org:8457"),
            ("10.0.0.1", "tcp://10.0.0.1"),
            ("10.0.0.1:9000", "tcp://10.0.0.1:9000"),
            ("fe80::1", "tcp://[fe80::1]"),
            ("[::1]:8457", "tcp://[::1]:8457"),
            ("TCP4://0.0.0.0:8457", "tcp4://0.0.0.0:8457"),
            ("tcp6://[::]:8457", "tcp6://[::]:8457"),
            ("tcp://a:08457", "tcp://a:8457"),
            ("[10.0.0.1]:80", "tcp://10.0.0.1:80"),
            // Base refuses these.
            ("[::1]", "tcp://[::1]"),
            ("tcp6://[fe80::1]", "tcp6://[fe80::1]"),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text), expected, "{text}");
        }
    }

    #[test]
    fn what_is_no_address_is_told_why() {
        let table = [
            ("tcp4://127.0.0.9:99999", "`99999` is no port"),
            ("a:0", "`0` is no port"),
            ("a:", "`` is no port"),
            ("a:+80", "`+80` is no port"),
            ("a:http", "`http` is no port"),
            ("socketpair://", "`socketpair://` is none of"),
            ("://a", "`://` is none of"),
            ("uds://", "the path of the socket is missing"),
            ("tcp://", "the host is missing"),
            (":80", "the host is missing"),
            ("", "the host is missing"),
            ("[::1", "brackets"),
            ("tcp://2001:db8::1/64", "a host has no `/`"),
            ("[::1:80", "brackets"),
            ("[::1]80:80", "brackets"),
            ("::1]", "brackets"),
            ("tcp4://::1", "::1 is not of the family"),
            ("tcp6://10.0.0.1", "10.0.0.1 is not of the family"),
            ("/a://b", "`//b` is no port"),
        ];
        for (text, expected) in table {
            let error = parse(text);
            let reason = error.strip_prefix("error: ").unwrap_or("accepted");
            assert!(reason.starts_with(expected), "{text}: {error}");
        }
        assert!(Address::parse(&format!("/{}", "p".repeat(102))).is_ok());
        let long = Address::parse(&format!("/{}", "p".repeat(103)));
        assert_eq!(long, Err(AddressError::LongPath(104)));
        assert!(Address::parse(&"h".repeat(255)).is_ok());
        let long = Address::parse(&"h".repeat(256));
        assert_eq!(long, Err(AddressError::LongHost));
    }

    #[test]
    fn numbers_resolve_without_a_resolver() {
        let resolve = |text| match Address::parse(text).unwrap() {
            Address::Tcp(address) => address.resolve(DEFAULT_PORT).unwrap().to_string(),
            Address::Unix(path) => panic!("{}", path.display()),
        };
        assert_eq!(resolve("10.0.0.1"), "10.0.0.1:8457");
        assert_eq!(resolve("tcp6://[::1]:1"), "[::1]:1");
        assert_eq!(resolve("::1"), "[::1]:8457");
    }

    proptest! {
        #[test]
        fn what_is_understood_is_understood_again(text in "(tcp[46]?://|uds://|/)?[a-c0-9:.\\[\\]/]{0,12}(:[0-9]{1,5})?") {
            if let Ok(address) = Address::parse(&text) {
                prop_assert_eq!(Address::parse(&address.to_string()), Ok(address));
            }
        }
    }
}
