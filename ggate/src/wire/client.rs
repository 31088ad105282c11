//! The client's part of a handshake.

use super::{ClientInitial, Hello, InstanceId, ServerInitial, Version, VersionError};
use crate::errno::WireErrno;
use crate::range::Geometry;
use std::fmt;
use std::io::{self, Read, Write};

/// What a server granted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Accepted {
    /// The medium as the server sees it; not checked (an empty file has size
    /// 0).
    pub geometry: Geometry,
    /// Which run of the server answered; `None` when it lacks our extensions.
    pub server: Option<InstanceId>,
}

/// Where in the handshake something happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Step {
    /// The version packets.
    Version,
    /// The initial packets.
    Initial,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Version => "handshake step 1 (version)",
            Self::Initial => "handshake step 2 (path and access)",
        })
    }
}

/// A server's error answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{0}")]
pub struct Refusal(pub WireErrno);

/// Why there is no session.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The server closed the connection. Base does so when it dislikes the
    /// magic or version, ours also under load.
    #[error("{0}: the server closed the connection")]
    Closed(Step),
    /// The connection failed or timed out.
    #[error("{}: {}", .0, crate::errno::words(.1))]
    Io(Step, #[source] io::Error),
    /// Something else than a ggated answered.
    #[error("{step}: {0}", step = Step::Version)]
    Version(#[from] VersionError),
    /// The server answered the version packet with this error.
    #[error("{step}: the server refused: {0}", step = Step::Version)]
    VersionRefused(Refusal),
    /// The server will not serve this path, or not like this, or not to us.
    #[error("the server refused: {0}")]
    Refused(Refusal),
}

impl HandshakeError {
    fn io(step: Step) -> impl FnOnce(io::Error) -> Self {
        move |error| match error.kind() {
            io::ErrorKind::UnexpectedEof => Self::Closed(step),
            _ => Self::Io(step, error),
        }
    }
}

/// The first step on a connected stream, which has its time-outs set. Servers
/// of ours answer at once; base's may be busy with somebody else. Offers our
/// extensions, if wanted: base's servers ignore that. Returns whether the
/// server knows them too.
pub fn exchange_versions<S: Read + Write>(
    stream: &mut S,
    offer: bool,
) -> Result<bool, HandshakeError> {
    let ours = if offer {
        Version::EXTENDED
    } else {
        Version::PLAIN
    };
    let mut answer = [0; Version::SIZE];
    stream
        .write_all(&ours.encode())
        .and_then(|()| stream.read_exact(&mut answer))
        .map_err(HandshakeError::io(Step::Version))?;
    let answer = Version::decode(&answer)?;
    if offer && answer.is_extended() {
        return Ok(true);
    }
    match WireErrno::new(answer.error) {
        None => Ok(false),
        Some(error) => Err(HandshakeError::VersionRefused(Refusal(error))),
    }
}

/// The second step, in which the server opens the medium, so that its answer
/// may take long. `client` is said to servers that know our extensions; the
/// caller keeps the answer's [`Accepted::server`] to see restarts.
pub fn exchange_initial<S: Read + Write>(
    stream: &mut S,
    initial: &ClientInitial,
    client: Option<InstanceId>,
) -> Result<Accepted, HandshakeError> {
    let mut packet = [0; ClientInitial::SIZE + Hello::SIZE];
    packet[..ClientInitial::SIZE].copy_from_slice(&initial.encode());
    let mut answer = [0; ServerInitial::SIZE + Hello::SIZE];
    let (sent, received) = match client {
        Some(id) => {
            packet[ClientInitial::SIZE..].copy_from_slice(&Hello { id }.encode());
            (packet.len(), answer.len())
        }
        None => (ClientInitial::SIZE, ServerInitial::SIZE),
    };
    stream
        .write_all(&packet[..sent])
        .and_then(|()| stream.read_exact(&mut answer[..received]))
        .map_err(HandshakeError::io(Step::Initial))?;
    let (answer, hello) = answer.split_at(ServerInitial::SIZE);
    let geometry = ServerInitial::decode(&super::field(answer, 0))
        .result
        .map_err(|error| HandshakeError::Refused(Refusal(error)))?;
    Ok(Accepted {
        geometry,
        server: client.map(|_| Hello::decode(&super::field(hello, 0)).id),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Access;
    use crate::wire::{Direction, ExportPath, Token};

    /// A server whose answers are known before the questions.
    struct Script {
        answers: io::Cursor<Vec<u8>>,
        sent: Vec<u8>,
    }

    impl Read for Script {
        fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
            self.answers.read(buf)
        }
    }

    impl Write for Script {
        fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
            self.sent.extend_from_slice(buf);
            Ok(buf.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    const GEOMETRY: Geometry = Geometry {
        media_size: 1 << 20,
        sector_size: 512,
    };
    const CLIENT: InstanceId = InstanceId([7; 16]);
    const SERVER: InstanceId = InstanceId([9; 16]);

    fn initial() -> ClientInitial {
        ClientInitial {
            path: ExportPath::new("/dev/md0").unwrap(),
            access: Access::ReadWrite,
            direct: false,
            direction: Direction::Send,
            token: Token(1),
        }
    }

    fn run(
        client: Option<InstanceId>,
        answers: &[&[u8]],
    ) -> (Result<Accepted, HandshakeError>, Vec<u8>) {
        let mut script = Script {
            answers: io::Cursor::new(answers.concat()),
            sent: Vec::new(),
        };
        let result = exchange_versions(&mut script, client.is_some()).and_then(|extended| {
            let client = client.filter(|_| extended);
            exchange_initial(&mut script, &initial(), client)
        });
        (result, script.sent)
    }

    fn success() -> [u8; ServerInitial::SIZE] {
        let result = Ok(GEOMETRY);
        ServerInitial { result }.encode()
    }

    #[test]
    fn a_base_server_gets_exactly_what_a_base_client_sends() {
        for client in [None, Some(CLIENT)] {
            let (result, sent) = run(client, &[&Version::PLAIN.encode(), &success()]);
            let accepted = result.unwrap();
            assert_eq!(accepted.geometry, GEOMETRY);
            assert_eq!(accepted.server, None);
            assert_eq!(sent.len(), Version::SIZE + ClientInitial::SIZE);
            assert_eq!(sent[18..20], client.map_or([0, 0], |_| [0x48, 0x47]));
        }
    }

    #[test]
    fn two_of_ours_exchange_their_ids() {
        let hello = Hello { id: SERVER }.encode();
        let (result, sent) = run(
            Some(CLIENT),
            &[&Version::EXTENDED.encode(), &success(), &hello],
        );
        assert_eq!(result.unwrap().server, Some(SERVER));
        assert_eq!(
            sent[Version::SIZE + ClientInitial::SIZE..],
            Hello { id: CLIENT }.encode()
        );
    }

    #[test]
    fn an_error_in_the_version_answer_ends_it() {
        for client in [None, Some(CLIENT)] {
            let refused = Version { error: 13 }.encode();
            let (result, sent) = run(client, &[&refused]);
            assert!(matches!(result, Err(HandshakeError::VersionRefused(_))));
            assert_eq!(sent.len(), Version::SIZE);
        }
        let (result, _) = run(None, &[&Version::EXTENDED.encode()]);
        assert!(matches!(result, Err(HandshakeError::VersionRefused(_))));
    }

    #[test]
    fn a_closed_connection_is_not_a_medium() {
        let (result, _) = run(None, &[]);
        assert!(matches!(result, Err(HandshakeError::Closed(Step::Version))));
        let (result, _) = run(None, &[&Version::PLAIN.encode(), &success()[..14]]);
        assert!(matches!(result, Err(HandshakeError::Closed(Step::Initial))));
    }

    #[test]
    fn another_protocol_is_recognised() {
        let (result, _) = run(None, &[b"SSH-2.0-OpenSSH_9.7\r\n"]);
        let error = result.unwrap_err();
        assert!(matches!(
            error,
            HandshakeError::Version(VersionError::Magic)
        ));
    }

    #[test]
    fn a_refusal_names_its_reason() {
        let result = Err(WireErrno::from_host(nix::errno::Errno::EPERM));
        let refusal = ServerInitial { result }.encode();
        let (result, _) = run(None, &[&Version::PLAIN.encode(), &refusal]);
        assert_eq!(
            result.unwrap_err().to_string(),
            "the server refused: Operation not permitted"
        );
    }
}
