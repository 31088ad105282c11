//! All addresses of a host, where base looks at the first one only: a peer
//! with IPv4 and IPv6 may use either.

use crate::config::address::TcpAddress;
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs as _};

/// The address of a host that no resolver has to be asked for.
pub(super) fn numeric(address: &TcpAddress) -> Option<IpAddr> {
    address.host.parse().ok()
}

/// All addresses of the family, at least one. Takes as long as the resolver
/// does.
pub(super) fn look_up(address: &TcpAddress, default_port: u16) -> io::Result<Vec<SocketAddr>> {
    let port = address.port.unwrap_or(default_port);
    let host = &address.host;
    let found = (host.as_str(), port).to_socket_addrs();
    let found = found
        .map_err(|e| io::Error::new(e.kind(), format!("{host}: {}", ggate::errno::words(&e))))?;
    let fitting: Vec<_> = found.filter(|a| address.family.has(a.ip())).collect();
    if fitting.is_empty() {
        let why = format!("{host} has no address of that family");
        return Err(io::Error::new(io::ErrorKind::NotFound, why));
    }
    Ok(fitting)
}
