//! The packets of the handshake.

use super::{
    CONNECTIONS, EXTENDED, FLAG_DIRECT, FLAG_READ_ONLY, FLAG_RECV, FLAG_SEND, FLAG_WRITE_ONLY,
    MAGIC, PATH_FIELD, PATH_MAX, VERSION, field,
};
use crate::errno::WireErrno;
use crate::gate::Access;
use crate::range::Geometry;
use std::ffi::OsStr;
use std::fmt;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

/// First packet in both directions.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 16 | magic |
/// | 16 | 2 | version |
/// | 18 | 2 | error |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Version {
    /// From the client: 0, or [`EXTENDED`]. From the server: 0, the same
    /// [`EXTENDED`], or an error.
    pub error: u16,
}

/// Why a version packet is not one of this protocol.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum VersionError {
    /// The first 16 bytes are something else.
    #[error("this is not the ggate protocol (wrong magic)")]
    Magic,
    /// A version that nobody has defined.
    #[error("protocol version {0} is not supported")]
    Version(u16),
}

impl Version {
    /// Bytes of the packet.
    pub const SIZE: usize = 20;

    /// Without extensions.
    pub const PLAIN: Self = Self { error: 0 };

    /// With ours.
    pub const EXTENDED: Self = Self { error: EXTENDED };

    /// Whether the sender knows our extensions.
    #[must_use]
    pub fn is_extended(self) -> bool {
        self.error == EXTENDED
    }

    /// The packet.
    #[must_use]
    pub fn encode(self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        out[..16].copy_from_slice(&MAGIC);
        out[16..18].copy_from_slice(&VERSION.to_be_bytes());
        out[18..].copy_from_slice(&self.error.to_be_bytes());
        out
    }

    /// Reads and checks a packet.
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Result<Self, VersionError> {
        if field::<16>(bytes, 0) != MAGIC {
            return Err(VersionError::Magic);
        }
        match u16::from_be_bytes(field(bytes, 16)) {
            VERSION => Ok(Self {
                error: u16::from_be_bytes(field(bytes, 18)),
            }),
            other => Err(VersionError::Version(other)),
        }
    }
}

/// The path of an export, as a client asks for it: 1 to 1023 bytes without
/// NUL. It is compared byte by byte; nothing is normalised.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct ExportPath(Box<[u8]>);

/// Why a path cannot be sent, or was not received as one.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PathError {
    /// Nothing before the NUL.
    #[error("the path is empty")]
    Empty,
    /// More than [`PATH_MAX`] bytes, or no NUL in the packet.
    #[error("the path is longer than {PATH_MAX} bytes")]
    TooLong,
    /// A NUL in the middle.
    #[error("the path contains a NUL byte")]
    Nul,
}

impl ExportPath {
    /// Checks a path.
    pub fn new(path: impl AsRef<OsStr>) -> Result<Self, PathError> {
        let bytes = path.as_ref().as_bytes();
        if bytes.is_empty() {
            return Err(PathError::Empty);
        }
        if bytes.len() > PATH_MAX {
            return Err(PathError::TooLong);
        }
        if bytes.contains(&0) {
            return Err(PathError::Nul);
        }
        Ok(Self(bytes.into()))
    }

    /// As a path of this host.
    #[must_use]
    pub fn as_path(&self) -> &Path {
        Path::new(OsStr::from_bytes(&self.0))
    }

    /// As bytes, without NUL.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for ExportPath {
    /// Control characters are escaped: it comes from the network and goes into
    /// log files.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    c if c.is_control() => write!(f, "{}", c.escape_default())?,
                    c => write!(f, "{c}")?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Debug for ExportPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{self}\"")
    }
}

/// What a connection is for, seen from the server.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Direction {
    /// The server sends replies.
    Send,
    /// The server receives requests.
    Recv,
}

/// The random number that ties the connections of a session together.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Token(pub u32);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:08x}", self.0)
    }
}

/// What the client wants.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 1025 | path, NUL-terminated; the rest is undefined |
/// | 1025 | 8 | flags |
/// | 1033 | 2 | number of connections |
/// | 1035 | 4 | token |
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ClientInitial {
    /// What to serve.
    pub path: ExportPath,
    /// How it will be used. If a client sets both bits, read-only wins.
    pub access: Access,
    /// Whether it asks for `O_DIRECT`.
    pub direct: bool,
    /// What this connection is for. Base takes everything without the SEND bit
    /// for RECV, and so do we.
    pub direction: Direction,
    /// Which session.
    pub token: Token,
}

impl ClientInitial {
    /// Bytes of the packet.
    pub const SIZE: usize = PATH_FIELD + 8 + 2 + 4;

    /// The packet; unused bytes of the path are 0.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        out[..self.path.0.len()].copy_from_slice(&self.path.0);
        let access = match self.access {
            Access::ReadWrite => 0,
            Access::ReadOnly => FLAG_READ_ONLY,
            Access::WriteOnly => FLAG_WRITE_ONLY,
        };
        let direction = match self.direction {
            Direction::Send => FLAG_SEND,
            Direction::Recv => FLAG_RECV,
        };
        let direct = if self.direct { FLAG_DIRECT } else { 0 };
        let flags = access | direction | direct;
        out[PATH_FIELD..][..8].copy_from_slice(&flags.to_be_bytes());
        out[PATH_FIELD + 8..][..2].copy_from_slice(&CONNECTIONS.to_be_bytes());
        out[PATH_FIELD + 10..].copy_from_slice(&self.token.0.to_be_bytes());
        out
    }

    /// Reads a packet. Unknown flags are ignored.
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Result<Self, PathError> {
        let (path, rest) = bytes.split_at(PATH_FIELD);
        let end = path.iter().position(|b| *b == 0);
        let path = ExportPath::new(OsStr::from_bytes(&path[..end.ok_or(PathError::TooLong)?]))?;
        let flags = u64::from_be_bytes(field(rest, 0));
        let access = match flags {
            f if f & FLAG_READ_ONLY != 0 => Access::ReadOnly,
            f if f & FLAG_WRITE_ONLY != 0 => Access::WriteOnly,
            _ => Access::ReadWrite,
        };
        let direction = match flags & FLAG_SEND {
            0 => Direction::Recv,
            _ => Direction::Send,
        };
        Ok(Self {
            path,
            access,
            direct: flags & FLAG_DIRECT != 0,
            direction,
            token: Token(u32::from_be_bytes(field(rest, 10))),
        })
    }
}

/// The server's answer to it.
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 1 | flags, never defined |
/// | 1 | 8 | media size in bytes |
/// | 9 | 4 | sector size in bytes |
/// | 13 | 2 | error |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ServerInitial {
    /// The medium, or why it cannot be had. Nothing here is checked: an empty
    /// file has size 0, and a broken server may say anything.
    pub result: Result<Geometry, WireErrno>,
}

impl ServerInitial {
    /// Bytes of the packet.
    pub const SIZE: usize = 15;

    /// The packet; an error's other fields are 0.
    #[must_use]
    pub fn encode(self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        match self.result {
            Ok(geometry) => {
                out[1..9].copy_from_slice(&geometry.media_size.to_be_bytes());
                out[9..13].copy_from_slice(&geometry.sector_size.to_be_bytes());
            }
            Err(error) => out[13..].copy_from_slice(&error.get().to_be_bytes()),
        }
        out
    }

    /// Reads a packet.
    #[must_use]
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Self {
        let result = match WireErrno::new(u16::from_be_bytes(field(bytes, 13))) {
            Some(error) => Err(error),
            None => Ok(Geometry {
                media_size: u64::from_be_bytes(field(bytes, 1)),
                sector_size: u32::from_be_bytes(field(bytes, 9)),
            }),
        };
        Self { result }
    }
}

/// A number that names one run: of ggatec, whose connections then are known to
/// come from the same client, or of a server's operating system, whose clients
/// then notice that it was restarted.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct InstanceId(pub [u8; 16]);

impl InstanceId {
    /// A new one.
    pub fn random() -> std::io::Result<Self> {
        let mut id = [0; 16];
        getrandom::fill(&mut id)?;
        Ok(Self(id))
    }
}

impl fmt::Debug for InstanceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Our extension: follows the initial packets when both sides sent
/// [`EXTENDED`].
///
/// | offset | size | field |
/// |---|---|---|
/// | 0 | 16 | instance id of the sender |
/// | 16 | 16 | reserved: sent as 0, ignored |
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Which run of which program sent it.
    pub id: InstanceId,
}

impl Hello {
    /// Bytes of the packet.
    pub const SIZE: usize = 32;

    /// The packet.
    #[must_use]
    pub fn encode(self) -> [u8; Self::SIZE] {
        let mut out = [0; Self::SIZE];
        out[..16].copy_from_slice(&self.id.0);
        out
    }

    /// Reads a packet.
    #[must_use]
    pub fn decode(bytes: &[u8; Self::SIZE]) -> Self {
        Self {
            id: InstanceId(field(bytes, 0)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn access() -> impl Strategy<Value = Access> {
        prop_oneof![
            Just(Access::ReadWrite),
            Just(Access::ReadOnly),
            Just(Access::WriteOnly)
        ]
    }

    fn with_path(path: &[u8]) -> [u8; ClientInitial::SIZE] {
        let mut bytes = [0; ClientInitial::SIZE];
        bytes[..path.len()].copy_from_slice(path);
        bytes
    }

    #[test]
    fn paths_are_terminated_and_not_empty() {
        assert_eq!(
            ClientInitial::decode(&with_path(&[b'x'; PATH_FIELD])),
            Err(PathError::TooLong)
        );
        assert_eq!(
            ClientInitial::decode(&with_path(&[b'x'; 1024])),
            Err(PathError::TooLong)
        );
        assert!(ClientInitial::decode(&with_path(&[b'x'; 1023])).is_ok());
        assert_eq!(
            ClientInitial::decode(&with_path(b"")),
            Err(PathError::Empty)
        );
        assert_eq!(ExportPath::new("a\0b"), Err(PathError::Nul));
    }

    #[test]
    fn read_only_wins_and_unknown_flags_are_ignored() {
        let mut bytes = with_path(b"/x");
        bytes[PATH_FIELD..][..8].copy_from_slice(&[0xff, 0, 0, 0, 0, 0, 0, 0xe3]);
        let initial = ClientInitial::decode(&bytes).unwrap();
        assert_eq!(initial.access, Access::ReadOnly);
        assert_eq!(initial.direction, Direction::Recv);
        assert!(!initial.direct);
    }

    #[test]
    fn hostile_paths_do_not_reach_a_log_raw() {
        let path = ExportPath::new(OsStr::from_bytes(b"/dev/\x1b[2J\xff\n")).unwrap();
        assert_eq!(path.to_string(), "/dev/\\u{1b}[2J\\xff\\n");
    }

    proptest! {
        #[test]
        fn client_initial_round_trip(
            path in prop::collection::vec(1_u8.., 1..=PATH_MAX),
            access in access(),
            direct: bool,
            send: bool,
            token: u32,
        ) {
            let packet = ClientInitial {
                path: ExportPath::new(OsStr::from_bytes(&path)).unwrap(),
                access,
                direct,
                direction: if send { Direction::Send } else { Direction::Recv },
                token: Token(token),
            };
            prop_assert_eq!(ClientInitial::decode(&packet.encode()), Ok(packet));
        }

        #[test]
        fn server_initial_round_trip(media_size: u64, sector_size: u32, error: u16) {
            let geometry = Geometry { media_size, sector_size };
            let result = WireErrno::new(error).map_or(Ok(geometry), Err);
            let packet = ServerInitial { result };
            prop_assert_eq!(ServerInitial::decode(&packet.encode()), packet);
        }

        #[test]
        fn hello_round_trip(id: [u8; 16]) {
            let hello = Hello { id: InstanceId(id) };
            prop_assert_eq!(Hello::decode(&hello.encode()), hello);
        }

        #[test]
        fn random_bytes_never_panic(
            bytes in prop::collection::vec(any::<u8>(), ClientInitial::SIZE),
        ) {
            let _ = Version::decode(&field(&bytes, 0));
            let _ = ClientInitial::decode(&field(&bytes, 0));
            let _ = ServerInitial::decode(&field(&bytes, 0));
            let _ = Hello::decode(&field(&bytes, 0));
        }
    }
}
