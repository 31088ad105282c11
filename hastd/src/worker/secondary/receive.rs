//! The primary's requests: the thread `recvtd`, for one link after the other.

use super::{Frame, Shell};
use crate::ipc::Peer;
use crate::log;
use crate::worker::buffers::to_usize;
use crate::worker::input::{Coming, Input, LinkError};
use crate::worker::output::batch_on_this_thread;
use hast_core::bitmap::MAX_MAP;
use hast_core::decision::{self, Rule, errmsg};
use hast_core::message::{
    Extensions, LONGEST_DATA, Map, MessageError, Opening, Refusal, Request, RequestError,
    Step2Reply,
};
use hast_core::nv::Text;
use hast_core::payload::{PayloadError, Workspace};
use hast_core::secondary::{Answer, Hello, Session, Taken};
use hast_core::slab::RequestId;
use hast_core::units::Version;
use parking_lot::{Condvar, Mutex, MutexGuard};
use socket2::Socket;
use std::io::{self, Write as _};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

/// How long the answer to the handshake, with a map of up to some megabytes,
/// may take to leave.
const ANSWER: Duration = Duration::from_secs(20);

/// Room for the answer, without the map.
const LONGEST: usize = 1024;

/// The link of the moment.
#[derive(Default)]
pub(super) struct Peers {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    link: Option<Link>,
    answer: Option<(Session, Rule, Answer)>,
    address: String,
}

#[derive(Clone)]
pub(super) struct Link {
    session: Session,
    requests: Arc<Socket>,
    pub(super) replies: Arc<Socket>,
    version: Version,
    hello: Hello,
}

impl Link {
    fn shut_down(&self) {
        for connection in [&self.requests, &self.replies] {
            // It may be broken already.
            let _ = connection.shutdown(Shutdown::Both);
        }
    }
}

impl Peers {
    /// The primary's address, for messages.
    pub(super) fn address(&self) -> String {
        self.state.lock().address.clone()
    }

    pub(super) fn answer(&self, session: Session, rule: Rule, answer: Answer) {
        self.state.lock().answer = Some((session, rule, answer));
        self.changed.notify_all();
    }

    /// Both connections fail from now on, whoever uses them. Those of which
    /// replies are sent.
    pub(super) fn shut_down(&self) -> Option<Arc<Socket>> {
        let state = self.state.lock();
        let link = state.link.as_ref()?;
        link.shut_down();
        Some(Arc::clone(&link.replies))
    }

    /// The session has ended: its link, if it was the present one.
    pub(super) fn end(&self, session: Session) -> Option<Link> {
        let mut state = self.state.lock();
        let link = state.link.take_if(|link| link.session == session)?;
        link.shut_down();
        Some(link)
    }

    /// Waits for a link whose handshake is to be answered.
    fn next(&self) -> (Link, Rule, Answer) {
        let mut state = self.state.lock();
        loop {
            if let (Some(link), Some((session, rule, answer))) = (&state.link, state.answer)
                && link.session == session
            {
                let link = link.clone();
                state.answer = None;
                return (link, rule, answer);
            }
            self.changed.wait(&mut state);
        }
    }
}

impl Shell {
    /// The daemon has let a primary in.
    pub(super) fn greet(&self, peer: &Peer, descriptors: Vec<OwnedFd>) {
        if let Err(error) = self.try_to_greet(peer, descriptors) {
            log::warning!("Handshake with {}, step 2: {error}.", peer.address);
        }
    }

    fn try_to_greet(&self, peer: &Peer, descriptors: Vec<OwnedFd>) -> Result<(), LinkError> {
        let none = || io::Error::new(io::ErrorKind::NotConnected, "no connections were passed");
        let [requests, replies] = <[OwnedFd; 2]>::try_from(descriptors).map_err(|_| none())?;
        let [requests, replies] = [requests, replies].map(|fd| Arc::new(Socket::from(fd)));
        for connection in [&requests, &replies] {
            connection.set_nonblocking(false)?;
        }
        let Opening::Step2(step2) = Opening::decode(&peer.hello)? else {
            return Err(MessageError::Value("token").into());
        };
        let hello = Hello {
            primary: decision::Primary {
                virgin: step2.virgin,
                resuid: step2.resuid,
                counters: step2.counters,
                generation: step2.generation,
                consistency: step2.consistency,
            },
            extensions: Extensions::from_bits(peer.extensions),
            dirty: step2.dirty,
        };
        let version = Version::negotiate(peer.version);
        self.begin(peer.address.clone(), requests, replies, version, hello);
        Ok(())
    }

    /// Whatever link there was ends, and nothing of it is carried out after
    /// the machine knows of the new one.
    fn begin(
        &self,
        address: String,
        requests: Arc<Socket>,
        replies: Arc<Socket>,
        version: Version,
        hello: Hello,
    ) {
        if let Some(replies) = self.peers.shut_down() {
            self.output.close(&[replies]);
        }
        // What comes of it is logged with it.
        self.peers.state.lock().address = address;
        let session = self.event(|machine, out| machine.hello(hello, out));
        let mut state = self.peers.state.lock();
        state.link = Some(Link {
            session,
            requests,
            replies,
            version,
            hello,
        });
        drop(state);
        self.peers.changed.notify_all();
    }

    /// The thread `recvtd`; never returns.
    pub(super) fn receive(&self) {
        batch_on_this_thread();
        loop {
            let (link, rule, answer) = self.peers.next();
            let session = link.session;
            if let Err(error) = self.serve(&link, rule, answer) {
                let address = self.peers.address();
                match error {
                    LinkError::Closed => log::info!("Primary {address}: {error}."),
                    error => log::warning!("Primary {address}: {error}."),
                }
            }
            self.end_link(session);
            self.event(|machine, out| machine.peer_down(session, out));
        }
    }

    fn serve(&self, link: &Link, rule: Rule, answer: Answer) -> Result<(), LinkError> {
        self.wire.set_version(link.version);
        // Before the primary knows that it may ask for something.
        self.output.open(Arc::clone(&link.replies));
        self.send_answer(link, rule, answer)?;
        if matches!(answer, Answer::Refused(_)) {
            return Ok(());
        }
        let mut input = Input::new(Arc::clone(&link.requests));
        let mut coming: Option<(Option<RequestId>, Coming)> = None;
        loop {
            if let Some((id, mut payload)) = coming.take() {
                if !input.payload(&mut payload, false)? {
                    self.output.send(self);
                    while !input.payload(&mut payload, true)? {}
                }
                if let (Some(id), Some(data)) = (id, payload.into_data()) {
                    self.buffers.put_back(id, data);
                    let session = link.session;
                    self.quiet_event(|machine, out| machine.received(session, id, out));
                }
            } else if let Some(request) = input.message(Request::decode)? {
                coming = self.take(link.session, request)?;
            } else {
                self.output.send(self);
                input.fill()?;
            }
        }
    }

    fn take(
        &self,
        session: Session,
        request: Result<Request, RequestError>,
    ) -> Result<Option<(Option<RequestId>, Coming)>, LinkError> {
        self.wait_for_room();
        self.output.wait_for_room(self);
        let request = match request {
            Ok(request) => request,
            Err(RequestError::Fatal(error)) => return Err(error.into()),
            Err(RequestError::Refused(refusal)) => {
                self.tell_of(&refusal);
                self.output.queue(Frame::Reply(refusal.reply()));
                return Ok((refusal.drain > 0).then(|| (None, Coming::skip(refusal.drain))));
            }
        };
        // What it needs until it is answered, before it is taken.
        let range = match request {
            Request::Read { range, .. } | Request::Write { range, .. } => Some(range),
            _ => None,
        };
        let longest = to_usize(LONGEST_DATA.into());
        let length = range.map_or(0, |range| to_usize(range.length()).min(longest));
        let data = self.pool.try_get(length).unwrap_or_else(|| {
            self.output.send(self);
            self.pool.get(length)
        });
        let taken = self.event_with(|state| {
            let taken = state.machine.request(session, &request, &mut state.actions);
            match (taken, range) {
                (Taken::Buffer(id), Some(range)) => self.buffers.put(id, range.offset(), data),
                (Taken::Payload(id), Some(range)) => {
                    self.buffers.put(id, range.offset(), data);
                }
                _ => {}
            }
            taken
        });
        Ok(match (taken, request) {
            (Taken::Payload(id), Request::Write { payload, .. }) => {
                let data = self.buffers.take(id);
                let coming = data.and_then(|data| Coming::new(payload, data, 0, length));
                Some((Some(id), coming.ok_or(PayloadError::Length)?))
            }
            (Taken::Refused(refusal), _) => {
                self.tell_of(&refusal);
                (refusal.drain > 0).then(|| (None, Coming::skip(refusal.drain)))
            }
            (Taken::Stale, _) => return Err(LinkError::Closed),
            _ => None,
        })
    }

    /// Until the machine can take one more request; meanwhile TCP tells the
    /// primary.
    fn wait_for_room(&self) {
        let mut state = self.state.lock();
        while !state.machine.has_room() {
            MutexGuard::unlocked(&mut state, || self.output.send(self));
            if !state.machine.has_room() {
                self.room.wait(&mut state);
            }
        }
    }

    fn tell_of(&self, refusal: &Refusal) {
        if let Some(others) = self.refusals.due() {
            let address = self.peers.address();
            let reason = refusal.reason;
            log::warning!("Primary {address}: refusing a request: {reason}{others}.");
        }
    }

    /// Answers step 2 on the connection of the requests.
    fn send_answer(&self, link: &Link, rule: Rule, answer: Answer) -> Result<(), LinkError> {
        let address = self.peers.address();
        let name = rule.name();
        let mut room = [0; LONGEST];
        let mut map = Vec::new();
        let mut workspace = Workspace::new(to_usize(MAX_MAP.into()));
        let (length, payload) = match answer {
            Answer::Refused(node) => {
                let own = self.state.lock().machine.metadata().clone();
                let reason = errmsg(rule, &link.hello.primary, &decision::Secondary::of(&own));
                log::error!("Refusing primary {address} (rule {name}): {reason}");
                let reply = Step2Reply::Refused {
                    node: Some(node),
                    reason: Text(reason.as_bytes()),
                };
                (reply.encode(link.version, &mut room), &[][..])
            }
            Answer::Accepted {
                node,
                source,
                map: which,
            } => {
                log::info!("Accepting primary {address} (rule {name}).");
                self.state.lock().machine.write_map(which, &mut map);
                let (payload, sent) = self.wire.prepare(&map, &mut workspace);
                let size = u32::try_from(map.len()).unwrap_or(u32::MAX);
                let map = (size > 0).then_some(Map { size, payload });
                let sent = if map.is_some() { sent } else { &[] };
                let reply = Step2Reply::Accepted { node, source, map };
                (reply.encode(link.version, &mut room), sent)
            }
        };
        let length = length.map_err(|_| MessageError::Value("resource"))?;
        let mut requests = &*link.requests;
        requests.set_write_timeout(Some(ANSWER))?;
        requests.write_all(&room[..length])?;
        requests.write_all(payload)?;
        Ok(())
    }
}
