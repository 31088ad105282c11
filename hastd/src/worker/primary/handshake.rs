//! The handshake, as the primary: the thread `linktd`.
//! Facts: spec/hast-wire.md section 4.

use super::Shell;
use crate::log;
use crate::worker::buffers::to_usize;
use crate::worker::input::{Coming, Input, LinkError};
use crate::worker::millis;
use ggate::daemon::pause;
use hast_core::bitmap::Bitmap;
use hast_core::message::{
    Extensions, Map, MessageError, Node, Step1Reply, Step1Request, Step2Reply, Step2Request,
};
use hast_core::nv::Text;
use hast_core::primary::{Hello, Millis, Refusal, Session};
use hast_core::role::SyncSource;
use hast_core::units::{Token, Version};
use socket2::Socket;
use std::io::{self, Write as _};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often a node that is primary itself is asked again while this one
/// starts: it may be about to become secondary.
const WAIT: Duration = Duration::from_secs(1);

/// Room for the longest message of a handshake, which has the resource's name.
const LONGEST: usize = 1024;

/// Why there is no link.
enum Failure {
    /// The machine has given this attempt up and said why.
    GivenUp,
    /// What happened, and in which step.
    Step(&'static str, LinkError),
    /// There is no connection.
    Connect(String),
    Refused(Refusal, Option<Node>, String),
}

/// Names the step in which something failed.
trait In<T> {
    fn during(self, step: &'static str) -> Result<T, Failure>;
}

impl<T, E: Into<LinkError>> In<T> for Result<T, E> {
    fn during(self, step: &'static str) -> Result<T, Failure> {
        self.map_err(|error| Failure::Step(step, error.into()))
    }
}

/// What step 1 agreed on.
struct Agreed {
    version: Version,
    /// How long the answer took.
    round_trip: Duration,
    token: Token,
    extensions: Extensions,
}

impl Shell {
    /// The thread `linktd`; never returns.
    pub(super) fn make_links(self: &Arc<Self>) {
        loop {
            let session = self.links.next();
            if let Err(failure) = self.make_link(session) {
                self.give_up(session, failure);
                self.links.had_contact();
            }
        }
    }

    fn give_up(&self, session: Session, failure: Failure) {
        let remote = self.links.remote();
        self.end_link(session);
        match failure {
            Failure::GivenUp => {}
            Failure::Connect(why) => {
                log::debug!(1, "Cannot connect to {remote}: {why}.");
            }
            Failure::Step(step, error) => {
                log::warning!("Handshake with {remote}: {step}: {error}.");
            }
            Failure::Refused(refusal, node, reason) => {
                log::error!("{remote} refuses: {reason}");
                return self.event(|machine, out| machine.refused(session, refusal, node, out));
            }
        }
        self.event(|machine, out| machine.peer_down(session, out));
    }

    fn make_link(self: &Arc<Self>, session: Session) -> Result<(), Failure> {
        let timeout = self.settings.lock().timeout;
        let (requests, agreed) = self.first_step(session, timeout)?;
        let replies = self.connect(session, timeout)?;
        self.wire.set_version(agreed.version);
        let extensions = agreed.extensions;
        self.event(|machine, out| machine.accepted(session, extensions, out));
        let hello = self.links.wait_for_hello(session, timeout);
        let hello = hello.ok_or(Failure::GivenUp)?;
        let asked = Instant::now();
        self.say_hello(&replies, &agreed, hello)?;
        let (node, source, map) = self.answer_to_hello(&requests, timeout)?;
        // The peer may have had something else to do, but hardly both times.
        let round_trip = Millis(millis(agreed.round_trip.min(asked.elapsed())));
        for connection in [&requests, &replies] {
            connection
                .set_read_timeout(None)
                .during("setting up the connections")?;
        }
        if !self.links.is_current(session) {
            return Err(Failure::GivenUp);
        }
        self.output.open(requests);
        self.receive(session, replies)
            .during("starting the receiver")?;
        self.event(|machine, out| {
            machine.peer_up(session, node, source, map.as_ref(), round_trip, out);
        });
        Ok(())
    }

    /// Connects and asks for the resource; a node that is primary itself is
    /// asked again for a while if this one has just started.
    fn first_step(
        &self,
        session: Session,
        timeout: Duration,
    ) -> Result<(Arc<Socket>, Agreed), Failure> {
        let deadline = Instant::now() + timeout;
        loop {
            let requests = self.connect(session, timeout)?;
            match self.ask(&requests, timeout) {
                Err(Failure::Refused(Refusal::PeerIsPrimary, ..))
                    if !self.links.contacted()
                        && self.links.is_current(session)
                        && Instant::now() + WAIT < deadline =>
                {
                    log::info!(
                        "{} is primary itself; waiting for it to step down.",
                        self.links.remote()
                    );
                    pause(WAIT);
                }
                agreed => return Ok((requests, agreed?)),
            }
        }
    }

    fn connect(&self, session: Session, timeout: Duration) -> Result<Arc<Socket>, Failure> {
        if !self.links.has_remote() {
            return Err(Failure::Connect(
                "the configuration says `remote none`".into(),
            ));
        }
        let hopeless = || !self.links.is_current(session);
        let connection = self.parent.connect(timeout, hopeless);
        let connection = Arc::new(connection.map_err(Failure::Connect)?);
        let prepared = connection
            .set_nonblocking(false)
            .and_then(|()| connection.set_read_timeout(Some(timeout)));
        prepared.during("setting up a connection")?;
        if self.links.keep(session, &connection) {
            Ok(connection)
        } else {
            Err(Failure::GivenUp)
        }
    }

    fn ask(&self, requests: &Arc<Socket>, timeout: Duration) -> Result<Agreed, Failure> {
        const STEP: &str = "step 1 (asking for the resource)";
        let request = Step1Request {
            resource: Text(self.name.as_bytes()),
            version: Version::MAX.to_byte(),
            extensions: hast_core::secondary::EXTENSIONS,
        };
        let mut room = [0; LONGEST];
        let length = request.encode(&mut room).map_err(|_| too_long(STEP))?;
        let asked = Instant::now();
        send(requests, &room[..length]).during(STEP)?;
        let mut input = Input::new(Arc::clone(requests));
        let answer = wait_for(&mut input, timeout, |entries| {
            Ok(match Step1Reply::decode(entries)? {
                Step1Reply::Accepted {
                    version,
                    token,
                    extensions,
                } => Ok(Agreed {
                    version,
                    round_trip: asked.elapsed(),
                    token,
                    // A peer can only take from what was offered.
                    extensions: extensions.and(hast_core::secondary::EXTENSIONS),
                }),
                Step1Reply::Refused { reason, wait } => {
                    let refusal = if wait {
                        Refusal::PeerIsPrimary
                    } else {
                        Refusal::from_errmsg(reason.0)
                    };
                    Err(Failure::Refused(refusal, None, reason.to_string()))
                }
            })
        });
        answer.during(STEP)?
    }

    fn say_hello(&self, replies: &Socket, agreed: &Agreed, hello: Hello) -> Result<(), Failure> {
        const STEP: &str = "step 2 (comparing the nodes)";
        let request = Step2Request {
            resource: Text(self.name.as_bytes()),
            token: agreed.token,
            virgin: hello.virgin,
            resuid: hello.resuid,
            counters: hello.counters,
            generation: hello.generation,
            consistency: hello.consistency,
            dirty: Some(hello.dirty),
        };
        let mut room = [0; LONGEST];
        let length = request.encode(agreed.version, &mut room);
        let length = length.map_err(|_| too_long(STEP))?;
        send(replies, &room[..length]).during(STEP)
    }

    fn answer_to_hello(
        &self,
        requests: &Arc<Socket>,
        timeout: Duration,
    ) -> Result<(Node, SyncSource, Option<Bitmap>), Failure> {
        const STEP: &str = "step 2 (waiting for the other node's map)";
        let mut input = Input::new(Arc::clone(requests));
        let answer = wait_for(&mut input, timeout, |entries| {
            Ok(match Step2Reply::decode(entries)? {
                Step2Reply::Accepted { node, source, map } => Ok((node, source, map)),
                Step2Reply::Refused { node, reason } => {
                    let refusal = Refusal::from_errmsg(reason.0);
                    Err(Failure::Refused(refusal, node, reason.to_string()))
                }
            })
        });
        let (node, source, map) = answer.during(STEP)??;
        let map = map.map(|map| self.receive_map(&mut input, map));
        Ok((node, source, map.transpose().during(STEP)?))
    }

    fn receive_map(&self, input: &mut Input, map: Map) -> Result<Bitmap, LinkError> {
        let length = to_usize(map.size.into());
        let data = self.map_pool.get(length);
        let coming = Coming::new(map.payload, data, 0, length);
        let mut coming = coming.ok_or(MessageError::Value("size"))?;
        while !input.payload(&mut coming, true)? {}
        let bytes = coming.into_data().unwrap_or_else(|| self.map_pool.get(0));
        Ok(Bitmap::from_map(self.local.extents.count(), &bytes))
    }
}

fn too_long(step: &'static str) -> Failure {
    let error = io::Error::new(
        io::ErrorKind::InvalidInput,
        "the resource's name is too long",
    );
    Failure::Step(step, error.into())
}

fn send(mut connection: &Socket, bytes: &[u8]) -> io::Result<()> {
    connection.write_all(bytes)
}

/// Waits for one message.
fn wait_for<R>(
    input: &mut Input,
    timeout: Duration,
    mut decode: impl FnMut(&[u8]) -> Result<R, MessageError>,
) -> Result<R, LinkError> {
    let deadline = Instant::now() + timeout;
    loop {
        if let Some(decoded) = input.message(&mut decode)? {
            return Ok(decoded?);
        }
        if Instant::now() >= deadline {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        input.fill()?;
    }
}
