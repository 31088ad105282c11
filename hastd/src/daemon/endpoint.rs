//! Where sockets go: an address of the configuration, looked up.
//! Facts: spec/hast-config.md section 5.

use std::fmt::{self, Display};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;

/// Port of `listen` and `remote`.
pub(super) const PORT: u16 = 8457;

/// An address of the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Endpoint {
    /// A UNIX socket.
    Unix(PathBuf),
    /// A TCP port.
    Tcp(Host),
}

/// A machine, perhaps by its name, and a port.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) struct Host {
    name: String,
    port: u16,
    family: Family,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Family {
    Any,
    V4,
    V6,
}

impl Endpoint {
    /// Reads an address; `port` is the one that it means if it names none.
    pub(super) fn parse(text: &str, port: u16) -> io::Result<Self> {
        let wrong = || io::Error::new(io::ErrorKind::InvalidInput, "it is no address");
        let scheme = |name: &str| {
            let (head, rest) = text.split_at_checked(name.len())?;
            head.eq_ignore_ascii_case(name).then_some(rest)
        };
        if let Some(path) = scheme("uds://").or_else(|| scheme("unix://")) {
            return Ok(Self::Unix(path.into()));
        }
        if text.starts_with('/') && !text.contains("://") {
            return Ok(Self::Unix(text.into()));
        }
        let (family, rest) = [
            ("tcp4://", Family::V4),
            ("tcp6://", Family::V6),
            ("tcp://", Family::Any),
        ]
        .into_iter()
        .find_map(|(name, family)| Some((family, scheme(name)?)))
        .unwrap_or((Family::Any, text));
        let (name, port_text) = split(rest);
        let port = match port_text {
            Some(text) if text.bytes().all(|b| b.is_ascii_digit()) => text
                .parse()
                .ok()
                .filter(|port| *port > 0)
                .ok_or_else(wrong)?,
            Some(_) => return Err(wrong()),
            None => port,
        };
        Ok(Self::Tcp(Host {
            name: name.to_owned(),
            port,
            family,
        }))
    }
}

/// Host and port. Two colons are an IPv6 address, unless it is in brackets.
fn split(text: &str) -> (&str, Option<&str>) {
    let bracketed = text.strip_prefix('[').and_then(|rest| rest.split_once(']'));
    if let Some((host, rest)) = bracketed {
        return (host, rest.strip_prefix(':'));
    }
    match text.split_once(':') {
        Some((host, port)) if !port.contains(':') => (host, Some(port)),
        _ => (text, None),
    }
}

impl Host {
    /// Its address, if no resolver is needed.
    pub(super) fn numeric(&self) -> Option<SocketAddr> {
        let address: IpAddr = self.name.parse().ok()?;
        Some(SocketAddr::new(address, self.port))
    }

    /// All its addresses, at least one. Takes as long as the resolver does.
    pub(super) fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        let found = (self.name.as_str(), self.port).to_socket_addrs()?;
        let fits = |address: &SocketAddr| match self.family {
            Family::Any => true,
            Family::V4 => address.is_ipv4(),
            Family::V6 => address.is_ipv6(),
        };
        let found: Vec<SocketAddr> = found.filter(fits).collect();
        if found.is_empty() {
            let why = format!("{self} has no address of that family");
            return Err(io::Error::new(io::ErrorKind::NotFound, why));
        }
        Ok(found)
    }
}

impl Display for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}
