//! What a secondary sends, as bytes.

use super::Shell;
use crate::log;
use crate::worker::output::{Encode, Gone, Large};
use crate::worker::wire::{append, append_data};
use hast_core::message::Reply;
use hast_core::payload::Workspace;
use hast_core::secondary::Outcome;
use hast_core::units::Seq;
use nix::errno::Errno;

/// A reply on its way.
#[derive(Clone, Copy, Debug)]
pub(super) enum Frame {
    /// What became of a request.
    Outcome(Seq, Outcome),
    /// The refusal of something that was no request.
    Reply(Reply),
}

impl Encode for Shell {
    type Frame = Frame;

    fn encode(
        &self,
        frame: &Frame,
        bytes: &mut Vec<u8>,
        workspace: &mut Workspace,
    ) -> Result<Option<Large>, Gone> {
        let version = self.wire.version();
        let reply = match *frame {
            Frame::Reply(reply) => reply,
            Frame::Outcome(seq, Outcome::Received) => Reply::received(seq),
            Frame::Outcome(seq, Outcome::Done) => Reply::done(seq),
            Frame::Outcome(seq, Outcome::Failed(error)) => Reply::failed(seq, error),
            Frame::Outcome(seq, Outcome::Data(id, range)) => {
                let data = (&*self.buffers, id, range);
                return append_data(&self.wire, data, bytes, workspace, |payload, room| {
                    Reply::data(seq, payload).encode(version, room)
                });
            }
        };
        append(bytes, |room| reply.encode(version, room));
        Ok(None)
    }

    fn sent(&self, frame: &Frame) {
        if let Frame::Outcome(_, Outcome::Data(id, _)) = *frame {
            self.quiet_event(|machine, out| machine.sent(id, out));
        }
    }

    fn failed(&self, error: Errno) {
        let address = self.peers.address();
        log::warning!("Sending to {address} failed: {}.", error.desc());
        // Whoever receives requests finds its connection at an end.
        self.peers.shut_down();
    }
}
