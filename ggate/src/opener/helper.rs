//! The process that opens one provider.
//!
//! It waits for a quiet moment of GEOM's event queue, but not for long and not
//! before it opens for reading only: that keeps opens away from a running
//! taste and is a courtesy. What counts is that the descriptor is passed on
//! while the thread that opened it is still parked in the kernel: the system
//! call has installed it by then (`spec/geom-gate-kernel.md` 7.7, rule 10).
//! Nobody waits for this process to end.

use super::message;
use crate::daemon;
use crate::gate::{self, Access};
use crate::media::{self, MediaError, OpenOptions};
use nix::sys::signal::SigSet;
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How long a quiet moment is waited for.
pub const QUIET_PATIENCE: Duration = Duration::from_secs(2);

/// How often a parked open is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// What ends the name of a helper process.
const TITLE: &str = ": opener";

/// What a helper does to the system. Each call may take for ever.
pub trait Provider: Send + Sync + 'static {
    /// Waits until all that GEOM had to do has been done.
    fn wait_until_quiet(&self);

    /// Opens the provider.
    fn open(&self) -> Result<OwnedFd, MediaError>;

    /// A descriptor of what [`open`](Self::open) has opened, although it has
    /// not returned.
    fn opened(&self) -> Option<OwnedFd>;
}

/// Opens the provider, passes it on, and holds it until the other side is gone.
pub fn serve(socket: &UnixStream, provider: &Arc<impl Provider>, writes: bool) -> io::Result<()> {
    if writes {
        let (done, quiet) = channel();
        let provider = Arc::clone(provider);
        daemon::spawn("quiet", move || {
            provider.wait_until_quiet();
            // Too late, perhaps.
            let _ = done.send(());
        })?;
        let _ = quiet.recv_timeout(QUIET_PATIENCE);
    }
    let (done, result) = channel();
    let opening = Arc::clone(provider);
    daemon::spawn("open", move || {
        // Nobody waits for it when the descriptor was found.
        let _ = done.send(opening.open());
    })?;
    let opened = loop {
        match result.recv_timeout(LOOK_INTERVAL) {
            Ok(result) => break result,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::BrokenPipe.into()),
        }
        if let Some(fd) = provider.opened() {
            break Ok(fd);
        }
    };
    message::send(socket, &opened)?;
    // Nothing is ever sent here; this is the end.
    let mut socket = socket;
    socket.read(&mut [0]).map(drop)
}

/// What a helper process is told, in its arguments. The path is the
/// administrator's, from an exports file or a command line, never a client's.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Request {
    /// The provider.
    pub path: PathBuf,
    /// How to open it.
    pub options: OpenOptions,
}

impl Request {
    /// The arguments of a helper, the title that ps(1) shows first.
    pub(super) fn to_args(&self, program: &str) -> [OsString; 3] {
        let mut words = vec![self.options.access.text()];
        words.extend(self.options.direct.then_some("direct"));
        words.extend(self.options.sync.then_some("sync"));
        [
            [program, TITLE].concat().into(),
            words.join(",").into(),
            self.path.clone().into(),
        ]
    }

    /// The request, if these are the arguments of a helper.
    #[must_use]
    pub fn from_args(args: impl IntoIterator<Item = OsString>) -> Option<Self> {
        let args: Vec<OsString> = args.into_iter().take(4).collect();
        let [title, words, path] = &args[..] else {
            return None;
        };
        if !title.to_str()?.ends_with(TITLE) {
            return None;
        }
        let mut words = words.to_str()?.split(',');
        let mut options = OpenOptions {
            access: Access::from_text(words.next()?)?,
            ..OpenOptions::default()
        };
        for word in words {
            match word {
                "direct" => options.direct = true,
                "sync" => options.sync = true,
                _ => return None,
            }
        }
        Some(Self {
            path: path.into(),
            options,
        })
    }

    /// The whole life of a helper process, whose standard input is the socket.
    #[must_use]
    pub fn run(self) -> ExitCode {
        // Signals at the terminal are for the program; this one ends with it.
        let served = SigSet::all().thread_block().map_err(io::Error::from);
        let served = served.and_then(|()| {
            let socket = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
            let writes = self.options.access != Access::ReadOnly;
            serve(&socket, &Arc::new(System::new(self)), writes)
        });
        served.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
    }
}

/// The system's providers.
struct System {
    request: Request,
    /// The number that the system call's descriptor will have, or -1.
    next: AtomicI32,
}

impl System {
    fn new(request: Request) -> Self {
        Self {
            request,
            next: AtomicI32::new(-1),
        }
    }
}

impl Provider for System {
    fn wait_until_quiet(&self) {
        gate::wait_until_quiet();
    }

    fn open(&self) -> Result<OwnedFd, MediaError> {
        // Descriptors get the lowest free number, and no other thread of this
        // process makes any before this one is found.
        if let Ok(probe) = File::open("/") {
            let number = probe.as_raw_fd();
            drop(probe);
            self.next.store(number, Ordering::Release);
        }
        media::open_descriptor(&self.request.path, self.request.options)
    }

    fn opened(&self) -> Option<OwnedFd> {
        let number: RawFd = self.next.load(Ordering::Acquire);
        if number < 0 {
            return None;
        }
        // SAFETY: whether there is such a descriptor is the question; if so,
        // it is never closed.
        #[allow(unsafe_code)]
        let fd = unsafe { BorrowedFd::borrow_raw(number) };
        fd.try_clone_to_owned().ok()
    }
}
