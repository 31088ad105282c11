//! `recvtd`: from the server to the gate.

use ggate::errno::{WireErrno, words};
use ggate::gate::role::Actor;
use ggate::gate::{Command, Outcome, Request, Seq};
use ggate::wire::{Input, Reply};
use std::io;
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::client::Client;
use crate::send::on_wire;

/// Memory for the data of READs that is kept, in bytes: the largest one that
/// FreeBSD's kernels ask for by default, or many small ones.
const KEPT_DATA: usize = 1 << 20;

/// Our servers send an empty reply to request 0 each second in which they had
/// nothing else to send, however busy their disks are. After so much silence
/// they are gone. Base's servers say nothing; there TCP has to find out.
pub(crate) const SILENCE: Duration = Duration::from_secs(4);

/// The receiving side of a session.
#[derive(Debug)]
pub(crate) struct Replies {
    session: u64,
    stream: TcpStream,
    input: Input,
}

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the server closed the connection")]
    Closed,
    #[error("receiving failed: {}", words(.0))]
    Io(#[source] io::Error),
    #[error("no sign of life from the server for {} s", SILENCE.as_secs())]
    Silent,
    #[error("there is a newer session")]
    Superseded,
    #[error("the server answered request {}, which it was not asked", .0.0)]
    NeverAsked(Seq),
    #[error("the server's reply to request {} does not match it", .0.0)]
    Mismatch(Seq),
}

/// One request with its reply.
pub(crate) struct Answered {
    request: Request,
    error: Option<WireErrno>,
    /// Where its data begins in [`Receiver::data`].
    at: usize,
}

/// One of the two threads that can read replies.
pub(crate) struct Receiver<'a> {
    client: &'a Client,
    /// What is being completed, as many at a time as the gate takes well.
    answered: Vec<Answered>,
    at_once: usize,
    /// The data of the READs among them. Not of the client's pool: writes that
    /// wait for their replies may hold all of that.
    data: Vec<u8>,
    used: usize,
}

impl<'a> Receiver<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        let at_once = client.gate.ctl.done_at_once();
        Self {
            client,
            answered: Vec::with_capacity(at_once),
            at_once,
            data: vec![0; KEPT_DATA],
            used: 0,
        }
    }

    /// Reads a reply, and those that came with it.
    fn collect(&mut self, replies: &mut Replies) -> Result<(), Lost> {
        self.next(replies)?;
        while self.answered.len() < self.at_once
            && replies.has_reply(self.data.len().saturating_sub(self.used))
        {
            self.next(replies)?;
        }
        Ok(())
    }

    /// Reads one reply and takes its request out of the table.
    fn next(&mut self, replies: &mut Replies) -> Result<(), Lost> {
        let reply = replies.reply()?;
        if reply == Reply::HEARTBEAT {
            return Ok(());
        }
        let request = self.expected(replies.session, &reply)?;
        let length = usize::try_from(reply.payload_len()).expect("64-bit systems");
        let at = self.used;
        if length > 0 {
            if self.data.len() < at + length {
                self.data.resize(at + length, 0);
            }
            replies.payload(&mut self.data[at..at + length])?;
            self.used += length;
        }
        let error = reply.error;
        self.account(replies.session, request, error)?;
        self.answered.push(Answered { request, error, at });
        Ok(())
    }

    /// The request that a reply claims to answer. It stays in the table until
    /// the whole reply is here.
    fn expected(&self, session: u64, reply: &Reply) -> Result<Request, Lost> {
        let seq = reply.request.seq;
        let state = self.client.state.lock();
        if state.session != session {
            return Err(Lost::Superseded);
        }
        let entry = state.unanswered.get(seq).ok_or(Lost::NeverAsked(seq))?;
        if on_wire(&entry.request) == Some(reply.request) {
            Ok(entry.request)
        } else {
            Err(Lost::Mismatch(seq))
        }
    }

    /// The whole reply is here: the request leaves the table.
    fn account(
        &self,
        session: u64,
        request: Request,
        error: Option<WireErrno>,
    ) -> Result<(), Lost> {
        let mut state = self.client.state.lock();
        if state.session != session {
            return Err(Lost::Superseded);
        }
        // A FLUSH may have been answered here in the meantime.
        let seq = request.seq;
        let entry = state.unanswered.remove(seq).ok_or(Lost::NeverAsked(seq))?;
        state.traffic.count(&request, error.is_none());
        if error.is_none() {
            match request.command {
                Command::Write => state.durability.acknowledged(),
                Command::Flush => {
                    state.durability.flushed(entry.covers);
                    self.client.link.flush_works();
                }
                _ => {}
            }
        }
        self.client.made_room(&mut state);
        Ok(())
    }
}

impl Actor<Option<Replies>> for Receiver<'_> {
    type Work = ();

    fn take(&mut self, stream: &mut Option<Replies>) -> ControlFlow<(), ()> {
        loop {
            let replies = stream.get_or_insert_with(|| self.client.link.next_replies());
            if let Err(why) = self.collect(replies) {
                self.client.link.fail(replies.session, &why.to_string());
                *stream = None;
            }
            if !self.answered.is_empty() {
                return ControlFlow::Continue(());
            }
        }
    }

    fn finish(&mut self, (): ()) {
        let data = &self.data;
        let done = self.answered.drain(..).map(|answered| {
            let Answered { request, error, at } = answered;
            let outcome = if let Some(error) = error {
                Outcome::Error(error.for_gate())
            } else if request.command == Command::Read {
                let length = usize::try_from(request.range.length).expect("it was received");
                Outcome::Data(&data[at..at + length])
            } else {
                Outcome::Done
            };
            (request, outcome)
        });
        self.client.gate.done_all(done);
        self.used = 0;
        self.data.truncate(KEPT_DATA);
        self.data.shrink_to(KEPT_DATA);
    }

    /// It leaves nothing undone.
    fn dismissed(&mut self) {}
}

impl Replies {
    pub(crate) fn new(session: u64, stream: TcpStream) -> Self {
        Self {
            session,
            stream,
            input: Input::default(),
        }
    }

    fn reply(&mut self) -> Result<Reply, Lost> {
        loop {
            if let Some(header) = self.input.header() {
                return Ok(Reply::decode(&header));
            }
            something(self.input.fill(&self.stream))?;
        }
    }

    /// Whether a whole reply is here, with a payload of at most `room` bytes.
    fn has_reply(&self, room: usize) -> bool {
        self.input.peek().is_some_and(|(header, behind)| {
            let length = Reply::decode(header).payload_len();
            usize::try_from(length).expect("64-bit systems") <= room.min(behind)
        })
    }

    /// The payload behind a header: first what is here already.
    fn payload(&mut self, data: &mut [u8]) -> Result<(), Lost> {
        let mut filled = self.input.take(data);
        while filled < data.len() {
            filled += something(self.input.receive(&self.stream, &mut data[filled..]))?;
        }
        Ok(())
    }
}

/// What one call received; silence beyond the limit set on the socket ends the
/// session.
fn something(received: io::Result<usize>) -> Result<usize, Lost> {
    match received {
        Ok(0) => Err(Lost::Closed),
        Ok(received) => Ok(received),
        Err(error) => Err(match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => Lost::Silent,
            _ => Lost::Io(error),
        }),
    }
}
