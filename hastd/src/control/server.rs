//! hastd's side of the control socket: who has connected, what they want, and
//! the answers. Facts: spec/hast-wire.md section 10.
//!
//! Nobody waits for a client: a silent one, or one that does not read, holds
//! up nobody, costs little, and goes after a while, or when somebody else
//! needs its place.

use super::reply::{Answer, Reply};
use crate::daemon::limit::{Limit, STRANGERS};
use crate::daemon::poll::{Interests, Source};
use crate::daemon::resource::Refusal;
use crate::inbox::{Inbox, InboxError, is_passing};
use crate::log::Level;
use crate::socket::PrivateSocket;
use hast_core::frame::CONTROL_REQUEST_LIMIT;
use hast_core::message::{Command, ControlRequest, MessageError, Names, Wishes};
use nix::poll::PollFlags;
use std::collections::VecDeque;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

/// Clients at once: scripts of an administrator and monitoring; beyond that
/// the longest silent one has to go.
const MOST_CLIENTS: usize = 256;

/// Time that a client has to say what it wants, and then to take the answer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which part of which client's answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Ticket {
    client: u64,
    place: usize,
}

/// What a client wants.
#[derive(Debug)]
pub(crate) struct Request {
    pub(crate) client: u64,
    pub(crate) command: Command,
    /// The resources; all without.
    pub(crate) names: Option<Vec<Vec<u8>>>,
    pub(crate) wishes: Wishes,
}

/// The control socket and its clients, the oldest first.
pub(crate) struct Server {
    /// None when the daemon ends.
    socket: Option<PrivateSocket>,
    clients: VecDeque<Client>,
    next: u64,
    /// Accepting failed: not before this.
    paused: Option<Instant>,
    complaints: Limit,
}

struct Client {
    id: u64,
    stream: UnixStream,
    deadline: Instant,
    state: State,
}

enum State {
    /// Its request is not complete.
    Asking(Inbox),
    /// The answer is not complete.
    Waiting(Reply),
    /// The answer is being sent.
    Taking { bytes: Vec<u8>, sent: usize },
}

/// Why a client is left.
#[derive(Debug, thiserror::Error)]
enum Trouble {
    #[error("{0}")]
    Inbox(#[from] InboxError),
    #[error("{0}")]
    Message(MessageError),
}

impl Server {
    pub(crate) fn new(socket: PrivateSocket) -> Self {
        Self {
            socket: Some(socket),
            clients: VecDeque::new(),
            next: 0,
            paused: None,
            complaints: Limit::new(STRANGERS),
        }
    }

    /// Listens there instead; clients that are connected stay.
    pub(crate) fn replace(&mut self, socket: PrivateSocket) {
        self.socket = Some(socket);
    }

    /// Changes who may connect.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        self.socket
            .as_ref()
            .map_or(Ok(()), |socket| socket.set_mode(mode))
    }

    pub(crate) fn count(&self) -> usize {
        self.clients.len()
    }

    /// Lets nobody in any more.
    pub(crate) fn close(&mut self) {
        self.socket = None;
    }

    /// What to wait for.
    pub(crate) fn interests<'fd>(&'fd self, interests: &mut Interests<'fd>) {
        if let (Some(socket), None) = (&self.socket, self.paused) {
            interests.add(Source::Control, socket.as_fd(), PollFlags::POLLIN);
        }
        interests.until(self.paused);
        for client in &self.clients {
            let flags = match client.state {
                State::Asking(_) => PollFlags::POLLIN,
                // Only whether it is gone.
                State::Waiting(_) => PollFlags::empty(),
                State::Taking { .. } => PollFlags::POLLOUT,
            };
            interests.add(Source::Client(client.id), client.stream.as_fd(), flags);
            if !matches!(client.state, State::Waiting(_)) {
                interests.until(Some(client.deadline));
            }
        }
    }

    /// Lets everybody in who is there.
    pub(crate) fn accept(&mut self, now: Instant) {
        while let Some(socket) = &self.socket {
            match socket.accept() {
                Ok(stream) => self.insert(stream, now),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.complaints.log(
                        Level::Error,
                        format_args!("Control socket: accept(): {}.", ggate::errno::words(&error)),
                    );
                    self.paused = Some(now + crate::daemon::PAUSE);
                    return;
                }
            }
        }
    }

    fn insert(&mut self, stream: UnixStream, now: Instant) {
        if self.clients.len() >= MOST_CLIENTS {
            // Who waits for an answer has a reason to.
            let silent = |client: &Client| !matches!(client.state, State::Waiting(_));
            let Some(oldest) = self.clients.iter().position(silent) else {
                self.complaints.log(
                    Level::Warning,
                    format_args!("Control socket: too many clients wait for answers."),
                );
                return;
            };
            self.clients.remove(oldest);
        }
        self.clients.push_back(Client {
            id: self.next,
            stream,
            deadline: now + PATIENCE,
            state: State::Asking(Inbox::new(CONTROL_REQUEST_LIMIT)),
        });
        self.next += 1;
    }

    /// Goes on with a client; gives what it wants, once it has said so.
    pub(crate) fn ready(&mut self, id: u64, flags: PollFlags, now: Instant) -> Option<Request> {
        let index = self.index(id)?;
        let client = &mut self.clients[index];
        let result = match client.state {
            State::Asking(_) => client.listen(),
            State::Taking { .. } => return self.push(index),
            State::Waiting(_) if flags.intersects(PollFlags::POLLHUP | PollFlags::POLLERR) => {
                self.clients.remove(index);
                return None;
            }
            State::Waiting(_) => return None,
        };
        match result {
            Ok(Heard::Nothing) => None,
            Ok(Heard::Request(request)) => Some(request),
            Ok(Heard::Refused(reply)) => {
                self.answer(id, reply, now);
                None
            }
            Ok(Heard::Gone) => {
                self.clients.remove(index);
                None
            }
            Err(trouble) => {
                self.clients.remove(index);
                self.complaints.log(
                    Level::Error,
                    format_args!("Control socket: receiving a request: {trouble}."),
                );
                None
            }
        }
    }

    /// Says what the answer to a request will be about, and gives the tickets
    /// by which it is to be filled.
    pub(crate) fn await_answers(
        &mut self,
        client: u64,
        names: Vec<Vec<u8>>,
        extended: bool,
        now: Instant,
    ) -> impl Iterator<Item = Ticket> + use<> {
        let places = 0..names.len();
        self.answer(client, Reply::new(names, extended), now);
        places.map(move |place| Ticket { client, place })
    }

    /// Answers, at once if there is nothing more to be filled in.
    pub(crate) fn answer(&mut self, client: u64, reply: Reply, now: Instant) {
        if let Some(index) = self.index(client) {
            self.clients[index].state = State::Waiting(reply);
            self.send_if_complete(index, now);
        }
    }

    /// A part of an answer. The client may be gone.
    pub(crate) fn fill(&mut self, ticket: Ticket, answer: Answer, now: Instant) {
        let Some(index) = self.index(ticket.client) else {
            return;
        };
        if let State::Waiting(reply) = &mut self.clients[index].state {
            reply.fill(ticket.place, answer);
            self.send_if_complete(index, now);
        }
    }

    /// Whether somebody still has to take his answer.
    pub(crate) fn is_answering(&self) -> bool {
        let taking = |client: &Client| matches!(client.state, State::Taking { .. });
        self.clients.iter().any(taking)
    }

    /// Those whose time is over go.
    pub(crate) fn expire(&mut self, now: Instant) {
        self.paused = self.paused.filter(|until| now < *until);
        self.clients
            .retain(|client| matches!(client.state, State::Waiting(_)) || now < client.deadline);
    }

    fn index(&self, id: u64) -> Option<usize> {
        // Ids grow from the front to the back.
        self.clients
            .binary_search_by_key(&id, |client| client.id)
            .ok()
    }

    fn send_if_complete(&mut self, index: usize, now: Instant) {
        let client = &mut self.clients[index];
        if let State::Waiting(reply) = &client.state
            && reply.is_complete()
        {
            client.deadline = now + PATIENCE;
            client.state = State::Taking {
                bytes: reply.encode(),
                sent: 0,
            };
            self.push(index);
        }
    }

    /// Sends what the client takes; when that was all, or it takes nothing
    /// any more, it goes.
    fn push(&mut self, index: usize) -> Option<Request> {
        let client = &mut self.clients[index];
        if let State::Taking { bytes, sent } = &mut client.state {
            match client.stream.write(&bytes[*sent..]) {
                Ok(written) if *sent + written < bytes.len() && written > 0 => *sent += written,
                Err(error) if is_passing(&error) => {}
                Ok(_) | Err(_) => drop(self.clients.remove(index)),
            }
        }
        None
    }
}

/// What came of listening.
enum Heard {
    Nothing,
    Request(Request),
    Refused(Reply),
    Gone,
}

impl Client {
    fn listen(&mut self) -> Result<Heard, Trouble> {
        let State::Asking(inbox) = &mut self.state else {
            return Ok(Heard::Nothing);
        };
        match inbox.read(&self.stream) {
            Ok(None) => Ok(Heard::Nothing),
            Ok(Some(entries)) => understand(self.id, &entries),
            Err(InboxError::Closed) => Ok(Heard::Gone),
            Err(error) => Err(error.into()),
        }
    }
}

fn understand(client: u64, entries: &[u8]) -> Result<Heard, Trouble> {
    let request = ControlRequest::decode(entries).map_err(Trouble::Message)?;
    Ok(match request {
        Ok(request) => Heard::Request(Request {
            client,
            command: request.command,
            names: match request.names {
                Names::All => None,
                Names::These(names) => Some(names.iter().map(|name| name.0.to_vec()).collect()),
            },
            wishes: request.wishes,
        }),
        // Whoever sends that knows no more than base does.
        Err(code) => Heard::Refused(Reply::failed(Refusal::new(code, ""), false)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use hast_core::role::Role;
    use std::io::Read as _;
    use std::path::PathBuf;

    struct Bench {
        server: Server,
        path: PathBuf,
        now: Instant,
        _dir: tempfile::TempDir,
    }

    impl Bench {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("ctl");
            Self {
                server: Server::new(PrivateSocket::bind(&path, 0o600).unwrap()),
                path,
                now: Instant::now(),
                _dir: dir,
            }
        }

        /// A client, and the number it has.
        fn connect(&mut self) -> (UnixStream, u64) {
            let stream = UnixStream::connect(&self.path).unwrap();
            self.server.accept(self.now);
            (stream, self.server.next - 1)
        }

        /// One who asks for `status all`.
        fn ask(&mut self) -> (UnixStream, Request) {
            let (mut stream, id) = self.connect();
            stream
                .write_all(include_bytes!(
                    "../../../tests/vectors/hast/control/control/01.c2s.bin"
                ))
                .unwrap();
            let request = self.server.ready(id, PollFlags::POLLIN, self.now);
            (stream, request.unwrap())
        }
    }

    #[test]
    fn an_answer_is_sent_when_its_last_part_is_there() {
        let mut bench = Bench::new();
        let (mut stream, request) = bench.ask();
        assert!(request.names.is_none() && request.command == Command::Status);
        let names = vec![b"a".to_vec(), b"b".to_vec()];
        let tickets = bench
            .server
            .await_answers(request.client, names, false, bench.now);
        let tickets: Vec<Ticket> = tickets.collect();
        bench
            .server
            .fill(tickets[1], Answer::Role(Role::Primary), bench.now);
        // The first one counts, and nobody waits for the same part twice.
        bench.server.fill(tickets[1], Answer::Done, bench.now);
        assert_eq!(bench.server.count(), 1);
        bench
            .server
            .fill(tickets[0], Answer::Role(Role::Init), bench.now);
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let reply = hast_core::message::ControlReply::decode(&answer[5..]).unwrap();
        let roles: Vec<_> = reply
            .resources
            .iter()
            .map(|part| part.role.unwrap())
            .collect();
        assert_eq!(roles, ["init".into(), "primary".into()]);
        assert_eq!(bench.server.count(), 0);
    }

    #[test]
    fn the_silent_go_after_a_while_and_those_who_wait_stay() {
        let mut bench = Bench::new();
        let (_silent, _) = bench.connect();
        let (_waiting, request) = bench.ask();
        let names = vec![b"a".to_vec()];
        let tickets = bench
            .server
            .await_answers(request.client, names, false, bench.now);
        drop(tickets);
        bench.server.expire(bench.now + PATIENCE / 2);
        assert_eq!(bench.server.count(), 2);
        bench.server.expire(bench.now + PATIENCE);
        assert_eq!(bench.server.count(), 1);
        bench.server.expire(bench.now + 100 * PATIENCE);
        assert_eq!(bench.server.count(), 1);
    }

    #[test]
    fn when_all_places_are_taken_the_longest_silent_one_goes() {
        let mut bench = Bench::new();
        let (_waiting, request) = bench.ask();
        let names = vec![b"a".to_vec()];
        drop(
            bench
                .server
                .await_answers(request.client, names, false, bench.now),
        );
        let (mut first, _) = bench.connect();
        let mut others = Vec::new();
        while bench.server.count() < MOST_CLIENTS {
            others.push(bench.connect());
        }
        let (_last, _) = bench.connect();
        assert_eq!(bench.server.count(), MOST_CLIENTS);
        assert_eq!(first.read(&mut [0]).unwrap(), 0);
        assert!(bench.server.index(request.client).is_some());
    }

    /// Megabytes, to somebody who does not read, and then does.
    #[test]
    fn a_slow_reader_holds_up_nobody_and_gets_all() {
        let mut bench = Bench::new();
        let (mut stream, request) = bench.ask();
        let names = vec![vec![b'x'; 200]; 4000];
        let tickets = bench
            .server
            .await_answers(request.client, names, true, bench.now);
        for ticket in tickets {
            let report = Answer::Report("y".repeat(1000));
            bench.server.fill(ticket, report, bench.now);
        }
        assert!(bench.server.is_answering());
        let reader = std::thread::spawn(move || {
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).map(|_| answer.len())
        });
        testkit::process::wait_for("all to be taken", || {
            bench
                .server
                .ready(request.client, PollFlags::POLLOUT, bench.now);
            (!bench.server.is_answering()).then_some(())
        });
        assert!(reader.join().unwrap().unwrap() > 4_000_000);
    }

    #[test]
    fn an_answer_that_fits_into_no_message_is_an_error() {
        let mut bench = Bench::new();
        let (mut stream, request) = bench.ask();
        let names = vec![vec![b'x'; 200]; 4000];
        let tickets = bench
            .server
            .await_answers(request.client, names, true, bench.now);
        for ticket in tickets {
            let report = Answer::Report("y".repeat(10_000));
            bench.server.fill(ticket, report, bench.now);
        }
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).unwrap();
        let reply = hast_core::message::ControlReply::decode(&answer[5..]).unwrap();
        assert_eq!(
            reply.error,
            Some(hast_core::message::ControlCode::NO_MEMORY)
        );
    }
}
