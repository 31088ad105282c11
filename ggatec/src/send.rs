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
        match request.command {
            Command::Read | Command::Write | Command::Flush => {}
            Command::Delete | Command::Speedup | Command::Other(_) => {
                return Err(Errno::EOPNOTSUPP);
            }
        }
        let header = on_wire(request).ok_or(Errno::EINVAL)?.encode();
        let payload = (request.command == Command::Write).then(|| payload.detach());
        let mut out = self.out.lock();
        self.enter(request)?;
        out.push(self, header, request.seq, payload);
        Ok(())
    }

    /// Puts a request into the table. Whether a FLUSH may be sent is decided
    /// under the same lock: what is found out about the server later finds the
    /// FLUSH in the table.
    fn enter(&self, request: &Request) -> Result<(), Errno> {
        let mut state = self.state.lock();
        let mut covers = Covers::default();
        if request.command == Command::Flush {
            if self.flush_unsupported() {
                return Err(Errno::EOPNOTSUPP);
            }
            if state.durability.report_loss() {
                return Err(Errno::EIO);
            }
            covers = state.durability.flush_sent();
        }
        state.unanswered.insert(*request, covers);
        Ok(())
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
        // Without a session this gives the payloads of a batch that was begun
        // meanwhile back to the table, to be sent in their turn.
        self.session = None;
        self.flush(client);
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

    /// The session is over.
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

#[cfg(test)]
mod tests {
    use super::*;
    use ggate::gate::handle::Handle;
    use ggate::gate::{Cancel, Create, GateId, Ggctl, Modify, Started, Unit};
    use ggate::range::ByteRange;
    use std::io::Read as _;
    use std::net::TcpListener;

    /// A gate of which nothing is asked.
    struct NoGate;

    impl Ggctl for NoGate {
        fn create(&self, _: &Create) -> nix::Result<Unit> {
            unreachable!()
        }
        fn modify(&self, _: Unit, _: &Modify) -> nix::Result<()> {
            unreachable!()
        }
        fn destroy(&self, _: &GateId, _: bool) -> nix::Result<()> {
            unreachable!()
        }
        fn cancel(&self, _: &GateId, _: Cancel) -> nix::Result<Unit> {
            unreachable!()
        }
        fn start(&self, _: Unit, _: &mut [u8]) -> nix::Result<Started> {
            unreachable!()
        }
        fn done(&self, _: Unit, _: &Request, _: Outcome<'_>) -> nix::Result<()> {
            unreachable!()
        }
    }

    fn client() -> Client {
        Client::new(Handle {
            ctl: Box::new(NoGate),
            unit: Unit(0),
        })
    }

    fn write(seq: u64) -> Request {
        Request {
            seq: Seq(seq),
            command: Command::Write,
            range: ByteRange::new(0, 512),
        }
    }

    /// Requests go on being taken while there is no session.
    #[test]
    fn a_batch_begun_between_two_sessions_is_sent_once_in_its_turn() {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let mut server = listener.accept().unwrap().0;
        let client = client();
        for seq in [1, 2] {
            let mut payload = client.pool.get(512);
            payload.fill(u8::try_from(seq).unwrap());
            let header = on_wire(&write(seq)).unwrap().encode();
            let mut out = client.out.lock();
            client.enter(&write(seq)).unwrap();
            out.push(&client, header, Seq(seq), Some(payload));
        }
        client.out.lock().begin(&client, 2, stream);
        client.out.lock().flush(&client);
        drop(client);
        let mut sent = Vec::new();
        server.read_to_end(&mut sent).unwrap();
        let frame = wire::Request::SIZE + 512;
        assert_eq!(sent.len(), 2 * frame);
        for (seq, frame) in (1..).zip(sent.chunks(frame)) {
            let header = wire::Request::decode(frame.first_chunk().unwrap());
            assert_eq!(header.seq, Seq(seq));
            assert_eq!(u64::from(frame[frame.len() - 1]), seq);
        }
    }
}
