//! Message framing, and the decoder that takes bytes in any pieces.
//! Facts: spec/hast-wire.md section 2.
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 1 | protocol version of the sender |
//! | 1 | 4 | length of the entries, u32le |
//! | 5 | | entries ([`nv`]), then the payload, if there is one |
//!
//! Whether a payload follows only the message itself tells, so whoever
//! understands it says so with [`Decoder::expect_payload`].

use crate::nv;
use crate::units::Version;
use alloc::vec::Vec;
use byteorder::{ByteOrder, LittleEndian};
use core::fmt;

/// Bytes before the entries.
pub const HEADER: usize = 5;

/// Longest entries accepted from a node, in bytes. The longest that exist
/// are below 1 KiB; the rest is room for text and for added entries.
pub const NODE_LIMIT: u32 = 64 << 10;

/// Longest entries accepted from the daemon in a control reply, in bytes:
/// one resource takes about 1 KiB, twice that with what is ours.
pub const CONTROL_LIMIT: u32 = 16 << 20;

/// Longest entries accepted by the daemon in a control request, in bytes:
/// thousands of names.
pub const CONTROL_REQUEST_LIMIT: u32 = 256 << 10;

/// Writes a message into `buffer`: a header, then what `entries` puts.
/// Returns its length.
pub fn write(
    buffer: &mut [u8],
    version: Version,
    entries: impl FnOnce(&mut nv::Writer<'_>),
) -> Result<usize, nv::Full> {
    let mut writer = nv::Writer::new(buffer, HEADER);
    entries(&mut writer);
    let length = writer.finish()?;
    let size = u32::try_from(length - HEADER).map_err(|_| nv::Full { needed: usize::MAX })?;
    buffer[0] = version.to_byte();
    LittleEndian::write_u32(&mut buffer[1..HEADER], size);
    Ok(length)
}

/// What arrived.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event<'a> {
    /// The entries of a whole message, not yet looked at.
    Message(&'a [u8]),
    /// Some of the payload that was expected, at least one byte.
    Payload(&'a [u8]),
}

/// Cuts a byte stream into messages and payloads.
///
/// A message that arrives in one piece is handed on where it lies. One that
/// does not is collected; memory grows with the bytes that came, never with
/// the length a peer claims, and ends at the limit.
#[derive(Debug)]
pub struct Decoder {
    limit: u32,
    partial: Vec<u8>,
    /// Whether `partial` was handed out and is to be forgotten.
    handed_out: bool,
    payload: u32,
}

impl Decoder {
    /// A decoder at the start of a stream whose entries are at most `limit`
    /// bytes long.
    #[must_use]
    pub const fn new(limit: u32) -> Self {
        Self {
            limit,
            partial: Vec::new(),
            handed_out: false,
            payload: 0,
        }
    }

    /// Takes from `input` what the next event needs. Returns how much was
    /// taken and the event, if its bytes are complete; call again with the
    /// rest. After an error the stream is lost.
    pub fn next<'a>(
        &'a mut self,
        input: &'a [u8],
    ) -> Result<(usize, Option<Event<'a>>), FrameError> {
        if self.payload > 0 {
            return Ok(self.take_payload(input));
        }
        if core::mem::take(&mut self.handed_out) {
            self.partial.clear();
        }
        if self.partial.is_empty()
            && let Some(whole) = self.whole(input)?
        {
            return Ok((whole, Some(Event::Message(&input[HEADER..whole]))));
        }
        let mut taken = self.collect(input, HEADER);
        if let Some(whole) = self.whole_length(&self.partial)? {
            taken += self.collect(&input[taken..], whole);
            if self.partial.len() == whole {
                self.handed_out = true;
                return Ok((taken, Some(Event::Message(&self.partial[HEADER..]))));
            }
        }
        Ok((taken, None))
    }

    /// Says that the message just handed out is followed by this many bytes
    /// of payload.
    pub fn expect_payload(&mut self, length: u32) {
        self.payload = length;
    }

    /// Bytes of payload that are still to come. The shell may read them
    /// straight to where they belong and report [`Self::payload_read`].
    #[must_use]
    pub const fn payload_left(&self) -> u32 {
        self.payload
    }

    /// Says that `length` bytes of payload went past this decoder.
    pub fn payload_read(&mut self, length: u32) {
        self.payload = self.payload.saturating_sub(length);
    }

    /// Whether the stream may end here: between two messages.
    #[must_use]
    pub fn is_between_messages(&self) -> bool {
        self.payload == 0 && (self.handed_out || self.partial.is_empty())
    }

    fn take_payload<'a>(&mut self, input: &'a [u8]) -> (usize, Option<Event<'a>>) {
        // More input than payload, and the payload's length counts.
        let here = u32::try_from(input.len()).map_or(self.payload, |n| n.min(self.payload));
        let bytes = &input[..crate::index(here.into())];
        self.payload -= here;
        (bytes.len(), (here > 0).then_some(Event::Payload(bytes)))
    }

    /// Length of the message at the start of `input`, if it is all there.
    fn whole(&self, input: &[u8]) -> Result<Option<usize>, FrameError> {
        let length = self.whole_length(input)?;
        Ok(length.filter(|&length| length <= input.len()))
    }

    /// Length of the message that starts with `bytes`, if the header is there.
    fn whole_length(&self, bytes: &[u8]) -> Result<Option<usize>, FrameError> {
        let Some(header) = bytes.first_chunk::<HEADER>() else {
            return Ok(None);
        };
        let version = header[0];
        if version > Version::MAX.to_byte() {
            return Err(FrameError::Version(version));
        }
        let size = LittleEndian::read_u32(&header[1..]);
        if size > self.limit {
            return Err(FrameError::TooLong {
                size,
                limit: self.limit,
            });
        }
        Ok(Some(HEADER + crate::index(size.into())))
    }

    /// Collects input until there are `length` bytes. Returns how many it took.
    fn collect(&mut self, input: &[u8], length: usize) -> usize {
        let missing = length.saturating_sub(self.partial.len());
        let bytes = &input[..missing.min(input.len())];
        self.partial.extend_from_slice(bytes);
        bytes.len()
    }
}

/// Why a stream cannot be cut into messages; the connection ends.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum FrameError {
    /// The header has a protocol version above ours.
    Version(u8),
    /// The header announces entries longer than anybody sends.
    TooLong {
        /// Bytes announced.
        size: u32,
        /// Bytes allowed.
        limit: u32,
    },
}

impl fmt::Display for FrameError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Version(version) => write!(
                f,
                "message of protocol version {version}, only {} and below are spoken here",
                Version::MAX.to_byte()
            ),
            Self::TooLong { size, limit } => {
                write!(
                    f,
                    "message of {size} bytes, more than {limit} are not accepted"
                )
            }
        }
    }
}

impl core::error::Error for FrameError {}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec;

    /// Feeds `stream` in pieces; payload lengths are told in order.
    fn feed(
        stream: &[u8],
        pieces: &[usize],
        payloads: &[u32],
    ) -> Result<(Vec<Vec<u8>>, Vec<u8>), FrameError> {
        let mut decoder = Decoder::new(NODE_LIMIT);
        let (mut messages, mut payload) = (Vec::new(), Vec::new());
        let mut payloads = payloads.iter();
        let mut rest = stream;
        let mut pieces = pieces.iter().copied().cycle();
        while !rest.is_empty() {
            let (piece, later) = rest.split_at(pieces.next().unwrap().min(rest.len()));
            rest = later;
            let mut piece = piece;
            loop {
                let before = decoder.payload_left();
                let (taken, event) = decoder.next(piece)?;
                piece = &piece[taken..];
                match event {
                    Some(Event::Message(entries)) => {
                        messages.push(entries.to_vec());
                        decoder.expect_payload(*payloads.next().unwrap_or(&0));
                    }
                    Some(Event::Payload(bytes)) => {
                        payload.extend_from_slice(bytes);
                        let left = before - u32::try_from(taken).unwrap();
                        assert_eq!(decoder.payload_left(), left);
                    }
                    None => break,
                }
            }
            assert!(piece.is_empty(), "all input is taken");
        }
        Ok((messages, payload))
    }

    fn header(version: u8, size: u32) -> Vec<u8> {
        let mut bytes = vec![version];
        bytes.extend_from_slice(&size.to_le_bytes());
        bytes
    }

    proptest! {
        #[test]
        fn the_pieces_do_not_matter(
            messages in prop::collection::vec(
                (prop::collection::vec(any::<u8>(), 0..300), prop::collection::vec(any::<u8>(), 0..300)),
                1..6),
            pieces in prop::collection::vec(1usize..400, 1..8),
        ) {
            let mut stream = Vec::new();
            let mut payload = Vec::new();
            for (entries, data) in &messages {
                stream.extend(header(2, u32::try_from(entries.len()).unwrap()));
                stream.extend_from_slice(entries);
                stream.extend_from_slice(data);
                payload.extend_from_slice(data);
            }
            let lengths: Vec<u32> =
                messages.iter().map(|(_, p)| u32::try_from(p.len()).unwrap()).collect();
            let (got, data) = feed(&stream, &pieces, &lengths).unwrap();
            let sent: Vec<_> = messages.into_iter().map(|(entries, _)| entries).collect();
            prop_assert_eq!(got, sent);
            prop_assert_eq!(data, payload);
        }

        #[test]
        fn any_bytes_are_cut_or_refused(
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            pieces in prop::collection::vec(1usize..20, 1..4),
        ) {
            let _ = feed(&bytes, &pieces, &[]);
        }
    }

    #[test]
    fn a_message_in_one_piece_is_not_copied() {
        let mut stream = header(2, 3);
        stream.extend_from_slice(b"abc");
        let mut decoder = Decoder::new(NODE_LIMIT);
        let (taken, event) = decoder.next(&stream).unwrap();
        let Some(Event::Message(entries)) = event else {
            panic!("the message is whole")
        };
        assert_eq!((taken, entries.as_ptr()), (8, stream[5..].as_ptr()));
        assert!(decoder.is_between_messages());
        assert_eq!(decoder.partial.capacity(), 0);
    }

    #[test]
    fn a_message_without_entries_is_one() {
        let (messages, _) = feed(&header(2, 0), &[1], &[]).unwrap();
        assert_eq!(messages, [Vec::new()]);
    }

    #[test]
    fn a_claimed_length_allocates_nothing() {
        let mut decoder = Decoder::new(NODE_LIMIT);
        assert_eq!(decoder.next(&header(2, NODE_LIMIT)), Ok((5, None)));
        assert!(decoder.partial.capacity() < 64);
        assert!(!decoder.is_between_messages());
    }

    #[test]
    fn longer_and_newer_messages_are_refused_at_the_header() {
        for pieces in [[5], [1]] {
            assert_eq!(
                feed(&header(2, u32::MAX), &pieces, &[]),
                Err(FrameError::TooLong {
                    size: u32::MAX,
                    limit: NODE_LIMIT
                })
            );
            assert_eq!(
                feed(&header(3, 0), &pieces, &[]),
                Err(FrameError::Version(3))
            );
        }
    }

    #[test]
    fn a_payload_may_go_past_the_decoder() {
        let mut decoder = Decoder::new(NODE_LIMIT);
        let (_, event) = decoder.next(&[2, 0, 0, 0, 0]).unwrap();
        assert_eq!(event, Some(Event::Message(&[])));
        decoder.expect_payload(10);
        assert_eq!(
            decoder.next(&[1, 2]),
            Ok((2, Some(Event::Payload(&[1, 2]))))
        );
        decoder.payload_read(7);
        assert_eq!(decoder.payload_left(), 1);
        assert_eq!(decoder.next(&[3, 2]), Ok((1, Some(Event::Payload(&[3])))));
        assert_eq!(decoder.next(&[2]), Ok((1, None)));
        assert!(!decoder.is_between_messages());
    }
}
