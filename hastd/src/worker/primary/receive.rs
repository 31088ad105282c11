//! The peer's replies: the threads `recvtd`, of which one works and one stands
//! by (see [`ggate::gate::role`]), since answering a client may hold a thread
//! for seconds.

use super::{Deferred, Shell, list};
use crate::log;
use crate::worker::buffers::to_usize;
use crate::worker::input::{Coming, Input, LinkError};
use crate::worker::output::batch_on_this_thread;
use ggate::gate::role::{Actor, Role};
use hast_core::message::Reply;
use hast_core::payload::PayloadError;
use hast_core::primary::{Follows, Session};
use hast_core::slab::RequestId;
use socket2::Socket;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::thread;

/// The stream of replies.
struct Replies {
    input: Input,
    /// A payload that is arriving, and whose.
    coming: Option<(Option<RequestId>, Coming)>,
}

/// One of the two threads.
struct Receiver {
    shell: Arc<Shell>,
    session: Session,
}

impl Shell {
    /// Starts to receive; ends when the connection does.
    pub(super) fn receive(
        self: &Arc<Self>,
        session: Session,
        replies: Arc<Socket>,
    ) -> io::Result<()> {
        let role = Arc::new(Role::new(Replies {
            input: Input::new(replies),
            coming: None,
        }));
        let receiver = || Receiver {
            shell: Arc::clone(self),
            session,
        };
        let thread = || thread::Builder::new().name("recvtd".into());
        let (mut standby, waiting) = (receiver(), Arc::clone(&role));
        thread().spawn(move || {
            batch_on_this_thread();
            waiting.stand_by(&mut standby);
        })?;
        let mut holder = receiver();
        thread().spawn(move || {
            batch_on_this_thread();
            role.hold(&mut holder);
        })?;
        Ok(())
    }
}

impl Actor<Replies> for Receiver {
    type Work = Vec<Deferred>;

    /// Takes replies until there is something to do, or to wait for.
    fn take(&mut self, replies: &mut Replies) -> ControlFlow<(), Vec<Deferred>> {
        let mut deferred = list();
        if let Err(error) = self.take_replies(replies, &mut deferred) {
            self.lose(&error);
            self.shell.perform(deferred);
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(deferred)
    }

    fn finish(&mut self, deferred: Vec<Deferred>) {
        self.shell.output.send(&*self.shell);
        self.shell.perform(deferred);
    }

    fn dismissed(&mut self) {
        self.shell.output.send(&*self.shell);
    }
}

impl Receiver {
    /// Whatever was caused is done before anything is waited for.
    fn take_replies(
        &self,
        replies: &mut Replies,
        deferred: &mut Vec<Deferred>,
    ) -> Result<(), LinkError> {
        loop {
            if let Some((id, mut coming)) = replies.coming.take() {
                let may_wait = deferred.is_empty();
                if may_wait {
                    self.shell.output.send(&*self.shell);
                }
                match replies.input.payload(&mut coming, may_wait) {
                    Ok(true) => self.arrived(id, coming, deferred),
                    Ok(false) => {
                        replies.coming = Some((id, coming));
                        if !may_wait {
                            return Ok(());
                        }
                    }
                    Err(error) => return Err(error),
                }
            } else if let Some(reply) = replies.input.message(Reply::decode)? {
                replies.coming = self.reply(&reply?, deferred)?;
            } else if !deferred.is_empty() {
                return Ok(());
            } else {
                // Replies may have caused messages and nothing else.
                self.shell.output.send(&*self.shell);
                replies.input.fill()?;
            }
        }
    }

    fn reply(
        &self,
        reply: &Reply,
        deferred: &mut Vec<Deferred>,
    ) -> Result<Option<(Option<RequestId>, Coming)>, LinkError> {
        let tell = |machine: &mut hast_core::primary::Primary, out: &mut _| {
            machine.reply(self.session, reply, out)
        };
        Ok(match self.shell.note(deferred, tell) {
            Follows::Nothing | Follows::Skip(0) => None,
            Follows::Skip(size) => Some((None, Coming::skip(size))),
            Follows::Data { id, piece, payload } => {
                let buffers = &self.shell.buffers;
                let data = buffers.take_or_make(id, piece, &self.shell.pool);
                let begin = buffers.place_of(id, piece).unwrap_or(0);
                let coming = Coming::new(payload, data, begin, to_usize(piece.length()));
                let coming = coming.ok_or(LinkError::Payload(PayloadError::Length))?;
                Some((Some(id), coming))
            }
        })
    }

    fn arrived(&self, id: Option<RequestId>, coming: Coming, deferred: &mut Vec<Deferred>) {
        let (Some(id), Some(data)) = (id, coming.into_data()) else {
            return;
        };
        self.shell.buffers.put_back(id, data);
        let session = self.session;
        self.shell
            .note(deferred, |machine, out| machine.data_received(session, out));
    }

    fn lose(&self, error: &LinkError) {
        let shell = &self.shell;
        if shell.links.is_current(self.session) && shell.links.is_connected() {
            log::warning!("Receiving from {}: {error}.", shell.links.remote());
        }
        shell.end_link(self.session);
        let session = self.session;
        shell.event(|machine, out| machine.peer_down(session, out));
    }
}
