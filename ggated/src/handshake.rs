//! A connection from its first byte to its place in a session.
//!
//! Each handshake has a thread of its own for as long as it takes, so that
//! neither a silent client nor a slow open holds up another one. The number of
//! these threads and the time they wait for the client are bounded.

use crate::exports::Export;
use crate::opener::Opening;
use crate::server::{HalfOpen, PATIENCE, Server};
use crate::session::{Client, Parts};
use ggate::errno::{WireErrno, words};
use ggate::gate::Access;
use ggate::log;
use ggate::media::Media;
use ggate::range::Geometry;
use ggate::wire::{ClientInitial, Direction, Hello, InstanceId, ServerInitial, Version};
use nix::errno::Errno;
use std::io::{self, Read as _, Write as _};
use std::net::{IpAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Does the server's part of a handshake and, when it was the session's
/// second one, starts the session.
pub(crate) fn serve(server: &Arc<Server>, stream: &Arc<TcpStream>, address: IpAddr) {
    let mut connection = Connection {
        server,
        stream,
        address,
        deadline: Instant::now() + PATIENCE,
        extended: false,
    };
    if let Err(error) = connection.run() {
        log::debug!("{address}: no handshake: {}.", words(&error));
    }
}

struct Connection<'a> {
    server: &'a Arc<Server>,
    stream: &'a Arc<TcpStream>,
    address: IpAddr,
    deadline: Instant,
    /// Both sides know our extensions.
    extended: bool,
}

impl Connection<'_> {
    fn run(&mut self) -> io::Result<()> {
        let mut version = [0; Version::SIZE];
        self.receive(&mut version)?;
        // Base says nothing to what it does not know, and so do we.
        let version = Version::decode(&version).map_err(io::Error::other)?;
        self.extended = version.is_extended();
        let answer = if self.extended {
            Version::EXTENDED
        } else {
            Version::PLAIN
        };
        self.send(&answer.encode())?;

        let mut initial = [0; ClientInitial::SIZE];
        self.receive(&mut initial)?;
        let instance = if self.extended {
            Some(self.receive_hello()?)
        } else {
            None
        };
        let initial = match ClientInitial::decode(&initial) {
            Ok(initial) => initial,
            Err(error) => {
                log::warning!("{}: refused: {error}.", self.address);
                return self.answer(Err(Errno::EINVAL));
            }
        };
        let client = Client {
            address: self.address,
            instance,
            path: initial.path.clone(),
            access: initial.access,
        };
        match self.server.take_half_open(initial.token, self.address) {
            Some(half) => self.second(&initial, &client, half),
            None => self.first(&initial, client),
        }
    }

    fn receive_hello(&self) -> io::Result<InstanceId> {
        let mut hello = [0; Hello::SIZE];
        self.receive(&mut hello)?;
        Ok(Hello::decode(&hello).id)
    }

    /// The first connection of a session: opens the medium.
    fn first(&self, initial: &ClientInitial, client: Client) -> io::Result<()> {
        let media = match self.open(initial, &client) {
            Ok(media) => media,
            Err(error) => return self.answer(Err(error)),
        };
        let geometry = media.geometry();
        // Before the answer, which brings the second connection.
        let id = self.server.await_second(HalfOpen {
            token: initial.token,
            client,
            direction: initial.direction,
            socket: Arc::clone(self.stream),
            media,
        });
        self.answer(Ok(geometry))
            .inspect_err(|_| self.server.forget(id))
    }

    fn open(&self, initial: &ClientInitial, client: &Client) -> Result<Arc<dyn Media>, Errno> {
        let (path, options) = self.authorise(initial)?;
        if !self.server.has_room() {
            log::warning!("{client}: refused: too many sessions.");
            return Err(Errno::EBUSY);
        }
        self.server.end_predecessors(client)?;
        let opened = self.server.opener.open(&path, options);
        opened.map_err(|error| {
            log::error!("Cannot open {path}: {error}.");
            error.errno()
        })
    }

    /// Whether the client may have what it asks for, what that is in the exports
    /// file, and how to open it.
    fn authorise(&self, initial: &ClientInitial) -> Result<Opening, Errno> {
        let exports = self.server.exports();
        let (address, path) = (self.address, &initial.path);
        let Some(export) = exports.find(address, path) else {
            if exports.knows(address) {
                log::warning!("{address}: {path} is not exported to it.");
            } else {
                log::warning!("Unauthorized connection from: {address}.");
            }
            return Err(Errno::EPERM);
        };
        if initial.direct && export.direct == Some(false) {
            log::warning!("{address}: {path}: direct I/O requested, but the export says nodirect.");
        }
        let options = export
            .grant(initial.access, initial.direct)
            .ok_or_else(|| {
                log::warning!("{}", denied(export, initial.access, address));
                Errno::EPERM
            })?;
        Ok((export.path.clone(), options))
    }

    /// The second connection: both go into a session.
    fn second(&self, initial: &ClientInitial, client: &Client, half: HalfOpen) -> io::Result<()> {
        let same = half.client == *client && half.direction != initial.direction;
        if !same {
            log::warning!("{client}: refused: does not fit its first connection.");
            // Whoever it is, the first connection may still get its partner.
            self.server.await_second(half);
            return self.answer(Err(Errno::EPERM));
        }
        let geometry = half.media.geometry();
        let first = half.socket;
        let (ours, other) = (self.stream.try_clone()?, first.try_clone()?);
        let (requests, replies) = match initial.direction {
            Direction::Recv => (ours, other),
            Direction::Send => (other, ours),
        };
        // Another session of this client may have come in between.
        let session = match self.server.enter_session(Parts {
            client: half.client,
            media: half.media,
            requests,
            replies,
        }) {
            Ok(session) => session,
            Err(error) => return self.answer(Err(error)),
        };
        let answered = self.answer(Ok(geometry)).and_then(|()| {
            for stream in [self.stream, &first] {
                stream.set_read_timeout(None)?;
                stream.set_write_timeout(None)?;
            }
            Ok(())
        });
        if answered.is_err() {
            self.server.remove(&session);
            return answered;
        }
        self.server.start_session(&session);
        Ok(())
    }

    fn answer(&self, result: Result<Geometry, Errno>) -> io::Result<()> {
        let result = result.map_err(|error| WireErrno::from_host(error).final_error());
        let mut packet = [0; ServerInitial::SIZE + Hello::SIZE];
        packet[..ServerInitial::SIZE].copy_from_slice(&ServerInitial { result }.encode());
        let boot = self.server.boot;
        packet[ServerInitial::SIZE..].copy_from_slice(&Hello { id: boot }.encode());
        let len = if self.extended {
            packet.len()
        } else {
            ServerInitial::SIZE
        };
        self.send(&packet[..len])
    }

    fn receive(&self, mut buf: &mut [u8]) -> io::Result<()> {
        while !buf.is_empty() {
            self.stream.set_read_timeout(Some(self.time_left()?))?;
            match (&**self.stream).read(buf) {
                Ok(0) => return Err(io::ErrorKind::UnexpectedEof.into()),
                Ok(received) => buf = &mut buf[received..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// What is sent in a handshake fits any socket buffer, however long
    /// opening took before.
    fn send(&self, packet: &[u8]) -> io::Result<()> {
        self.stream.set_write_timeout(Some(PATIENCE))?;
        (&**self.stream).write_all(packet)
    }

    fn time_left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match left {
            Duration::ZERO => Err(io::ErrorKind::TimedOut.into()),
            left => Ok(left),
        }
    }
}

fn denied(export: &Export, asked: Access, address: IpAddr) -> String {
    let name = |access| match access {
        Access::ReadWrite => "read-write",
        Access::ReadOnly => "read-only",
        Access::WriteOnly => "write-only",
    };
    format!(
        "{address}: {} access requested, but {} is exported {}.",
        name(asked),
        export.path,
        name(export.access)
    )
}
