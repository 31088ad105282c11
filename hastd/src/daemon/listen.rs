//! Sockets that peers connect to.

use super::greet::Origin;
use crate::config::address::{Address, DEFAULT_PORT};
use crate::socket::PrivateSocket;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

/// Connections the system keeps until they are accepted. Base has 8, which the
/// other node's resources overrun when all of them connect at once.
const BACKLOG: i32 = 128;

/// Whom a UNIX socket for peers lets in: the daemon's own user, which the
/// other node's daemon on this host is, too.
const MODE: u32 = 0o600;

/// A socket that listens.
#[derive(Debug)]
pub(super) struct Listener {
    /// Its address as the configuration has it.
    pub(super) address: String,
    socket: Kind,
}

#[derive(Debug)]
enum Kind {
    Tcp(TcpListener),
    Unix(PrivateSocket),
}

/// Where to listen, looked up.
#[derive(Debug)]
pub(super) enum Place {
    Tcp(SocketAddr),
    Unix(PathBuf),
}

impl Place {
    /// That of an address of the configuration. A name is looked up, which may
    /// take long.
    pub(super) fn find(address: &str) -> io::Result<Self> {
        Ok(match Address::parse(address).map_err(io::Error::other)? {
            Address::Unix(path) => Self::Unix(path),
            // Like base, the first one only.
            Address::Tcp(address) => Self::Tcp(address.resolve(DEFAULT_PORT)?),
        })
    }
}

impl Listener {
    /// Listens there; `address` is how the configuration calls it.
    pub(super) fn bind(address: &str, place: Place) -> io::Result<Self> {
        let socket = match place {
            Place::Tcp(address) => Kind::Tcp(bind(address)?),
            Place::Unix(path) => Kind::Unix(PrivateSocket::bind(&path, MODE)?),
        };
        Ok(Self {
            address: address.to_owned(),
            socket,
        })
    }

    /// Lets the next one in, with where it comes from and where to.
    pub(super) fn accept(&self) -> io::Result<(Socket, Origin, String)> {
        match &self.socket {
            Kind::Tcp(listener) => {
                let (stream, from) = listener.accept()?;
                stream.set_nonblocking(true)?;
                stream.set_nodelay(true)?;
                let to = format!("tcp://{}", stream.local_addr()?);
                let from = SocketAddr::new(from.ip().to_canonical(), from.port());
                Ok((stream.into(), Origin::Tcp(from), to))
            }
            Kind::Unix(listener) => {
                let stream = listener.accept()?;
                Ok((stream.into(), Origin::Unix, self.address.clone()))
            }
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.socket {
            Kind::Tcp(listener) => listener.as_fd(),
            Kind::Unix(socket) => socket.as_fd(),
        }
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        // The default set has one for IPv4, too.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}
