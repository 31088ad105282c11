//! Setting up a session: two connections with one token.

use ggate::errno::words;
use ggate::gate::Access;
use ggate::log;
use ggate::net::TcpOptions;
use ggate::range::Geometry;
use ggate::wire::{
    Accepted, ClientInitial, Direction, ExportPath, HandshakeError, InstanceId, Token,
    exchange_initial, exchange_versions,
};
use socket2::{Domain, SockRef, Socket, Type};
use std::fmt;
use std::io;
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::options::Remote;
use crate::receive::SILENCE;

/// How long the first session may take to be answered by a server that has
/// others to attend to, as base's have.
pub(crate) const FIRST_PATIENCE: Duration = Duration::from_secs(30);

/// How long the server may take to open the medium. Long, because on one host
/// with our provider the disks may be waiting for a taste.
const OPEN_PATIENCE: Duration = Duration::from_secs(30);

/// How to reach a server, and what to ask it for.
#[derive(Clone, Debug)]
pub(crate) struct Server {
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) path: ExportPath,
    pub(crate) access: Access,
    pub(crate) direct: bool,
    pub(crate) tcp: TcpOptions,
    /// Names this run of the program to servers that want to know.
    pub(crate) client: InstanceId,
}

/// A session that was granted.
#[derive(Debug)]
pub(crate) struct Session {
    /// Requests go out here.
    pub(crate) requests: TcpStream,
    /// Replies come in here.
    pub(crate) replies: TcpStream,
    pub(crate) geometry: Geometry,
    /// Which run of which server; none with base's.
    pub(crate) server: Option<InstanceId>,
}

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// There is no such host, or no name service.
    #[error("Cannot resolve {host}: {}", words(error))]
    Resolve {
        /// As typed.
        host: String,
        /// Why.
        error: io::Error,
    },
    /// Nobody answers there.
    #[error("Cannot connect to {host}:{port}: {}", words(error))]
    Connect {
        /// As typed.
        host: String,
        /// TCP port.
        port: u16,
        /// Why.
        error: io::Error,
    },
    /// The server refused, or is none.
    #[error("Cannot connect: {0}")]
    Handshake(#[from] HandshakeError),
    /// It changed between the two handshakes.
    #[error("Cannot connect: the server gave its two connections different media")]
    Torn,
    /// It cannot back the provider any more.
    #[error(
        "Refusing the server's medium: it had {} bytes in sectors of {}, now it has {} in sectors of {}",
        then.media_size, then.sector_size, now.media_size, now.sector_size
    )]
    Changed {
        /// When the provider was made.
        then: Geometry,
        /// At this reconnect.
        now: Geometry,
    },
}

impl fmt::Display for Server {
    /// The info text of a gate.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{} {}", self.host, self.port, self.path)
    }
}

impl Server {
    /// What the command line asks for.
    pub(crate) fn new(remote: Remote, client: InstanceId) -> Self {
        Self {
            host: remote.host,
            port: remote.port,
            path: remote.path,
            access: remote.opening.access,
            direct: remote.opening.direct,
            tcp: remote.tcp,
            client,
        }
    }

    /// Says so when the system gave smaller buffers than `-S` and `-R` ask for.
    pub(crate) fn warn_if_clamped(&self, session: &Session) {
        self.tcp.warn_if_clamped(&SockRef::from(&session.requests));
    }

    /// Both connections and handshakes, SEND first as base's clients do. Gives
    /// up when there is no sign of a server for as long as `patience`.
    pub(crate) fn connect(&self, patience: Duration) -> Result<Session, ConnectError> {
        let token = self.token()?;
        let (replies, first) = self.connection(token, Direction::Send, patience)?;
        let (requests, second) = self.connection(token, Direction::Recv, patience)?;
        if first != second {
            return Err(ConnectError::Torn);
        }
        requests
            .set_read_timeout(None)
            .map_err(|e| self.failed(e))?;
        // Our servers give a sign of life each second; base's are silent.
        let silence = first.server.map(|_| SILENCE);
        replies
            .set_read_timeout(silence)
            .map_err(|e| self.failed(e))?;
        Ok(Session {
            requests,
            replies,
            geometry: first.geometry,
            server: first.server,
        })
    }

    fn token(&self) -> Result<Token, ConnectError> {
        let mut token = [0; 4];
        getrandom::fill(&mut token).map_err(|e| self.failed(e.into()))?;
        Ok(Token(u32::from_be_bytes(token)))
    }

    fn connection(
        &self,
        token: Token,
        direction: Direction,
        patience: Duration,
    ) -> Result<(TcpStream, Accepted), ConnectError> {
        let mut stream = self.open(patience)?;
        let initial = ClientInitial {
            path: self.path.clone(),
            access: self.access,
            direct: self.direct,
            direction,
            token,
        };
        let extended = exchange_versions(&mut stream, true)?;
        stream
            .set_read_timeout(Some(OPEN_PATIENCE))
            .map_err(|e| self.failed(e))?;
        let client = extended.then_some(self.client);
        let accepted = exchange_initial(&mut stream, &initial, client)?;
        Ok((stream, accepted))
    }

    /// Connects to the first address that answers.
    fn open(&self, patience: Duration) -> Result<TcpStream, ConnectError> {
        let addresses = (self.host.as_str(), self.port)
            .to_socket_addrs()
            .map_err(|error| ConnectError::Resolve {
                host: self.host.clone(),
                error,
            })?;
        let mut last = io::Error::from(io::ErrorKind::AddrNotAvailable);
        for address in addresses {
            match self.socket(address, patience) {
                Ok(stream) => {
                    log::info!("Connected to the server: {}:{}.", self.host, self.port);
                    return Ok(stream);
                }
                Err(error) => last = error,
            }
        }
        Err(self.failed(last))
    }

    fn socket(&self, address: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
        self.tcp.prepare(&socket)?;
        socket.connect_timeout(&address.into(), patience)?;
        socket.set_read_timeout(Some(patience))?;
        Ok(socket.into())
    }

    fn failed(&self, error: io::Error) -> ConnectError {
        ConnectError::Connect {
            host: self.host.clone(),
            port: self.port,
            error,
        }
    }
}
