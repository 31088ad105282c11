//! The two streams of a link. Bytes arrive in any pieces; a cut loses the end
//! of what was sent, in the middle of a message or not; a half-open link
//! loses everything and tells nobody.

use crate::rng::Rng;
use hast_core::frame::{Decoder, NODE_LIMIT};
use hast_core::primary;
use hast_core::secondary;
use std::collections::VecDeque;

/// One direction, with what its receiver has understood so far.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) bytes: VecDeque<u8>,
    pub(crate) decoder: Decoder,
    pub(crate) payload: Vec<u8>,
    /// The first message is that of the handshake.
    pub(crate) greeted: bool,
}

impl Stream {
    fn new() -> Self {
        Self {
            bytes: VecDeque::new(),
            decoder: Decoder::new(NODE_LIMIT),
            payload: Vec::new(),
            greeted: false,
        }
    }

    /// Some of the bytes that are under way.
    pub(crate) fn arrive(&mut self, rng: &mut Rng) -> Vec<u8> {
        let most = self.bytes.len();
        let few = rng.one_in(3);
        let count = if few {
            most.min(1 + rng.below(40))
        } else {
            most
        };
        self.bytes.drain(..count).collect()
    }
}

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
pub(crate) struct Link {
    pub(crate) primary: primary::Session,
    pub(crate) secondary: Option<secondary::Session>,
    pub(crate) requests: Stream,
    pub(crate) replies: Stream,
    /// Nothing arrives any more; the ends do not know yet.
    pub(crate) cut: bool,
    pub(crate) half_open: bool,
    pub(crate) told_primary: bool,
    pub(crate) told_secondary: bool,
}

impl Link {
    pub(crate) fn new(primary: primary::Session) -> Self {
        Self {
            primary,
            secondary: None,
            requests: Stream::new(),
            replies: Stream::new(),
            cut: false,
            half_open: false,
            told_primary: false,
            told_secondary: false,
        }
    }

    pub(crate) fn carries(&self) -> bool {
        !self.cut && !self.half_open
    }

    /// Cuts it: some of what was sent still arrives.
    pub(crate) fn cut(&mut self, rng: &mut Rng) {
        self.cut = true;
        for stream in [&mut self.requests, &mut self.replies] {
            let left = rng.below(stream.bytes.len() + 1);
            stream.bytes.truncate(left);
        }
    }

    pub(crate) fn break_silently(&mut self) {
        self.half_open = true;
        self.requests.bytes.clear();
        self.replies.bytes.clear();
    }
}
