//! The two streams of a link. Bytes arrive in any pieces; a cut loses the end
//! of what was sent, in the middle of a message or not; a half-open link
//! loses everything, one way or both, and tells nobody.

use crate::receive::Coming;
use crate::rng::Rng;
use hast_core::frame::{Decoder, NODE_LIMIT};
use hast_core::message::Extensions;
use hast_core::primary;
use hast_core::secondary;
use std::collections::VecDeque;

/// One direction, with what its receiver has understood so far.
#[derive(Debug)]
pub(crate) struct Stream {
    bytes: VecDeque<u8>,
    /// Nothing arrives any more, not even the end.
    lost: bool,
    /// Its receiver knows that it has ended.
    pub(crate) told: bool,
    pub(crate) decoder: Decoder,
    /// What is coming behind a message, and as much of it as has come.
    pub(crate) coming: Coming,
    pub(crate) payload: Vec<u8>,
    /// The first message is that of the handshake.
    pub(crate) greeted: bool,
}

impl Stream {
    fn new() -> Self {
        Self {
            bytes: VecDeque::new(),
            lost: false,
            told: false,
            decoder: Decoder::new(NODE_LIMIT),
            coming: Coming::Nothing,
            payload: Vec::new(),
            greeted: false,
        }
    }

    pub(crate) fn send(&mut self, bytes: Vec<u8>) {
        if !self.lost {
            self.bytes.extend(bytes);
        }
    }

    /// Some of the bytes that are under way.
    fn arrive(&mut self, slow: bool, rng: &mut Rng) -> Vec<u8> {
        let most = self.bytes.len();
        let count = match rng.below(6) {
            _ if slow => most.min(rng.below(20)),
            0 | 1 => most.min(1 + rng.below(40)),
            _ => most,
        };
        self.bytes.drain(..count).collect()
    }
}

/// Which way bytes go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    ToSecondary,
    ToPrimary,
}

impl Way {
    pub(crate) const fn back(self) -> Self {
        match self {
            Self::ToSecondary => Self::ToPrimary,
            Self::ToPrimary => Self::ToSecondary,
        }
    }
}

/// What a primary that connects finds.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Listener {
    /// What both know.
    pub(crate) extensions: Extensions,
    /// Longest request it takes, if that is shorter than any.
    pub(crate) longest: Option<u32>,
}

#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) primary: primary::Session,
    /// Once the secondary has understood step 2.
    pub(crate) secondary: Option<secondary::Session>,
    pub(crate) listener: Listener,
    requests: Stream,
    replies: Stream,
    /// Nothing is sent any more; what was sent may arrive.
    cut: bool,
    slow: bool,
}

impl Link {
    pub(crate) fn new(primary: primary::Session, listener: Listener) -> Self {
        Self {
            primary,
            secondary: None,
            listener,
            requests: Stream::new(),
            replies: Stream::new(),
            cut: false,
            slow: false,
        }
    }

    pub(crate) fn stream(&mut self, way: Way) -> &mut Stream {
        match way {
            Way::ToSecondary => &mut self.requests,
            Way::ToPrimary => &mut self.replies,
        }
    }

    pub(crate) fn send(&mut self, way: Way, bytes: Vec<u8>) {
        if !self.cut {
            self.stream(way).send(bytes);
        }
    }

    pub(crate) fn arrive(&mut self, way: Way, rng: &mut Rng) -> Vec<u8> {
        let slow = self.slow;
        self.stream(way).arrive(slow, rng)
    }

    /// Whether the receiver now notices that the link has ended: it does so
    /// once, when it has received all that still arrives.
    pub(crate) fn ends(&mut self, way: Way) -> bool {
        let cut = self.cut;
        let stream = self.stream(way);
        let ends = cut && !stream.lost && stream.bytes.is_empty();
        ends && !core::mem::replace(&mut stream.told, true)
    }

    pub(crate) fn is_cut(&self) -> bool {
        self.cut
    }

    /// Cuts it: some of what was sent still arrives.
    pub(crate) fn cut(&mut self, rng: &mut Rng) {
        self.cut = true;
        for stream in [&mut self.requests, &mut self.replies] {
            let left = rng.below(stream.bytes.len() + 1);
            stream.bytes.truncate(left);
        }
    }

    /// One end hangs up, in order: what it was sent is of no use to it, what
    /// it has sent arrives.
    pub(crate) fn hang_up(&mut self, towards_it: Way) {
        self.cut = true;
        let stream = self.stream(towards_it);
        stream.bytes.clear();
        stream.told = true;
    }

    pub(crate) fn break_silently(&mut self, rng: &mut Rng) {
        let both = rng.one_in(2);
        let one = rng.one_in(2);
        for (stream, lost) in [
            (&mut self.requests, both || one),
            (&mut self.replies, both || !one),
        ] {
            stream.lost |= lost;
            if lost {
                stream.bytes.clear();
            }
        }
    }

    pub(crate) const fn slow_down(&mut self) {
        self.slow = true;
    }
}
