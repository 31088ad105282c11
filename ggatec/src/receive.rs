//! `recvtd`: from the server to the gate.

use ggate::errno::WireErrno;
use ggate::gate::role::Actor;
use ggate::gate::{Command, Outcome, Request, Seq};
use ggate::wire::Reply;
use std::io::{self, Read};
use std::net::TcpStream;
use std::ops::ControlFlow;
use std::time::Duration;

use crate::client::Client;
use crate::send::on_wire;

/// How much is asked of the socket at once, in bytes: many replies to small
/// requests in one system call.
const INPUT: usize = 256 * 1024;

/// Memory for the data of one READ that is kept, in bytes: the largest that
/// FreeBSD's kernels ask for by default.
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
    input: Box<[u8]>,
    start: usize,
    end: usize,
}

/// Why a session cannot go on.
#[derive(Debug, thiserror::Error)]
enum Lost {
    #[error("the server closed the connection")]
    Closed,
    #[error("receiving failed: {0}")]
    Io(#[from] io::Error),
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
}

/// One of the two threads that can read replies.
pub(crate) struct Receiver<'a> {
    client: &'a Client,
    /// The data of the READ that is being completed. Not of the client's pool:
    /// writes that wait for their replies may hold all of that.
    data: Vec<u8>,
}

impl<'a> Receiver<'a> {
    pub(crate) fn new(client: &'a Client) -> Self {
        Self {
            client,
            data: vec![0; KEPT_DATA],
        }
    }

    /// Reads one reply and takes its request out of the table.
    fn next(&mut self, replies: &mut Replies) -> Result<Answered, Lost> {
        loop {
            let reply = replies.reply()?;
            if reply == Reply::HEARTBEAT {
                continue;
            }
            let request = self.expected(replies.session, &reply)?;
            let length = usize::try_from(reply.payload_len()).expect("64-bit systems");
            if length > 0 {
                if self.data.len() < length {
                    self.data.resize(length, 0);
                }
                replies.payload(&mut self.data[..length])?;
            }
            self.account(replies.session, request, reply.error)?;
            return Ok(Answered {
                request,
                error: reply.error,
            });
        }
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
        let entry = state.unanswered.remove(request.seq);
        if error.is_none() {
            match (request.command, entry) {
                (Command::Write, _) => state.durability.acknowledged(),
                (Command::Flush, Some(entry)) => {
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
    type Work = Answered;

    fn take(&mut self, stream: &mut Option<Replies>) -> ControlFlow<(), Answered> {
        loop {
            let replies = stream.get_or_insert_with(|| self.client.link.next_replies());
            match self.next(replies) {
                Ok(answered) => return ControlFlow::Continue(answered),
                Err(why) => {
                    self.client.link.fail(replies.session, &why.to_string());
                    *stream = None;
                }
            }
        }
    }

    fn finish(&mut self, answered: Answered) {
        let Answered { request, error } = answered;
        let outcome = if let Some(error) = error {
            Outcome::Error(error.for_gate())
        } else if request.command == Command::Read {
            let length = usize::try_from(request.range.length).expect("it was received");
            Outcome::Data(&self.data[..length])
        } else {
            Outcome::Done
        };
        self.client.gate.done(&request, outcome);
        self.data.truncate(KEPT_DATA);
        self.data.shrink_to(KEPT_DATA);
    }
}

impl Replies {
    pub(crate) fn new(session: u64, stream: TcpStream) -> Self {
        Self {
            session,
            stream,
            input: vec![0; INPUT].into_boxed_slice(),
            start: 0,
            end: 0,
        }
    }

    fn reply(&mut self) -> Result<Reply, Lost> {
        while self.end - self.start < Reply::SIZE {
            self.input.copy_within(self.start..self.end, 0);
            self.end -= self.start;
            self.start = 0;
            self.end += read(&self.stream, &mut self.input[self.end..])?;
        }
        let bytes = &self.input[self.start..self.start + Reply::SIZE];
        self.start += Reply::SIZE;
        let bytes = bytes.try_into().expect("the length of a header");
        Ok(Reply::decode(bytes))
    }

    /// The payload behind a header: first what is here already.
    fn payload(&mut self, data: &mut [u8]) -> Result<(), Lost> {
        let here = data.len().min(self.end - self.start);
        data[..here].copy_from_slice(&self.input[self.start..self.start + here]);
        self.start += here;
        let mut filled = here;
        while filled < data.len() {
            filled += read(&self.stream, &mut data[filled..])?;
        }
        Ok(())
    }
}

/// One read; silence beyond the limit set on the socket ends the session.
fn read(mut stream: &TcpStream, data: &mut [u8]) -> Result<usize, Lost> {
    loop {
        match stream.read(data) {
            Ok(0) => return Err(Lost::Closed),
            Ok(read) => return Ok(read),
            Err(error) => match error.kind() {
                io::ErrorKind::Interrupted => {}
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => return Err(Lost::Silent),
                _ => return Err(error.into()),
            },
        }
    }
}
