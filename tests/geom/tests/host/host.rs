//! One host: a GEOM with a memory disk, our server, our client.

use geom::{Gates, Geom, Opened};
use ggate::buffer::Pool;
use ggate::cli::Opening;
use ggate::daemon::{self, Mode, Start};
use ggate::gate::handle::Handle;
use ggate::gate::serve::{self, Ended, Handler, Payload};
use ggate::gate::{Access, Command, Create, GateId, NewName, Outcome, Request, Unit};
use ggate::media::{self, Media, MediaError, OpenOptions};
use ggate::net::TcpOptions;
use ggate::opener::Launcher;
use ggate::opener::helper::{self, Provider};
use ggate::provider::Wanted;
use ggate::range::Geometry;
use ggate::wire::ExportPath;
use ggatec::Remote;
use ggated::Server;
use ggated::opener::{Keeper, Opener, PATIENCE};
use parking_lot::Mutex;
use std::fs::File;
use std::io::{self, PipeWriter};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Within this everything gets through that gets through at all: the 2 s for
/// which a helper waits for a quiet moment, the 2 s between two attempts of a
/// client, and a loaded machine.
pub(crate) const THROUGH: Duration = Duration::from_secs(25);

/// After so long without progress a program hangs: a hundred times what all of
/// these steps take when nothing hangs.
pub(crate) const HUNG: Duration = Duration::from_secs(1);

/// Size of every disk.
pub(crate) const SIZE: u64 = 1 << 20;

pub(crate) struct Host {
    pub(crate) geom: Arc<Geom>,
    pub(crate) gates: Arc<Gates>,
    dir: tempfile::TempDir,
}

impl Host {
    /// A host with the memory disk `md0`, quiet.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let geom = Geom::start();
        let gates = Gates::new(&geom, &dir.path().join("run"));
        let host = Self { geom, gates, dir };
        host.add_disk("md0");
        host.export(&["md0"]);
        host
    }

    /// The name of a disk in exports and in GEOM.
    pub(crate) fn disk(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }

    pub(crate) fn add_disk(&self, name: &str) {
        let path = self.disk(name);
        File::create(&path).unwrap().set_len(SIZE).unwrap();
        self.geom.add_disk(&path);
    }

    fn exports(&self) -> PathBuf {
        self.dir.path().join("gg.exports")
    }

    pub(crate) fn export(&self, disks: &[&str]) {
        let line = |name: &&str| format!("127.0.0.1 RW {}\n", self.disk(name));
        let lines: String = disks.iter().map(line).collect();
        std::fs::write(self.exports(), lines).unwrap();
    }

    /// The opener of a server that opens in the thread that asks, for each
    /// session, and closes at its end.
    pub(crate) fn naive_opener(&self) -> Box<dyn Opener> {
        Box::new(NaiveOpener(Arc::clone(&self.geom)))
    }

    /// How our programs open here.
    pub(crate) fn launcher(&self) -> Arc<dyn Launcher> {
        Arc::new(Helpers(Arc::clone(&self.geom)))
    }

    /// ggated's.
    pub(crate) fn our_opener(&self) -> Box<dyn Opener> {
        Box::new(Keeper::new(self.launcher(), PATIENCE))
    }

    /// Starts ggated.
    pub(crate) fn serve(&self, opener: Box<dyn Opener>) -> Daemon {
        Daemon::start(&self.exports(), opener)
    }

    /// Starts ggatec for a disk that is exported at `port`.
    pub(crate) fn import(&self, name: &str, port: u16, unit: Unit) -> Importing {
        let remote = Remote {
            host: "127.0.0.1".into(),
            port,
            path: self.path(name),
            opening: Opening::default(),
            tcp: TCP,
        };
        let wanted = Wanted::New {
            sector_size: None,
            queue_limit: 0,
            timeout: 0,
            unit: Some(unit),
        };
        let ctl = self.gates.handout();
        let Start::Daemon(ready) = daemon::start(Mode::Foreground).unwrap() else {
            unreachable!("only in the background there is a parent");
        };
        daemon::spawn("sendtd-main", move || {
            ggatec::import::import(ctl, remote, wanted, ready).unwrap();
        })
        .unwrap()
    }

    pub(crate) fn path(&self, name: &str) -> ExportPath {
        ExportPath::new(self.disk(name)).unwrap()
    }

    /// A gate that nobody serves yet, so that its taste hangs.
    pub(crate) fn unserved(&self, unit: Unit) -> Handle {
        let ctl = self.gates.handout();
        ctl.create(&plan(unit)).unwrap();
        assert!(self.geom.is_busy(THROUGH));
        Handle { ctl, unit }
    }

    /// What an administrator does to a gate that hangs.
    pub(crate) fn destroy(&self, unit: Unit) {
        let gate = GateId::Unit(unit);
        self.gates.handout().destroy(&gate, true).unwrap();
    }

    /// Asserts that a thread hangs on the gate, and that destroying the gate
    /// sets it free, as the kernel document says (7.5).
    pub(crate) fn assert_deadlock(&self, unit: Unit, stuck: JoinHandle<()>) {
        let node = format!("ggate{unit}");
        assert!(!self.geom.has_node(&node, HUNG), "it got through");
        assert!(!stuck.is_finished(), "it does not hang");
        self.destroy(unit);
        assert!(self.geom.is_quiet(THROUGH), "the queue is not set free");
        stuck.join().unwrap();
    }

    pub(crate) fn assert_node(&self, unit: Unit) {
        let node = format!("ggate{unit}");
        let waiting = || self.geom.waiting();
        assert!(self.geom.has_node(&node, THROUGH), "{:?}", waiting());
    }

    /// Rule 1 of the kernel document's 7.7: whoever a gate waits for never
    /// waits for GEOM. Only helpers may, and what the test names.
    pub(crate) fn assert_only_helpers_waited(&self, besides: &[&str]) {
        for name in self.geom.waited() {
            let helper = ["helper", "open", "quiet"].contains(&name.as_str());
            let test = thread::current().name() == Some(name.as_str());
            assert!(
                helper || test || besides.contains(&name.as_str()),
                "{name} waited for GEOM"
            );
        }
    }
}

fn plan(unit: Unit) -> Create {
    Create {
        geometry: Geometry {
            media_size: SIZE,
            sector_size: 512,
        },
        access: Access::ReadWrite,
        queue_limit: 0,
        timeout: 0,
        name: NewName::Unit(unit),
        info: String::new(),
    }
}

pub(crate) const TCP: TcpOptions = TcpOptions {
    no_delay: true,
    send_buffer: None,
    receive_buffer: None,
};

/// A ggatec; ends when its gate is destroyed.
pub(crate) type Importing = JoinHandle<()>;

/// A ggated.
pub(crate) struct Daemon {
    pub(crate) address: SocketAddr,
    pub(crate) server: Arc<Server>,
    stop: PipeWriter,
    accepting: JoinHandle<()>,
}

impl Daemon {
    fn start(exports: &Path, opener: Box<dyn Opener>) -> Self {
        let server = Arc::new(Server::new(exports, TCP, opener).unwrap());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let (stopped, stop) = io::pipe().unwrap();
        let accepting = {
            let server = Arc::clone(&server);
            thread::spawn(move || ggated::accept_until(&server, &[listener], &stopped))
        };
        Self {
            address,
            server,
            stop,
            accepting,
        }
    }

    /// Goes on until the test program ends.
    pub(crate) fn outlive_the_test(self) {
        self.accepting.join().unwrap();
    }

    /// Its orderly end.
    pub(crate) fn stop(self) {
        drop(self.stop);
        self.accepting.join().unwrap();
        self.server.stop();
    }
}

/// A naive medium: closing it is the session's own business.
struct Naive {
    medium: media::LocalMedia,
    _opened: Opened,
}

struct NaiveOpener(Arc<Geom>);

impl Opener for NaiveOpener {
    fn open(&self, path: &ExportPath, options: OpenOptions) -> Result<Arc<dyn Media>, MediaError> {
        let name = path.as_path().to_str().unwrap();
        let opened = self
            .0
            .open(name, options.access)
            .map_err(MediaError::Open)?;
        Ok(Arc::new(Naive {
            medium: media::open(path.as_path(), options)?,
            _opened: opened,
        }))
    }
}

impl Media for Naive {
    fn geometry(&self) -> Geometry {
        self.medium.geometry()
    }
    fn read_at(&self, buf: &mut [u8], offset: u64) -> nix::Result<()> {
        self.medium.read_at(buf, offset)
    }
    fn write_at(&self, buf: &[u8], offset: u64) -> nix::Result<()> {
        self.medium.write_at(buf, offset)
    }
    fn flush(&self) -> nix::Result<()> {
        self.medium.flush()
    }
    fn delete(&self, range: ggate::range::ByteRange) -> nix::Result<()> {
        self.medium.delete(range)
    }
}

/// Helper processes, as threads: what they do to the system is done to this
/// GEOM, everything else is the production code.
struct Helpers(Arc<Geom>);

struct Disk {
    geom: Arc<Geom>,
    path: PathBuf,
    access: Access,
    descriptor: Mutex<Option<Opened>>,
}

impl Launcher for Helpers {
    fn is_provider(&self, _: &Path) -> bool {
        true
    }

    fn launch(&self, path: &Path, options: OpenOptions) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        let disk = Arc::new(Disk {
            geom: Arc::clone(&self.0),
            path: path.into(),
            access: options.access,
            descriptor: Mutex::default(),
        });
        daemon::spawn("helper", move || {
            let writes = options.access != Access::ReadOnly;
            helper::serve(&theirs, &disk, writes).unwrap();
            // Its exit closes what it has.
            let descriptor = disk.descriptor.lock().take();
            drop(descriptor);
        })?;
        Ok(ours)
    }
}

impl Disk {
    fn file(&self) -> OwnedFd {
        let file = File::options().read(true).write(true).open(&self.path);
        file.unwrap().into()
    }
}

impl Provider for Disk {
    fn wait_until_quiet(&self) {
        self.geom.barrier();
    }

    fn open(&self) -> Result<OwnedFd, MediaError> {
        let install = |opened| *self.descriptor.lock() = Some(opened);
        let name = self.path.to_str().unwrap();
        self.geom
            .open_then(name, self.access, install)
            .map_err(MediaError::Open)?;
        Ok(self.file())
    }

    fn opened(&self) -> Option<OwnedFd> {
        let installed = self.descriptor.lock().is_some();
        installed.then(|| self.file())
    }
}

/// Serves a gate from a medium with the production loop, until it is destroyed.
pub(crate) fn serve_gate(gate: Handle, media: Arc<dyn Media>) -> JoinHandle<()> {
    daemon::spawn("servtd-main", move || {
        let disk = FromMedium { gate, media };
        let ended = serve::serve(&disk.gate, &Pool::new(16 << 20), &disk, "servtd");
        assert_eq!(ended.unwrap(), Ended::Destroyed);
    })
    .unwrap()
}

struct FromMedium {
    gate: Handle,
    media: Arc<dyn Media>,
}

impl Handler for FromMedium {
    fn reserve(&self) -> bool {
        true
    }

    fn handle(&self, request: &Request, payload: Payload<'_>) {
        let range = request.range;
        let outcome = match request.command {
            Command::Read => {
                let mut data = vec![0; range.length.try_into().unwrap()];
                match self.media.read_at(&mut data, range.offset) {
                    Ok(()) => return self.gate.done(request, Outcome::Data(&data)),
                    Err(error) => Err(error),
                }
            }
            Command::Write => self.media.write_at(payload.bytes(), range.offset),
            _ => Ok(()),
        };
        let outcome = outcome.map_or_else(Outcome::Error, |()| Outcome::Done);
        self.gate.done(request, outcome);
    }

    fn idle(&self) {}
}
