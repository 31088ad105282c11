//! The session with the peer that the machine wants, and the connections of
//! the one there is.

use hast_core::primary::{Hello, Session};
use parking_lot::{Condvar, Mutex};
use socket2::Socket;
use std::net::Shutdown;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The machine's wishes, and the connections of the moment.
pub(super) struct Links {
    remote: Mutex<Option<String>>,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// A session to begin.
    connect: Option<Session>,
    /// What to say in step 2.
    hello: Option<(Session, Hello)>,
    /// The session whose connections these are.
    session: Option<Session>,
    connections: Vec<Arc<Socket>>,
    /// The first attempt has ended, in whatever way.
    contacted: bool,
}

impl State {
    fn hang_up(&mut self) -> Vec<Arc<Socket>> {
        for connection in &self.connections {
            // It may be broken already.
            let _ = connection.shutdown(Shutdown::Both);
        }
        std::mem::take(&mut self.connections)
    }
}

impl Links {
    pub(super) fn new(remote: Option<String>) -> Self {
        Self {
            remote: Mutex::new(remote),
            state: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// The peer's address, for messages.
    pub(super) fn remote(&self) -> String {
        let remote = self.remote.lock();
        remote.as_deref().unwrap_or("none").into()
    }

    /// Whether there is to be a peer at all.
    pub(super) fn has_remote(&self) -> bool {
        self.remote.lock().is_some()
    }

    /// Whether the first attempt to reach the peer has ended.
    pub(super) fn contacted(&self) -> bool {
        self.state.lock().contacted
    }

    /// Whether there are connections that nobody has given up.
    pub(super) fn is_connected(&self) -> bool {
        !self.state.lock().connections.is_empty()
    }

    pub(super) fn set_remote(&self, remote: Option<String>) {
        *self.remote.lock() = remote;
    }

    pub(super) fn connect(&self, session: Session) {
        let mut state = self.state.lock();
        if state.session < Some(session) {
            state.connect = Some(session);
            self.changed.notify_all();
        }
    }

    pub(super) fn hello(&self, session: Session, hello: Hello) {
        self.state.lock().hello = Some((session, hello));
        self.changed.notify_all();
    }

    /// The session has ended: its connections, which are handed out, are shut
    /// down. There are none if it was not the present one.
    pub(super) fn end(&self, session: Session) -> Vec<Arc<Socket>> {
        let mut state = self.state.lock();
        if state.connect == Some(session) {
            state.connect = None;
            state.session = Some(session);
        }
        if state.session != Some(session) {
            return Vec::new();
        }
        self.changed.notify_all();
        state.hang_up()
    }

    /// Both connections fail from now on, whoever uses them.
    pub(super) fn shut_down(&self) {
        for connection in &self.state.lock().connections {
            let _ = connection.shutdown(Shutdown::Both);
        }
    }

    /// The peer was reached, or could not be.
    pub(super) fn had_contact(&self) {
        self.state.lock().contacted = true;
        self.changed.notify_all();
    }

    /// Waits for the first attempt to reach the peer, which may know that
    /// this node's data is old.
    pub(super) fn wait_for_contact(&self, patience: Duration) {
        let deadline = Instant::now() + patience;
        let mut state = self.state.lock();
        while !state.contacted {
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                break;
            }
        }
    }

    /// Waits for a session to begin.
    pub(super) fn next(&self) -> Session {
        let mut state = self.state.lock();
        loop {
            if let Some(session) = state.connect.take() {
                // Those of the last one, if its end is still to be told.
                state.hang_up();
                state.session = Some(session);
                state.hello = None;
                return session;
            }
            self.changed.wait(&mut state);
        }
    }

    pub(super) fn is_current(&self, session: Session) -> bool {
        let state = self.state.lock();
        state.session == Some(session) && state.connect.is_none()
    }

    /// Makes a connection one of the session's; false if that has ended.
    pub(super) fn keep(&self, session: Session, connection: &Arc<Socket>) -> bool {
        let mut state = self.state.lock();
        let current = state.session == Some(session);
        if current {
            state.connections.push(Arc::clone(connection));
        }
        current
    }

    pub(super) fn wait_for_hello(&self, session: Session, patience: Duration) -> Option<Hello> {
        let deadline = Instant::now() + patience;
        let mut state = self.state.lock();
        loop {
            match state.hello {
                Some((of, hello)) if of == session => return Some(hello),
                _ if state.session != Some(session) || state.connections.is_empty() => return None,
                _ => {}
            }
            if self.changed.wait_until(&mut state, deadline).timed_out() {
                return None;
            }
        }
    }
}
