//! Requests to the peer and its replies.
//! Facts: spec/hast-wire.md sections 6 and 8.

use super::request::{Kind, Stage};
use super::{Action, Op, Outgoing, Primary, Replication, Session, Trouble, Why};
use crate::errno::Errno;
use crate::message::{BASE_LONGEST, Reply};
use crate::metadata::Consistency;
use crate::outstanding::{Answer, Asked};
use crate::payload::Header;
use crate::slab::RequestId;
use crate::units::{ByteRange, Generation, Seq};
use crate::watch::error;
use alloc::vec::Vec;

/// What waits for a reply.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Target {
    /// A request, or the piece of it with this range.
    Request(RequestId, Option<ByteRange>),
    Told(Told),
    /// The peer's counter is raised to this.
    Raised(u64),
    Keepalive,
}

/// What the peer's metadata say about its data.
pub(super) type Told = (Consistency, Option<Generation>);

/// Pieces a request of this length is cut into for a base peer.
pub(super) const fn most_pieces(length: u32) -> u32 {
    length.div_ceil(BASE_LONGEST)
}

/// What follows the entries of a reply on the stream.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Follows {
    /// The next message.
    Nothing,
    /// Data for the request's buffer. Once it is there, verified and
    /// expanded, or was found wrong: [`Primary::data_received`].
    Data {
        /// The request.
        id: RequestId,
        /// Which of its data.
        piece: ByteRange,
        /// How it travels.
        payload: Header,
    },
    /// So many bytes of no use.
    Skip(u32),
}

impl Primary {
    /// The entries of a reply. Says what follows them.
    pub fn reply(&mut self, session: Session, reply: &Reply, out: &mut Vec<Action>) -> Follows {
        if session != self.link.session() || !self.link.is_up() {
            return Follows::Skip(reply.payload_size());
        }
        self.link.heard = self.now;
        let follows = match self.outstanding.reply(reply) {
            Err(error) if error.is_fatal() => {
                self.disconnect(Why::Protocol, out);
                Follows::Nothing
            }
            Err(_) => Follows::Skip(reply.payload_size()),
            Ok(Answer::Data(Target::Request(id, Some(piece)), payload)) => {
                self.link.receiving = Some(id);
                Follows::Data { id, piece, payload }
            }
            Ok(Answer::Data(_, payload)) => Follows::Skip(payload.size),
            Ok(Answer::Acknowledged(target)) => {
                if let Target::Request(id, _) = target {
                    self.acknowledged(id, out);
                }
                Follows::Nothing
            }
            Ok(Answer::Done(target)) => {
                self.answered(target, Ok(()), out);
                Follows::Nothing
            }
            Ok(Answer::Failed(target, error)) => {
                self.answered(target, Err(error), out);
                Follows::Nothing
            }
        };
        self.pump(out);
        follows
    }

    /// The data announced by [`Follows::Data`] is in the buffer. If it was
    /// wrong, report [`Primary::peer_down`] instead.
    pub fn data_received(&mut self, session: Session, out: &mut Vec<Action>) {
        if session != self.link.session() {
            return;
        }
        if let Some(id) = self.link.receiving.take() {
            self.link.heard = self.now;
            self.remote_done(id, Ok(()), out);
            self.pump(out);
        }
    }

    fn answered(&mut self, target: Target, result: Result<(), Errno>, out: &mut Vec<Action>) {
        match target {
            Target::Request(id, _) => {
                let op = self.slots.get_mut(id).map(|slot| slot.op);
                if let Some(op) = op
                    && let Some(error) = error(op, result)
                {
                    self.note(Trouble::Peer(op, error));
                    if op == Op::Flush {
                        self.peer_cache_failed();
                    }
                }
                self.remote_done(id, result, out);
            }
            Target::Told(told) => {
                self.link.telling = false;
                match result {
                    Ok(()) => self.link.told = Some(told),
                    Err(error) => {
                        self.note(Trouble::PeerState(error));
                        self.sync_failed();
                    }
                }
            }
            Target::Raised(to) => {
                self.link.raising = false;
                self.raised(to, result, out);
            }
            Target::Keepalive => {}
        }
    }

    /// Hands a request to the peer, in pieces it can take.
    pub(super) fn send_request(&mut self, id: RequestId, out: &mut Vec<Action>) {
        let longest = u64::from(self.link.longest());
        let Some(slot) = self.slots.get_mut(id) else {
            return;
        };
        slot.stage = Stage::Running;
        let op = slot.op;
        let pieces = match (op, op.range()) {
            (Op::Read(range) | Op::Write(range), _) => range.length().div_ceil(longest),
            _ => 1,
        };
        let client = matches!(slot.kind, Kind::Client { .. });
        let memsync = client && slot.replication == Replication::Memsync;
        slot.remote.left = u32::try_from(pieces).expect("requests are bounded");
        slot.unacknowledged = slot.remote.left;
        slot.sent = true;
        for n in 0..pieces {
            let piece = |range: ByteRange| {
                let offset = range.offset() + n * longest;
                ByteRange::new(offset, longest.min(range.end() - offset)).expect("not beyond it")
            };
            let (op, piece, asked) = match op {
                Op::Read(range) => {
                    let piece = piece(range);
                    let length = piece.length();
                    (Op::Read(piece), Some(piece), Asked::Read { length })
                }
                Op::Write(range) => {
                    let piece = piece(range);
                    (Op::Write(piece), Some(piece), Asked::Write { memsync })
                }
                other => (other, other.range(), Asked::Other),
            };
            let what = Outgoing::Request { id, op, memsync };
            self.send(Target::Request(id, piece), asked, what, out);
        }
    }

    /// Makes the peer write into its metadata what its data is.
    pub(super) fn tell(&mut self, told: Told, out: &mut Vec<Action>) {
        if !core::mem::replace(&mut self.link.telling, true) {
            // Until it is confirmed either may be on its disk.
            self.link.told = None;
            let what = Outgoing::State {
                consistency: told.0,
                generation: told.1,
                raise: None,
            };
            self.send(Target::Told(told), Asked::Other, what, out);
        }
    }

    /// Makes the peer write into its metadata that it alone has everything.
    pub(super) fn raise(&mut self, to: u64, out: &mut Vec<Action>) {
        if !core::mem::replace(&mut self.link.raising, true) {
            self.link.perhaps_raised = Some(to);
            let what = Outgoing::State {
                consistency: Consistency::Consistent,
                generation: self.metadata().generation,
                raise: Some(to),
            };
            self.send(Target::Raised(to), Asked::Other, what, out);
        }
    }

    pub(super) fn send(
        &mut self,
        target: Target,
        asked: Asked,
        what: Outgoing,
        out: &mut Vec<Action>,
    ) {
        if self.outstanding.is_empty() {
            self.link.heard = self.now;
        }
        let seq = self.outstanding.insert(target, asked);
        let seq = seq.expect("there is a number for every piece of every request");
        self.push(Some(seq), what, out);
    }

    pub(super) fn push(&mut self, seq: Option<Seq>, what: Outgoing, out: &mut Vec<Action>) {
        self.link.sent = self.now;
        let session = self.link.session();
        out.push(Action::Send { session, seq, what });
    }
}
