use super::*;
use ggate::opener::helper::{self, Provider};
use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

/// Long enough for a loaded machine; only failing tests wait for it.
const LONG: Duration = Duration::from_secs(30);

/// Files below a folder, of which some pass for providers.
struct Disks {
    dir: tempfile::TempDir,
    providers: Mutex<HashSet<PathBuf>>,
    /// Opens do not come to an end while this is held.
    busy: Arc<Mutex<()>>,
    opened: Arc<AtomicUsize>,
    /// Told of each helper that has closed.
    closed: Mutex<Sender<PathBuf>>,
    refuses: AtomicBool,
}

struct Disk {
    path: PathBuf,
    busy: Arc<Mutex<()>>,
    opened: Arc<AtomicUsize>,
}

impl Provider for Disk {
    fn wait_until_quiet(&self) {}

    fn open(&self) -> Result<OwnedFd, MediaError> {
        drop(self.busy.lock());
        self.opened.fetch_add(1, Ordering::SeqCst);
        let file = File::options().read(true).write(true).open(&self.path);
        file.map(OwnedFd::from)
            .map_err(|error| MediaError::Open(Errno::from_raw(error.raw_os_error().unwrap())))
    }

    fn opened(&self) -> Option<OwnedFd> {
        None
    }
}

impl Launcher for Disks {
    fn is_provider(&self, path: &Path) -> bool {
        self.providers.lock().contains(path) && path.exists()
    }

    fn launch(&self, path: &Path, _: OpenOptions) -> io::Result<UnixStream> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let (ours, theirs) = UnixStream::pair()?;
        let disk = Arc::new(Disk {
            path: path.into(),
            busy: Arc::clone(&self.busy),
            opened: Arc::clone(&self.opened),
        });
        let closed = self.closed.lock().clone();
        thread::spawn(move || {
            helper::serve(&theirs, &disk, true).unwrap();
            // The test may have what it wants.
            let _ = closed.send(disk.path.clone());
        });
        Ok(ours)
    }
}

impl Disks {
    fn new() -> (Arc<Self>, Receiver<PathBuf>) {
        let (sender, closed) = channel();
        let disks = Self {
            dir: tempfile::tempdir().unwrap(),
            providers: Mutex::default(),
            busy: Arc::default(),
            opened: Arc::default(),
            closed: Mutex::new(sender),
            refuses: AtomicBool::new(false),
        };
        (Arc::new(disks), closed)
    }

    fn file(&self, name: &str, size: u64) -> ExportPath {
        let path = self.dir.path().join(name);
        let fresh = self.dir.path().join("fresh");
        File::create(&fresh).unwrap().set_len(size).unwrap();
        fs::rename(&fresh, &path).unwrap();
        ExportPath::new(path).unwrap()
    }

    fn provider(&self, name: &str, size: u64) -> ExportPath {
        let path = self.file(name, size);
        self.providers.lock().insert(path.as_path().into());
        path
    }

    fn opened(&self) -> usize {
        self.opened.load(Ordering::SeqCst)
    }
}

fn keeper(disks: &Arc<Disks>) -> Keeper {
    Keeper::new(Arc::clone(disks) as Arc<dyn Launcher>, LONG)
}

fn size(keeper: &Keeper, path: &ExportPath) -> Result<u64, MediaError> {
    let media = keeper.open(path, OpenOptions::default())?;
    Ok(media.geometry().media_size)
}

fn opening(path: &ExportPath) -> Opening {
    (path.clone(), OpenOptions::default())
}

#[test]
fn a_file_is_opened_for_each_session_and_a_replaced_one_seen() {
    let (disks, _closed) = Disks::new();
    let keeper = keeper(&disks);
    let path = disks.file("file", 4096);
    keeper.exported(&[opening(&path)]);
    assert_eq!(size(&keeper, &path), Ok(4096));
    disks.file("file", 8192);
    assert_eq!(size(&keeper, &path), Ok(8192));
    assert_eq!(disks.opened(), 0);
}

#[test]
fn a_provider_is_opened_once_and_held_until_it_is_exported_no_more() {
    let (disks, closed) = Disks::new();
    let keeper = keeper(&disks);
    let path = disks.provider("md0", 4096);
    keeper.exported(&[opening(&path)]);
    for _ in 0..3 {
        assert_eq!(size(&keeper, &path), Ok(4096));
    }
    keeper.exported(&[opening(&path)]);
    assert_eq!(disks.opened(), 1);
    let session = keeper.open(&path, OpenOptions::default()).unwrap();
    keeper.exported(&[]);
    assert!(closed.try_recv().is_err(), "a session has it");
    drop(session);
    assert_eq!(closed.recv_timeout(LONG), Ok(path.as_path().to_owned()));
}

#[test]
fn each_way_to_open_has_a_descriptor_of_its_own() {
    let (disks, _closed) = Disks::new();
    let keeper = keeper(&disks);
    let path = disks.provider("md0", 4096);
    let direct = OpenOptions {
        direct: true,
        ..OpenOptions::default()
    };
    for options in [OpenOptions::default(), direct, OpenOptions::default()] {
        keeper.open(&path, options).unwrap();
    }
    assert_eq!(disks.opened(), 2);
}

#[test]
fn a_provider_that_went_and_came_again_is_opened_again() {
    let (disks, closed) = Disks::new();
    let keeper = keeper(&disks);
    let path = disks.provider("md0", 4096);
    assert_eq!(size(&keeper, &path), Ok(4096));
    disks.provider("md0", 8192);
    assert_eq!(size(&keeper, &path), Ok(8192));
    assert_eq!(closed.recv_timeout(LONG), Ok(path.as_path().to_owned()));
    assert_eq!(disks.opened(), 2);
    fs::remove_file(path.as_path()).unwrap();
    assert_eq!(size(&keeper, &path), Err(MediaError::Open(Errno::ENOENT)));
}

#[test]
fn a_failure_is_told_and_the_next_one_tries_again() {
    let (disks, _closed) = Disks::new();
    let keeper = keeper(&disks);
    let path = disks.provider("md0", 4096);
    disks.refuses.store(true, Ordering::SeqCst);
    assert_eq!(size(&keeper, &path), Err(MediaError::Open(Errno::EMFILE)));
    disks.refuses.store(false, Ordering::SeqCst);
    assert_eq!(size(&keeper, &path), Ok(4096));
}

/// One provider that cannot be opened for now holds up those who want it,
/// together, for a bounded time, and nobody else.
#[test]
fn waiting_for_one_provider_delays_no_other_and_has_an_end() {
    let (disks, _closed) = Disks::new();
    let launcher = Arc::clone(&disks) as Arc<dyn Launcher>;
    let keeper = Keeper::new(launcher, Duration::from_millis(300));
    let path = disks.provider("md0", 4096);
    let other = disks.file("file", 512);
    let timed_out = Err(MediaError::Open(Errno::ETIMEDOUT));
    let busy = disks.busy.lock();
    thread::scope(|scope| {
        let waiting: Vec<_> = (0..4)
            .map(|_| scope.spawn(|| size(&keeper, &path)))
            .collect();
        assert_eq!(size(&keeper, &other), Ok(512));
        for waiter in waiting {
            assert_eq!(waiter.join().unwrap(), timed_out);
        }
    });
    drop(busy);
    let deadline = Instant::now() + LONG;
    while size(&keeper, &path) != Ok(4096) {
        assert!(Instant::now() < deadline);
    }
    assert_eq!(disks.opened(), 1, "all wait for the same helper");
}
