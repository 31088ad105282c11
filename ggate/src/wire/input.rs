//! Frames on their way in: many headers per system call, large payloads
//! straight where they belong, with the next header behind them.

use super::Request;
use crate::net::read_ahead;
use std::io::{self, ErrorKind, IoSliceMut, Read};

/// Input buffer in bytes: two requests of 128 KiB, thousands of headers.
const SIZE: usize = 256 << 10;

/// A frame's header as it came.
pub type Header = [u8; Request::SIZE];

/// Bytes received and not yet looked at.
#[derive(Debug)]
pub struct Input {
    bytes: Box<[u8]>,
    start: usize,
    end: usize,
    /// Bytes of the payload received last.
    last_payload: usize,
}

impl Default for Input {
    fn default() -> Self {
        Self {
            bytes: vec![0; SIZE].into_boxed_slice(),
            start: 0,
            end: 0,
            last_payload: 0,
        }
    }
}

impl Input {
    /// Bytes that are here.
    #[must_use]
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Whether nothing is here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The next header, if all of it is here, and how many bytes are behind it.
    #[must_use]
    pub fn peek(&self) -> Option<(&Header, usize)> {
        let (header, behind) = self.bytes[self.start..self.end].split_first_chunk()?;
        Some((header, behind.len()))
    }

    /// Takes the next header, if all of it is here.
    pub fn header(&mut self) -> Option<Header> {
        let header = *self.peek()?.0;
        self.start += header.len();
        Some(header)
    }

    /// Moves what is here of a payload to the front of it; says how much that
    /// was.
    pub fn take(&mut self, payload: &mut [u8]) -> usize {
        self.last_payload = payload.len();
        let len = self.len().min(payload.len());
        payload[..len].copy_from_slice(&self.bytes[self.start..][..len]);
        self.start += len;
        len
    }

    /// Drops up to `len` bytes; says how many.
    pub fn skip(&mut self, len: usize) -> usize {
        let len = self.len().min(len);
        self.start += len;
        len
    }

    /// Receives more, once no whole header is here; 0 at the end.
    pub fn fill(&mut self, stream: impl Read) -> io::Result<usize> {
        self.bytes.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        let ahead = read_ahead(self.bytes.len() - self.end, self.last_payload);
        let received = read(stream, &mut [], &mut self.bytes[self.end..][..ahead])?;
        self.end += received;
        Ok(received)
    }

    /// Receives more of a payload, of which [`take`](Self::take) left this,
    /// and perhaps what follows it; says how much of the payload, 0 at the end.
    pub fn receive(&mut self, stream: impl Read, payload: &mut [u8]) -> io::Result<usize> {
        debug_assert!(self.is_empty() && !payload.is_empty());
        let ahead = read_ahead(self.bytes.len(), self.last_payload);
        let received = read(stream, payload, &mut self.bytes[..ahead])?;
        let direct = received.min(payload.len());
        self.start = 0;
        self.end = received - direct;
        Ok(direct)
    }
}

/// Receives something; 0 at the end.
fn read(mut stream: impl Read, first: &mut [u8], second: &mut [u8]) -> io::Result<usize> {
    let mut parts = [IoSliceMut::new(first), IoSliceMut::new(second)];
    loop {
        match stream.read_vectored(&mut parts) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::gate::Seq;
    use crate::wire::Command;
    use proptest::prelude::*;

    /// A stream that comes in pieces.
    struct Pieces<'a>(&'a [u8], usize);

    impl Read for Pieces<'_> {
        fn read(&mut self, to: &mut [u8]) -> io::Result<usize> {
            self.read_vectored(&mut [IoSliceMut::new(to)])
        }

        fn read_vectored(&mut self, to: &mut [IoSliceMut<'_>]) -> io::Result<usize> {
            let mut left = self.1;
            for to in to {
                let piece = left.min(to.len());
                let mut from = &self.0[..piece.min(self.0.len())];
                let read = from.read(to)?;
                self.0 = &self.0[read..];
                left -= read;
            }
            Ok(self.1 - left)
        }
    }

    fn write(seq: usize, length: usize) -> Request {
        Request {
            command: Command::Write,
            offset: 0,
            length: u32::try_from(length).unwrap(),
            seq: Seq(seq as u64),
        }
    }

    proptest! {
        /// Whatever the pieces, every frame arrives as it was sent; payloads of
        /// which only a part is wanted included.
        #[test]
        fn frames_arrive_whole_however_the_stream_is_cut(
            frames in prop::collection::vec((0_usize..100_000, any::<bool>()), 1..12),
            piece in prop_oneof![1_usize..100, 1000_usize..300_000],
        ) {
            let mut sent = Vec::new();
            for (seq, (length, _)) in frames.iter().enumerate() {
                sent.extend(write(seq, *length).encode());
                sent.extend((0..*length).map(|at| u8::try_from((at + seq) % 251).unwrap()));
            }
            let mut stream = Pieces(&sent, piece);
            let mut input = Input::default();
            for (seq, (length, wanted)) in frames.iter().enumerate() {
                let header = loop {
                    match input.header() {
                        Some(header) => break header,
                        None => prop_assert!(input.fill(&mut stream).unwrap() > 0),
                    }
                };
                prop_assert_eq!(Request::decode(&header), write(seq, *length));
                if *wanted {
                    let mut payload = vec![0; *length];
                    let mut done = input.take(&mut payload);
                    while done < *length {
                        done += input.receive(&mut stream, &mut payload[done..]).unwrap();
                    }
                    prop_assert!((0..*length).all(|at| usize::from(payload[at]) == (at + seq) % 251));
                } else {
                    let mut left = *length - input.skip(*length);
                    while left > 0 {
                        prop_assert!(input.fill(&mut stream).unwrap() > 0);
                        left -= input.skip(left);
                    }
                }
            }
            prop_assert!(input.is_empty());
            prop_assert_eq!(input.fill(&mut stream).unwrap(), 0);
        }
    }
}
