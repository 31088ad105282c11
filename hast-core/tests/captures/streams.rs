//! One direction of a captured connection, cut into messages.

use hast_core::frame::{Decoder, Event, FrameError, HEADER, NODE_LIMIT};

/// A message as it was captured.
pub(crate) struct Message<'a> {
    /// Where it begins in the stream.
    pub(crate) at: usize,
    pub(crate) version: u8,
    /// Header and entries.
    pub(crate) bytes: &'a [u8],
    pub(crate) payload: &'a [u8],
    /// Bytes of payload that the end of the connection cut off.
    pub(crate) missing: usize,
}

impl<'a> Message<'a> {
    pub(crate) fn entries(&self) -> &'a [u8] {
        &self.bytes[HEADER..]
    }
}

/// A stream that is taken message by message.
pub(crate) struct Stream<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Stream<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// The next message; `payload_size` tells from its entries how many bytes
    /// of payload follow.
    pub(crate) fn next(
        &mut self,
        payload_size: impl FnOnce(&[u8]) -> u32,
    ) -> Result<Option<Message<'a>>, FrameError> {
        let rest = &self.bytes[self.at..];
        if rest.is_empty() {
            return Ok(None);
        }
        let mut decoder = Decoder::new(NODE_LIMIT);
        let (taken, event) = decoder.next(rest)?;
        let Some(Event::Message(entries)) = event else {
            panic!("the capture ends inside a message at {}", self.at);
        };
        let size = payload_size(entries);
        decoder.expect_payload(size);
        let mut read = 0;
        if size > 0 {
            let (n, event) = decoder.next(&rest[taken..])?;
            assert!(
                matches!(event, Some(Event::Payload(bytes)) if bytes == &rest[taken..taken + n])
            );
            read = n;
        }
        let missing = decoder.payload_left();
        assert_eq!(decoder.is_between_messages(), missing == 0);
        let message = Message {
            at: self.at,
            version: rest[0],
            bytes: &rest[..taken],
            payload: &rest[taken..taken + read],
            missing: usize::try_from(missing).unwrap(),
        };
        self.at += taken + read;
        Ok(Some(message))
    }
}
