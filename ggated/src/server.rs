//! What the whole server knows: exports, who is coming, who is there.

use crate::exports::{Export, Exports, ExportsError, look_up, short};
use crate::opener::{Opener, Opening};
use crate::session::{Client, Parts, Session, SessionError};
use ggate::crowd::{Crowd, Id};
use ggate::errno::words;
use ggate::log;
use ggate::media::Media;
use ggate::net::TcpOptions;
use ggate::textfile::{self, Accept, TextError};
use ggate::wire::{Direction, InstanceId, Token};
use nix::errno::Errno;
use parking_lot::{Mutex, RwLock};
use std::io;
use std::net::{IpAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Handshakes at the same time, and half-open sessions: far more than any
/// number of clients that come back after a restart need at once, since each
/// takes milliseconds.
const MAX_STRANGERS: usize = 256;

/// How many of them may come from one address.
const MAX_PER_ADDRESS: usize = 64;

/// Sessions: each may hold some threads and 16 MiB.
const MAX_SESSIONS: usize = 1024;

/// How long a handshake may take, and a session may lack its second
/// connection. The latter is base's number.
pub(crate) const PATIENCE: Duration = Duration::from_secs(10);

/// How long a new session waits for the running requests of the old one.
const SUCCESSION: Duration = Duration::from_secs(8);

/// How long a session may take to finish what runs when ggated stops.
const STOP: Duration = Duration::from_secs(5);

/// A session that lacks one connection.
pub(crate) struct HalfOpen {
    pub(crate) token: Token,
    pub(crate) client: Client,
    pub(crate) direction: Direction,
    pub(crate) socket: Arc<TcpStream>,
    pub(crate) media: Arc<dyn Media>,
}

/// Shared by all threads.
pub struct Server {
    /// Socket options.
    pub(crate) tcp: TcpOptions,
    /// Names the run of the operating system, for clients that come back.
    pub(crate) boot: InstanceId,
    /// Opens the media.
    pub(crate) opener: Box<dyn Opener>,
    exports: RwLock<Arc<Exports>>,
    exports_file: PathBuf,
    /// Held while the exports file is read: the last reload wins.
    reloading: Mutex<()>,
    pub(crate) strangers: Mutex<Crowd<Arc<TcpStream>>>,
    half_open: Mutex<Crowd<HalfOpen>>,
    sessions: Mutex<Vec<Arc<Session>>>,
}

/// Why there are no exports.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("Cannot open exports file ({}): {}.", .0.display(), .1)]
    Open(PathBuf, TextError),
    /// It is not read to its end.
    #[error("Exports file ({}) is longer than {MAX_EXPORTS_FILE} bytes.", .0.display())]
    TooLong(PathBuf),
    /// It has nothing to export, or a line that cannot be used.
    #[error("{0}")]
    Content(String),
}

impl From<ExportsError> for LoadError {
    fn from(error: ExportsError) -> Self {
        Self::Content(error.to_string())
    }
}

impl Server {
    /// A server of what `exports_file` says, which is read now.
    pub fn new(
        exports_file: &Path,
        tcp: TcpOptions,
        opener: Box<dyn Opener>,
    ) -> Result<Self, LoadError> {
        let open_error = |error: io::Error| LoadError::Open(exports_file.to_owned(), error.into());
        let exports = load(exports_file, Accept::Streams)?;
        opener.exported(&openings(&exports));
        Ok(Self {
            tcp,
            boot: ggate::boot::id().map_err(open_error)?,
            opener,
            exports: RwLock::new(Arc::new(exports)),
            exports_file: std::path::absolute(exports_file).map_err(open_error)?,
            reloading: Mutex::new(()),
            strangers: Mutex::new(Crowd::new(MAX_STRANGERS, MAX_PER_ADDRESS)),
            half_open: Mutex::new(Crowd::new(MAX_STRANGERS, MAX_PER_ADDRESS)),
            sessions: Mutex::new(Vec::new()),
        })
    }

    /// What is exported now.
    pub(crate) fn exports(&self) -> Arc<Exports> {
        Arc::clone(&self.exports.read())
    }

    /// Reads the exports file again; keeps the old exports when it is bad.
    /// Sessions go on.
    pub fn reload(&self) {
        let reloading = self.reloading.lock();
        match load(&self.exports_file, Accept::Files) {
            Ok(exports) => {
                self.opener.exported(&openings(&exports));
                *self.exports.write() = Arc::new(exports);
            }
            Err(error) => {
                log::error!("{error}");
                log::error!(
                    "{}: not reloaded, the old exports stay in force.",
                    self.exports_file.display()
                );
            }
        }
        drop(reloading);
    }

    /// Ends the sessions that the client left behind. EBUSY when one of them
    /// does not end.
    pub(crate) fn end_predecessors(&self, client: &Client) -> Result<(), Errno> {
        let everybody = self.sessions.lock().clone();
        Self::succeed(client, &everybody)
    }

    /// Ends those of `sessions` that the client left behind.
    fn succeed(client: &Client, sessions: &[Arc<Session>]) -> Result<(), Errno> {
        let old = |session: &&Arc<Session>| client.succeeds(&session.client);
        for session in sessions.iter().filter(old) {
            if !session.stop(SessionError::Replaced, SUCCESSION) {
                log::warning!("{client}: the old session's medium does not answer; refused.");
                return Err(Errno::EBUSY);
            }
        }
        Ok(())
    }

    /// Remembers a session until its second connection comes.
    pub(crate) fn await_second(&self, half: HalfOpen) -> Id {
        let address = half.client.address;
        let mut crowd = self.half_open.lock();
        let (id, evicted) = crowd.insert(address, Instant::now(), half);
        drop(crowd);
        if let Some(evicted) = evicted {
            log::warning!("{}: dropped half-open: too many.", evicted.client);
        }
        id
    }

    /// Forgets a session whose first connection failed.
    pub(crate) fn forget(&self, id: Id) {
        let forgotten = self.half_open.lock().remove(id);
        drop(forgotten);
    }

    /// The session this connection belongs to, by token and source address.
    pub(crate) fn take_half_open(&self, token: Token, address: IpAddr) -> Option<HalfOpen> {
        let fits = |half: &HalfOpen| half.token == token && half.client.address == address;
        self.half_open.lock().take(fits)
    }

    /// Drops half-open sessions whose time is over.
    pub(crate) fn expire(&self, now: Instant) {
        let expired = self.half_open.lock().expire(now, PATIENCE);
        for half in expired {
            log::info!("{}: second connection did not come.", half.client);
        }
    }

    /// Whether [`expire`](Self::expire) will have something to do. A handshake
    /// enters its session before it leaves, so in this order none is missed.
    pub(crate) fn expects_somebody(&self) -> bool {
        let handshakes = self.strangers.lock().len();
        handshakes != 0 || !self.half_open.lock().is_empty()
    }

    /// Whether there is room for a session.
    pub(crate) fn has_room(&self) -> bool {
        self.sessions.lock().len() < MAX_SESSIONS
    }

    /// Enters a session in the list, so that its successors find it, and ends
    /// those that it succeeds. EBUSY when one of them does not end. Its client
    /// must not know of it before: it might come back and be overtaken by what
    /// it sends now.
    pub(crate) fn enter_session(&self, parts: Parts) -> Result<Arc<Session>, Errno> {
        let session = Arc::new(Session::new(parts));
        let older = {
            let mut sessions = self.sessions.lock();
            let older = sessions.clone();
            sessions.push(Arc::clone(&session));
            older
        };
        Self::succeed(&session.client, &older).inspect_err(|_| self.remove(&session))?;
        Ok(session)
    }

    /// Runs a session that has been entered.
    pub(crate) fn start_session(self: &Arc<Self>, session: &Arc<Session>) {
        log::info!("{}: session begins.", session.client);
        let server = Arc::clone(self);
        if let Err(error) = session.start(move |session| server.remove(session)) {
            log::error!(
                "{}: cannot start a thread: {}.",
                session.client,
                words(&error)
            );
            self.remove(session);
        }
    }

    /// Forgets a session that does not run.
    pub(crate) fn remove(&self, gone: &Arc<Session>) {
        self.sessions
            .lock()
            .retain(|session| !Arc::ptr_eq(session, gone));
    }

    /// Logs what goes on.
    pub(crate) fn report(&self) {
        let sessions = self.sessions.lock().clone();
        let (strangers, half_open) = (self.strangers.lock().len(), self.half_open.lock().len());
        log::notice!(
            "{} sessions, {half_open} half-open, {strangers} handshakes, {} exports.",
            sessions.len(),
            self.exports().iter().len()
        );
        for session in sessions {
            log::notice!("{}.", session.report());
        }
    }

    /// Ends every session in order, and lets go of the media.
    pub fn stop(&self) {
        let strangers = self.strangers.lock().drain();
        for stranger in strangers {
            // It may be closed already.
            let _ = stranger.shutdown(std::net::Shutdown::Both);
        }
        drop(self.half_open.lock().drain());
        let deadline = Instant::now() + STOP;
        let sessions = self.sessions.lock().clone();
        for session in sessions {
            let left = deadline.saturating_duration_since(Instant::now());
            if !session.stop(SessionError::Stopping, left) {
                log::warning!("{}: the medium does not answer.", session.client);
            }
        }
        self.opener.exported(&[]);
    }
}

/// What has to be opened for clients that use all they may.
fn openings(exports: &Exports) -> Vec<Opening> {
    let opening = |export: &Export| {
        let options = export.grant(export.access, false)?;
        Some((export.path.clone(), options))
    };
    exports.iter().filter_map(opening).collect()
}

/// Longest exports file in bytes: some ten thousand lines.
const MAX_EXPORTS_FILE: usize = 1 << 20;

/// Reads and parses an exports file.
fn load(path: &Path, accept: Accept) -> Result<Exports, LoadError> {
    let text = textfile::read(path, MAX_EXPORTS_FILE, accept).map_err(|error| match error {
        TextError::TooLong => LoadError::TooLong(path.to_owned()),
        error => LoadError::Open(path.to_owned(), error),
    })?;
    log::info!("Reading exports file ({}).", path.display());
    let exports = Exports::parse(&text, &look_up)?;
    for export in exports.iter() {
        for client in &export.clients {
            let access = short(export.access);
            log::debug!("Added {client} {} {access} to exports list.", export.path);
        }
    }
    log::info!("Exporting {} object(s).", exports.iter().len());
    Ok(exports)
}

#[cfg(test)]
mod tests;
