//! What a primary sends, as bytes.

use super::Shell;
use crate::log;
use crate::worker::output::{Encode, Gone, Large};
use crate::worker::wire::{append, append_data};
use hast_core::message::Request;
use hast_core::payload::Workspace;
use hast_core::primary::{Op, Outgoing};
use hast_core::units::Seq;
use nix::errno::Errno;

/// A message on its way.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame {
    pub(super) seq: Option<Seq>,
    pub(super) what: Outgoing,
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
        // Only a KEEPALIVE may have no number.
        let number = || frame.seq.ok_or(Gone);
        let request = match frame.what {
            Outgoing::Keepalive => Request::Keepalive { seq: frame.seq },
            Outgoing::State {
                consistency,
                generation,
                raise,
            } => Request::State {
                seq: number()?,
                consistency,
                generation,
                raise,
            },
            Outgoing::Request { id, op, memsync } => match op {
                Op::Read(range) => Request::Read {
                    seq: number()?,
                    range,
                },
                Op::Delete(range) => Request::Delete {
                    seq: number()?,
                    range,
                },
                Op::Flush => Request::Flush { seq: number()? },
                Op::Write(range) => {
                    let seq = number()?;
                    let data = (&*self.buffers, id, range);
                    return append_data(&self.wire, data, bytes, workspace, |payload, room| {
                        Request::Write {
                            seq,
                            range,
                            memsync: memsync && version.has_memsync(),
                            payload,
                        }
                        .encode(version, room)
                    });
                }
            },
        };
        append(bytes, |room| request.encode(version, room));
        Ok(None)
    }

    fn sent(&self, _: &Frame) {}

    fn failed(&self, error: Errno) {
        let remote = self.links.remote();
        log::warning!("Sending to {remote} failed: {}.", error.desc());
        // Whoever receives replies finds its connection at an end.
        self.links.shut_down();
    }
}
