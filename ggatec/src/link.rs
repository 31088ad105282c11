//! `linktd`: a new session whenever one is lost.
//!
//! Loss is noticed by whoever sends or receives; both then leave the session
//! alone, and this thread shuts it down, connects anew and sends the
//! unanswered requests again. No signal is involved, nobody leaves START, and
//! requests go on being taken meanwhile as long as there is room.

use ggate::gate::{Command, Outcome, Request};
use ggate::log;
use ggate::range::Geometry;
use ggate::wire::HandshakeError;
use nix::errno::Errno;
use parking_lot::{Condvar, Mutex};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::client::Client;
use crate::connect::{ConnectError, Server, Session};
use crate::durability::Verdict;
use crate::receive::Replies;

/// From one attempt to the next, and how long one waits for any sign of a
/// server: when the network is back, no more than this is lost.
const RETRY: Duration = Duration::from_secs(2);

/// A server of FreeBSD 12.1 dies of a FLUSH, and the new session dies of the
/// same FLUSH when it is sent again. So many deaths prove it.
const FLUSH_DEATHS: u32 = 2;

/// Whether there is a session, and how to end it from any thread.
#[derive(Debug)]
pub(crate) struct Link {
    state: Mutex<State>,
    changed: Condvar,
    flush_works: AtomicBool,
}

#[derive(Debug, Default)]
struct State {
    /// The number of the session that is or was.
    session: u64,
    up: bool,
    streams: Option<[TcpStream; 2]>,
    replies: Option<Replies>,
}

impl Link {
    pub(crate) const fn new() -> Self {
        Self {
            state: Mutex::new(State {
                session: 0,
                up: false,
                streams: None,
                replies: None,
            }),
            changed: Condvar::new(),
            flush_works: AtomicBool::new(false),
        }
    }

    /// The session is lost. Only the first to notice it is heard.
    pub(crate) fn fail(&self, session: u64, why: &str) {
        let mut state = self.state.lock();
        if state.session != session || !state.up {
            return;
        }
        state.up = false;
        // Whoever sleeps in the other connection wakes up by this.
        for stream in state.streams.take().into_iter().flatten() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        self.changed.notify_all();
        drop(state);
        log::warning!("Connection to the server lost: {why}.");
    }

    /// Waits for the receiving side of the next session.
    pub(crate) fn next_replies(&self) -> Replies {
        let mut state = self.state.lock();
        loop {
            if let Some(replies) = state.replies.take() {
                return replies;
            }
            self.changed.wait(&mut state);
        }
    }

    /// A FLUSH was answered, so the server does not die of them.
    pub(crate) fn flush_works(&self) {
        self.flush_works.store(true, Ordering::Relaxed);
    }

    /// A few words about the session.
    pub(crate) fn report(&self) -> String {
        let state = self.state.lock();
        let up = if state.up { "up" } else { "lost" };
        format!("session {} {up}", state.session)
    }

    fn wait_until_lost(&self) {
        let mut state = self.state.lock();
        while state.up {
            self.changed.wait(&mut state);
        }
    }
}

/// Makes `session` the client's, under its number: replies are received from
/// now on, and what is unanswered is sent again.
pub(crate) fn begin(client: &Client, number: u64, session: Session) -> io::Result<()> {
    let Session {
        requests, replies, ..
    } = session;
    let streams = [requests.try_clone()?, replies.try_clone()?];
    let mut state = client.link.state.lock();
    state.session = number;
    state.up = true;
    state.streams = Some(streams);
    state.replies = Some(Replies::new(number, replies));
    client.link.changed.notify_all();
    drop(state);
    client.begin(number, requests);
    Ok(())
}

/// What is known of the server across sessions.
pub(crate) struct Supervisor {
    client: Arc<Client>,
    server: Server,
    /// The medium when the gate was created or taken over.
    geometry: Geometry,
    flush_deaths: u32,
    last_complaint: Option<String>,
    told_of_growth: bool,
}

impl Supervisor {
    /// For a client whose first session is with this medium.
    pub(crate) fn new(client: Arc<Client>, server: Server, geometry: Geometry) -> Self {
        Self {
            client,
            server,
            geometry,
            flush_deaths: 0,
            last_complaint: None,
            told_of_growth: false,
        }
    }

    /// Keeps a session up for as long as the process lives.
    pub(crate) fn run(mut self) {
        loop {
            self.client.link.wait_until_lost();
            self.suspect_flush();
            loop {
                let next = Instant::now() + RETRY;
                match self.reconnect() {
                    Ok(()) => break,
                    Err(why) => self.complain(&why),
                }
                thread::sleep(next.saturating_duration_since(Instant::now()));
            }
        }
    }

    /// One attempt.
    fn reconnect(&mut self) -> Result<(), ConnectError> {
        let session = self.server.connect(RETRY)?;
        self.accept(session.geometry)?;
        let (number, verdict) = self.client.next_session(session.server);
        self.last_complaint = None;
        log::info!("Connected to the server again.");
        self.judge(verdict);
        begin(&self.client, number, session)
            .map_err(|e| ConnectError::Handshake(HandshakeError::Io(ggate::wire::Step::Initial, e)))
    }

    /// The gate exists with the size and sectors of the first session; a medium
    /// that cannot back it is not the one that was imported.
    fn accept(&mut self, now: Geometry) -> Result<(), ConnectError> {
        let then = self.geometry;
        if now.sector_size != then.sector_size || now.media_size < then.media_size {
            return Err(ConnectError::Changed { then, now });
        }
        if now.media_size > then.media_size && !std::mem::replace(&mut self.told_of_growth, true) {
            log::notice!(
                "The medium has grown from {} to {} bytes; the provider keeps its size.",
                then.media_size,
                now.media_size
            );
        }
        Ok(())
    }

    fn judge(&self, verdict: Verdict) {
        match verdict {
            Verdict::Safe => {}
            Verdict::Unknown => log::warning!(
                "Writes were acknowledged and not flushed before the connection was lost; \
                 if the server's system was restarted, they may be gone."
            ),
            Verdict::Lost => {
                log::error!(
                    "The server's system was restarted; writes that it had acknowledged and that were not \
                     flushed may be gone. The next flush fails to say so: check the file system."
                );
                let state = &mut *self.client.state.lock();
                // A FLUSH that came meanwhile may have told already.
                if state.unanswered.has_flush() && state.durability.report_loss() {
                    let flushes = state.unanswered.take_flushes();
                    self.client.made_room(state);
                    complete(&self.client, flushes, Errno::EIO);
                }
            }
        }
    }

    /// After so many sessions that ended with a FLUSH as their oldest request,
    /// FLUSHes are answered here.
    fn suspect_flush(&mut self) {
        let link = &self.client.link;
        if link.flush_works.load(Ordering::Relaxed) || self.client.flush_unsupported() {
            return;
        }
        let mut state = self.client.state.lock();
        let oldest = state.unanswered.oldest().map(|r| r.command);
        if oldest != Some(Command::Flush) || state.durability.server_tells() {
            self.flush_deaths = 0;
            return;
        }
        self.flush_deaths += 1;
        if self.flush_deaths < FLUSH_DEATHS {
            return;
        }
        self.client.flush_unsupported.store(true, Ordering::Relaxed);
        let flushes = state.unanswered.take_flushes();
        self.client.made_room(&mut state);
        drop(state);
        log::warning!(
            "The server ends its sessions when it is asked to flush (FreeBSD 12 does); \
             flushes are answered as not supported from now on."
        );
        complete(&self.client, flushes, Errno::EOPNOTSUPP);
    }

    /// Each different trouble is told once, not every two seconds.
    fn complain(&mut self, why: &ConnectError) {
        let why = why.to_string();
        if self.last_complaint.as_deref() != Some(&why) {
            log::error!("{why}; trying again every {} s.", RETRY.as_secs());
            self.last_complaint = Some(why);
        }
    }
}

/// Completes requests on a thread of their own: completing may wait for I/O
/// that only the next session can do.
fn complete(client: &Arc<Client>, requests: Vec<Request>, errno: Errno) {
    let client = Arc::clone(client);
    thread::spawn(move || {
        for request in requests {
            client.gate.done(&request, Outcome::Error(errno));
        }
    });
}
