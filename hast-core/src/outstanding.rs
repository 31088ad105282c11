//! Requests that wait for the peer's replies, and what a reply may say.
//! Facts: spec/hast-wire.md section 8.
//!
//! Replies are matched by number alone and in any order. Every request has a
//! number of its own, synchronisation included; base gives those all number
//! 1, and then takes one reply for another.
//!
//! **Invariant:** a request ends exactly once, by its last reply or by
//! [`Outstanding::drain`], whatever the peer sends.

use crate::errno::Errno;
use crate::message::Reply;
use crate::payload::{self, PayloadError};
use crate::units::Seq;
use alloc::vec::Vec;
use core::fmt;

/// What was asked, as far as it decides which replies are possible.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Asked {
    /// Data of this many bytes.
    Read {
        /// At least 1.
        length: u64,
    },
    /// To store data; `memsync` asks for two replies.
    Write {
        /// The first reply says that the data is in memory.
        memsync: bool,
    },
    /// Anything else.
    Other,
}

/// What a reply means.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Answer<T> {
    /// The data of a memsync WRITE is in the peer's memory; the last reply is
    /// still to come.
    Acknowledged(T),
    /// The request was carried out.
    Done(T),
    /// The data of a READ follows; the request ends.
    Data(T, payload::Header),
    /// The request failed; it ends.
    Failed(T, Errno),
}

#[derive(Clone, Copy, Debug)]
struct Slot<T> {
    /// Counts the requests this slot has had, so that no number is used
    /// twice.
    turn: u64,
    request: Option<(T, Asked, Acknowledged)>,
}

type Acknowledged = bool;

/// Requests sent and not answered, at most a fixed number of them. `T` is
/// the caller's name for a request.
#[derive(Clone, Debug)]
pub struct Outstanding<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

impl<T: Copy> Outstanding<T> {
    /// None yet. All memory is taken here, for `most` requests at a time.
    #[must_use]
    pub fn new(most: u32) -> Self {
        let slot = Slot {
            turn: 0,
            request: None,
        };
        Self {
            slots: (0..most).map(|_| slot).collect(),
            free: (0..most).rev().collect(),
        }
    }

    /// Gives a request its number; `None` if as many as can be wait already.
    pub fn insert(&mut self, request: T, asked: Asked) -> Option<Seq> {
        let index = self.free.pop()?;
        let slot = &mut self.slots[crate::index(index.into())];
        slot.request = Some((request, asked, false));
        slot.turn += 1;
        self.number(index)
    }

    /// The number of the request in a slot: different for every turn of every
    /// slot, and never 0 since turns start at 1.
    fn number(&self, index: u32) -> Option<Seq> {
        let turn = self.slots[crate::index(index.into())].turn;
        Seq::new(turn * self.stride() + u64::from(index))
    }

    /// Slots there are, at least 1.
    fn stride(&self) -> u64 {
        crate::length(self.slots.len()).max(1)
    }

    /// Takes a reply. An error says whose fault it is and leaves everything
    /// as it was; whether the connection survives, [`ReplyError::is_fatal`]
    /// says.
    pub fn reply(&mut self, reply: &Reply) -> Result<Answer<T>, ReplyError> {
        let seq = reply.seq.ok_or(ReplyError::Unknown)?;
        let index = u32::try_from(seq.get() % self.stride()).map_err(|_| ReplyError::Unknown)?;
        let at = crate::index(index.into());
        if self.slots.is_empty() || self.number(index) != Some(seq) {
            return Err(ReplyError::Unknown);
        }
        let slot = &mut self.slots[at].request;
        let (request, asked, acknowledged) = slot.as_mut().ok_or(ReplyError::Unknown)?;
        let request = *request;
        let memsync = *asked == Asked::Write { memsync: true };
        let answer = match (reply.error, reply.payload, *asked) {
            (Some(error), None, _) => Answer::Failed(request, error),
            (None, Some(payload), Asked::Read { length }) => {
                payload.check(length).map_err(ReplyError::Payload)?;
                Answer::Data(request, payload)
            }
            (None, None, Asked::Read { .. }) => {
                return Err(ReplyError::Payload(PayloadError::Length));
            }
            (_, Some(_), _) => return Err(ReplyError::Payload(PayloadError::Length)),
            (None, None, _) if memsync && reply.received => {
                if core::mem::replace(acknowledged, true) {
                    return Err(ReplyError::AcknowledgedTwice);
                }
                return Ok(Answer::Acknowledged(request));
            }
            // On other requests base ignores `received`. A last reply that
            // comes without an acknowledgement says more, not less.
            (None, None, _) => Answer::Done(request),
        };
        *slot = None;
        self.free.push(index);
        Ok(answer)
    }

    /// Takes out every request that waits: the connection is gone.
    pub fn drain(&mut self) -> impl Iterator<Item = T> {
        let free = &mut self.free;
        (0..).zip(&mut self.slots).filter_map(move |(index, slot)| {
            let (request, ..) = slot.request.take()?;
            free.push(index);
            Some(request)
        })
    }

    /// Number of requests that wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// Whether none waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Why a reply answers nothing.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum ReplyError {
    /// No request of that number waits: never made, or answered before.
    Unknown,
    /// A memsync WRITE was acknowledged before.
    AcknowledgedTwice,
    /// Data that was not asked for, or not the data that was.
    Payload(PayloadError),
}

impl ReplyError {
    /// Whether the connection must end. A reply that means nothing is logged
    /// and dropped with its payload, as base does; wrong data is not.
    #[must_use]
    pub const fn is_fatal(self) -> bool {
        matches!(self, Self::Payload(_))
    }
}

impl fmt::Display for ReplyError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.write_str("reply to a request that is not waiting"),
            Self::AcknowledgedTwice => f.write_str("second acknowledgement of a memsync write"),
            Self::Payload(error) => write!(f, "reply: {error}"),
        }
    }
}

impl core::error::Error for ReplyError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Compression, Digest, Header};
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    const MEMSYNC: Asked = Asked::Write { memsync: true };

    fn data(size: u32) -> Header {
        Header {
            compression: Compression::None,
            digest: Digest::None,
            size,
        }
    }

    #[test]
    fn a_memsync_write_ends_with_its_second_reply() {
        let mut table = Outstanding::new(4);
        let seq = table.insert('w', MEMSYNC).unwrap();
        let first = Reply::received(seq);
        assert_eq!(table.reply(&first), Ok(Answer::Acknowledged('w')));
        assert_eq!(table.reply(&first), Err(ReplyError::AcknowledgedTwice));
        assert!(!ReplyError::AcknowledgedTwice.is_fatal());
        assert_eq!(table.reply(&Reply::done(seq)), Ok(Answer::Done('w')));
        assert_eq!(table.reply(&Reply::done(seq)), Err(ReplyError::Unknown));
        assert!(table.is_empty());
    }

    /// Base's primary aborts on both.
    #[test]
    fn a_missing_or_misplaced_acknowledgement_is_survived() {
        let mut table = Outstanding::new(4);
        let seq = table.insert('w', MEMSYNC).unwrap();
        assert_eq!(table.reply(&Reply::done(seq)), Ok(Answer::Done('w')));
        let seq = table.insert('f', Asked::Other).unwrap();
        assert_eq!(table.reply(&Reply::received(seq)), Ok(Answer::Done('f')));
        let seq = table.insert('w', MEMSYNC).unwrap();
        let refused = Reply {
            received: true,
            ..Reply::failed(seq, Errno::EINVAL)
        };
        let answer = Answer::Failed('w', Errno::EINVAL);
        assert_eq!(table.reply(&refused), Ok(answer));
    }

    #[test]
    fn only_the_data_that_was_asked_for_is_taken() {
        let mut table = Outstanding::new(4);
        let read = table.insert('r', Asked::Read { length: 512 }).unwrap();
        let write = table.insert('w', MEMSYNC).unwrap();
        let wrong = [
            Reply::done(read),
            Reply::data(read, data(0)),
            Reply::data(read, data(511)),
            Reply::data(read, data(u32::MAX)),
            Reply::data(write, data(512)),
        ];
        for reply in wrong {
            assert!(table.reply(&reply).unwrap_err().is_fatal(), "{reply:?}");
        }
        assert_eq!(table.len(), 2);
        let answer = table.reply(&Reply::data(read, data(512)));
        assert_eq!(answer, Ok(Answer::Data('r', data(512))));
    }

    #[test]
    fn numbers_at_the_edges_answer_nothing() {
        let mut table = Outstanding::new(3);
        table.insert('r', Asked::Other).unwrap();
        for n in [0, 1, 2, 5, u64::MAX - 2, u64::MAX - 1, u64::MAX] {
            let reply = Reply {
                seq: Seq::new(n),
                ..Reply::done(Seq::new(1).unwrap())
            };
            assert_eq!(table.reply(&reply), Err(ReplyError::Unknown), "{n}");
        }
        let mut none = Outstanding::<char>::new(0);
        assert_eq!(none.insert('r', Asked::Other), None);
        let reply = Reply::done(Seq::new(1).unwrap());
        assert_eq!(none.reply(&reply), Err(ReplyError::Unknown));
    }

    #[test]
    fn a_lost_connection_leaves_nothing_waiting() {
        let mut table = Outstanding::new(2);
        let old = table.insert('a', Asked::Other).unwrap();
        table.insert('b', Asked::Other).unwrap();
        assert_eq!(table.insert('c', Asked::Other), None);
        assert!(table.drain().eq(['a', 'b']));
        table.insert('c', Asked::Other).unwrap();
        table.insert('d', Asked::Other).unwrap();
        assert_eq!(table.reply(&Reply::done(old)), Err(ReplyError::Unknown));
    }

    proptest! {
        /// The model is a map from number to request. Replies come to
        /// numbers that wait, waited or never existed.
        #[test]
        fn each_request_ends_once(
            steps in prop::collection::vec(
                (0u8..4, any::<prop::sample::Index>(), any::<bool>(), any::<bool>()), 0..200)
        ) {
            let mut table = Outstanding::new(5);
            let mut waiting: BTreeMap<u64, (u32, Asked, bool)> = BTreeMap::new();
            let mut used: Vec<u64> = [1, 2, 77].into();
            for (n, (step, at, received, fails)) in (0u32..).zip(steps) {
                if step == 0 {
                    let asked = if received { MEMSYNC } else { Asked::Other };
                    let seq = table.insert(n, asked);
                    prop_assert_eq!(seq.is_none(), waiting.len() == 5);
                    let Some(seq) = seq else { continue };
                    prop_assert!(waiting.insert(seq.get(), (n, asked, false)).is_none());
                    prop_assert!(seq.get() < 5 || !used.contains(&seq.get()));
                    used.push(seq.get());
                    continue;
                }
                let number = used[at.index(used.len())];
                let reply = Reply {
                    received,
                    error: fails.then_some(Errno::EIO),
                    ..Reply::done(Seq::new(number).unwrap())
                };
                let got = table.reply(&reply);
                match waiting.get_mut(&number) {
                    None => prop_assert_eq!(got, Err(ReplyError::Unknown)),
                    Some((name, MEMSYNC, acknowledged)) if received && !fails => {
                        if *acknowledged {
                            prop_assert_eq!(got, Err(ReplyError::AcknowledgedTwice));
                        } else {
                            *acknowledged = true;
                            prop_assert_eq!(got, Ok(Answer::Acknowledged(*name)));
                        }
                    }
                    Some((name, ..)) => {
                        let answer = if fails {
                            Answer::Failed(*name, Errno::EIO)
                        } else {
                            Answer::Done(*name)
                        };
                        prop_assert_eq!(got, Ok(answer));
                        waiting.remove(&number);
                    }
                }
                prop_assert_eq!(table.len(), waiting.len());
            }
        }
    }
}
