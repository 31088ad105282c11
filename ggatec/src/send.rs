//! `sendtd`: from the gate to the server.

use ggate::buffer::Buf;
use ggate::gate::serve::{Handler, Payload};
use ggate::gate::{Command, Outcome, Request, Seq};
use ggate::wire;
use nix::errno::Errno;
use std::io::{self, IoSlice, Write};
use std::net::TcpStream;

use crate::client::Client;
use crate::durability::Covers;

/// Frames that go out in one system call at the most: two parts each, well
/// under the 1024 parts that systems take.
const MAX_FRAMES: usize = 64;

/// Payload bytes after which a batch goes out: beyond the size of a socket
/// buffer nothing is won by waiting for more.
const MAX_BATCH_BYTES: usize = 256 * 1024;

/// The sending side of a session, and what is to be sent together. Without a
/// session nothing is sent; requests wait in the table of the unanswered.
#[derive(Debug, Default)]
pub(crate) struct Out {
    session: Option<Session>,
    batch: Vec<Frame>,
    bytes: usize,
}

#[derive(Debug)]
struct Session {
    number: u64,
    stream: TcpStream,
}

#[derive(Debug)]
struct Frame {
    header: [u8; wire::Request::SIZE],
    seq: Seq,
    payload: Option<Buf>,
}

impl Handler for Client {
    fn reserve(&self) -> bool {
        self.wait_for_room()
    }

    fn handle(&self, request: &Request, payload: Payload<'_>) {
        if let Err(errno) = self.forward(request, payload) {
            // DONE may hold this thread; what was taken before must not wait.
            self.out.lock().flush(self);
            self.gate.done(request, Outcome::Error(errno));
        }
    }

    fn idle(&self) {
        self.out.lock().flush(self);
    }
}

impl Client {
    /// Puts a request into the table and into the batch, or says with which
    /// error it is to be completed here.
    fn forward(&self, request: &Request, payload: Payload<'_>) -> Result<(), Errno> {
        let mut covers = Covers::default();
        match request.command {
            Command::Read | Command::Write => {}
            Command::Flush => covers = self.flush_covers()?,
            Command::Delete | Command::Speedup | Command::Other(_) => {
                return Err(Errno::EOPNOTSUPP);
            }
        }
        let header = on_wire(request).ok_or(Errno::EINVAL)?.encode();
        let payload = (request.command == Command::Write).then(|| payload.detach());
        let mut out = self.out.lock();
        self.state.lock().unanswered.insert(*request, covers);
        out.push(self, header, request.seq, payload);
        Ok(())
    }

    /// What a FLUSH that is sent now covers, or why it fails here.
    fn flush_covers(&self) -> Result<Covers, Errno> {
        if self.flush_unsupported() {
            return Err(Errno::EOPNOTSUPP);
        }
        let durability = &mut self.state.lock().durability;
        if durability.report_loss() {
            return Err(Errno::EIO);
        }
        Ok(durability.flush_sent())
    }
}

/// The request as it is sent; `None` when the protocol cannot say it.
pub(crate) fn on_wire(request: &Request) -> Option<wire::Request> {
    let command = match request.command {
        Command::Read => wire::Command::Read,
        Command::Write => wire::Command::Write,
        Command::Flush => wire::Command::Flush,
        Command::Delete | Command::Speedup | Command::Other(_) => return None,
    };
    wire::Request::new(command, request.range, request.seq)
}

impl Out {
    /// A new session: everything that is unanswered is sent again, in the old
    /// order, before anything else.
    pub(crate) fn begin(&mut self, client: &Client, number: u64, stream: TcpStream) {
        self.session = Some(Session { number, stream });
        let again = client.state.lock().unanswered.in_order();
        for seq in again {
            let lent = client.state.lock().unanswered.lend(seq);
            if let Some((request, payload)) = lent {
                let header = on_wire(&request).expect("it was sent before");
                self.push(client, header.encode(), seq, payload);
            }
        }
        self.flush(client);
    }

    /// The session is over; payloads are already back in the table.
    pub(crate) fn end(&mut self) {
        self.session = None;
    }

    fn push(
        &mut self,
        client: &Client,
        header: [u8; wire::Request::SIZE],
        seq: Seq,
        payload: Option<Buf>,
    ) {
        self.bytes += payload.as_ref().map_or(0, |p| p.len());
        self.batch.push(Frame {
            header,
            seq,
            payload,
        });
        if self.batch.len() == MAX_FRAMES || self.bytes >= MAX_BATCH_BYTES {
            self.flush(client);
        }
    }

    /// Sends the batch and gives the payloads back to the table.
    pub(crate) fn flush(&mut self, client: &Client) {
        if self.batch.is_empty() {
            return;
        }
        if let Some(session) = &self.session
            && let Err(error) = write_all(&session.stream, &self.batch)
        {
            client
                .link
                .fail(session.number, &format!("sending failed: {error}"));
            self.session = None;
        }
        let mut state = client.state.lock();
        for frame in self.batch.drain(..) {
            if let Some(payload) = frame.payload {
                state.unanswered.give_back(frame.seq, payload);
            }
        }
        self.bytes = 0;
    }
}

/// Writes all frames with as few system calls as the socket allows.
fn write_all(mut stream: &TcpStream, frames: &[Frame]) -> io::Result<()> {
    let mut parts = [IoSlice::new(&[]); 2 * MAX_FRAMES];
    let mut used = 0;
    for frame in frames {
        parts[used] = IoSlice::new(&frame.header);
        used += 1;
        if let Some(payload) = &frame.payload {
            parts[used] = IoSlice::new(payload);
            used += 1;
        }
    }
    let mut parts = &mut parts[..used];
    while !parts.is_empty() {
        match stream.write_vectored(parts) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => IoSlice::advance_slices(&mut parts, written),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
