//! One message from somebody who may send anything, or nothing, at any pace.

use hast_core::frame::{Decoder, Event, FrameError};
use std::io::{self, Read};

/// Bytes read at once; nobody has more read while the others wait.
const READ: usize = 16 << 10;

/// Collects one message.
#[derive(Debug)]
pub(crate) struct Inbox(Decoder);

/// Why there will be none.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InboxError {
    /// The connection was closed before anything came.
    #[error("the connection was closed")]
    Closed,
    /// The connection was closed in the middle.
    #[error("the connection was closed in the middle of a message")]
    Cut,
    /// The connection failed.
    #[error("{}", ggate::errno::words(.0))]
    Socket(#[from] io::Error),
    /// What came is no message.
    #[error("{0}")]
    Frame(FrameError),
    /// Nobody has a reason to send more.
    #[error("more came than one message")]
    More,
}

impl Inbox {
    /// For a message of at most `limit` bytes; memory grows with what comes.
    pub(crate) const fn new(limit: u32) -> Self {
        Self(Decoder::new(limit))
    }

    /// Reads once; gives the entries of the message when it is complete.
    pub(crate) fn read(&mut self, mut stream: impl Read) -> Result<Option<Vec<u8>>, InboxError> {
        let mut buffer = [0; READ];
        let input = match stream.read(&mut buffer) {
            Ok(0) if self.0.is_between_messages() => return Err(InboxError::Closed),
            Ok(0) => return Err(InboxError::Cut),
            Ok(length) => &buffer[..length],
            Err(error) if is_passing(&error) => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let (taken, event) = self.0.next(input).map_err(InboxError::Frame)?;
        match event {
            Some(Event::Message(_)) if taken < input.len() => Err(InboxError::More),
            Some(Event::Message(entries)) => Ok(Some(entries.to_vec())),
            Some(Event::Payload(_)) | None => Ok(None),
        }
    }
}

/// Whether a socket that waits for nobody may be used again.
pub(crate) fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn feed(pieces: &[&[u8]]) -> Result<Option<Vec<u8>>, InboxError> {
        let mut inbox = Inbox::new(100);
        for piece in pieces {
            if let Some(message) = inbox.read(*piece)? {
                return Ok(Some(message));
            }
        }
        Ok(None)
    }

    #[test]
    fn a_message_comes_in_pieces_and_nothing_comes_behind_it() {
        assert_eq!(feed(&[b"\x02\x03\0\0\0abc"]).unwrap().unwrap(), b"abc");
        assert_eq!(
            feed(&[b"\x02", b"\x03\0\0\0a", b"bc"]).unwrap().unwrap(),
            b"abc"
        );
        assert!(feed(&[b"\x02\x03\0\0\0ab"]).unwrap().is_none());
        assert!(matches!(
            feed(&[b"\x02\x03\0\0\0abcd"]),
            Err(InboxError::More)
        ));
    }

    #[test]
    fn what_is_wrong_is_told() {
        assert!(matches!(feed(&[b""]), Err(InboxError::Closed)));
        assert!(matches!(feed(&[b"\x02", b""]), Err(InboxError::Cut)));
        assert!(matches!(
            feed(&[b"\x03\0\0\0\0"]),
            Err(InboxError::Frame(_))
        ));
        assert!(matches!(
            feed(&[b"\x02\xff\0\0\0"]),
            Err(InboxError::Frame(_))
        ));
    }
}
