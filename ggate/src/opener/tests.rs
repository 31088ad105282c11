use super::helper::{Provider, QUIET_PATIENCE};
use super::*;
use crate::gate::Access;
use parking_lot::{Condvar, Mutex};
use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// Something that is closed until it is opened.
#[derive(Default)]
struct Latch(Mutex<bool>, Condvar);

impl Latch {
    fn open(&self) {
        *self.0.lock() = true;
        self.1.notify_all();
    }

    fn wait(&self) {
        let mut open = self.0.lock();
        while !*open {
            self.1.wait(&mut open);
        }
    }

    fn is_open_within(&self, limit: Duration) -> bool {
        let mut open = self.0.lock();
        self.1.wait_while_for(&mut open, |open| !*open, limit);
        *open
    }
}

/// GEOM with a taste that hangs: neither the queue nor an open comes to an end
/// before `quiet`.
#[derive(Default)]
struct Busy {
    quiet: Latch,
    parks: bool,
    fd: Mutex<Option<OwnedFd>>,
    closed: Latch,
}

impl Provider for Busy {
    fn wait_until_quiet(&self) {
        self.quiet.wait();
    }

    fn open(&self) -> Result<OwnedFd, MediaError> {
        let fd = self.fd.lock().as_ref().map(OwnedFd::try_clone);
        if self.parks {
            self.quiet.wait();
        }
        let missing = MediaError::Open(Errno::ENOENT);
        fd.map_or(Err(missing), |fd| Ok(fd.unwrap()))
    }

    fn opened(&self) -> Option<OwnedFd> {
        let fd = self.fd.lock();
        fd.as_ref().map(|fd| fd.try_clone().unwrap())
    }
}

/// Helpers as threads.
struct Threads(Arc<Busy>);

impl Launcher for Threads {
    fn is_provider(&self, _: &Path) -> bool {
        true
    }

    fn launch(&self, _: &Path, options: OpenOptions) -> io::Result<UnixStream> {
        let (ours, theirs) = UnixStream::pair()?;
        let busy = Arc::clone(&self.0);
        std::thread::spawn(move || {
            let writes = options.access != Access::ReadOnly;
            // A test looks at `closed`.
            let _ = helper::serve(&theirs, &busy, writes);
            busy.closed.open();
        });
        Ok(ours)
    }
}

fn file(size: u64) -> (tempfile::NamedTempFile, OwnedFd) {
    let file = tempfile::NamedTempFile::new().unwrap();
    file.as_file().set_len(size).unwrap();
    let fd = File::options().read(true).write(true).open(file.path());
    (file, fd.unwrap().into())
}

fn busy(fd: Option<OwnedFd>, parks: bool) -> Arc<Busy> {
    Arc::new(Busy {
        parks,
        fd: Mutex::new(fd),
        ..Busy::default()
    })
}

fn options(access: Access) -> OpenOptions {
    OpenOptions {
        access,
        ..OpenOptions::default()
    }
}

/// On FreeBSD the thread that opened stays in the kernel until the taste has
/// ended, which may need the very descriptor.
#[test]
fn the_descriptor_comes_although_neither_barrier_nor_open_ends() {
    let (file, fd) = file(1 << 20);
    let busy = busy(Some(fd), true);
    let launcher = Threads(Arc::clone(&busy));
    let began = Instant::now();
    let held = Held::open(&launcher, file.path(), OpenOptions::default()).unwrap();
    let took = began.elapsed();
    assert!(took >= QUIET_PATIENCE, "{took:?}");
    assert!(took < QUIET_PATIENCE + Duration::from_secs(2), "{took:?}");
    let shared = Arc::new(held).share(file.path()).unwrap();
    shared.write_at(&[7; 512], 512).unwrap();
    assert!(!busy.closed.is_open_within(Duration::ZERO));
    drop(shared);
    assert!(busy.closed.is_open_within(Duration::from_secs(10)));
    busy.quiet.open();
}

#[test]
fn who_only_reads_does_not_wait_for_a_quiet_moment() {
    let (file, fd) = file(1 << 20);
    let busy = busy(Some(fd), false);
    let launcher = Threads(Arc::clone(&busy));
    let began = Instant::now();
    open(&launcher, file.path(), options(Access::ReadOnly)).unwrap();
    assert!(began.elapsed() < QUIET_PATIENCE);
    busy.quiet.open();
}

#[test]
fn what_went_wrong_is_told() {
    let busy = busy(None, false);
    busy.quiet.open();
    let launcher = Threads(busy);
    let error = Held::open(&launcher, Path::new("/x"), OpenOptions::default()).unwrap_err();
    assert_eq!(error, MediaError::Open(Errno::ENOENT));
}

#[test]
fn a_helper_that_dies_without_a_word_is_an_error() {
    struct Dead;
    impl Launcher for Dead {
        fn is_provider(&self, _: &Path) -> bool {
            true
        }
        fn launch(&self, _: &Path, _: OpenOptions) -> io::Result<UnixStream> {
            Ok(UnixStream::pair()?.0)
        }
    }
    let error = Held::open(&Dead, Path::new("/x"), OpenOptions::default()).unwrap_err();
    assert_eq!(error, MediaError::Open(Errno::EIO));
}

#[test]
fn another_file_of_the_same_name_and_a_new_size_are_noticed() {
    let (file, fd) = file(1 << 20);
    let busy = busy(Some(fd), false);
    busy.quiet.open();
    let held = Held::open(&Threads(busy), file.path(), OpenOptions::default()).unwrap();
    let held = Arc::new(held);
    assert_eq!(
        held.share(file.path()).unwrap().geometry().media_size,
        1 << 20
    );
    file.as_file().set_len(2 << 20).unwrap();
    assert_eq!(
        held.share(file.path()).unwrap().geometry().media_size,
        2 << 20
    );
    let other = tempfile::NamedTempFile::new().unwrap();
    other.as_file().set_len(1 << 20).unwrap();
    std::fs::rename(other.path(), file.path()).unwrap();
    assert!(held.share(file.path()).is_none());
}

#[test]
fn a_provider_that_answered_enxio_is_not_shared_again() {
    let (file, fd) = file(1 << 20);
    let busy = busy(Some(fd), false);
    busy.quiet.open();
    let held = Held::open(&Threads(busy), file.path(), OpenOptions::default()).unwrap();
    let held = Arc::new(held);
    let shared = held.share(file.path()).unwrap();
    assert_eq!(shared.note(Err(Errno::EIO)), Err(Errno::EIO));
    assert!(held.share(file.path()).is_some());
    assert_eq!(shared.note(Err(Errno::ENXIO)), Err(Errno::ENXIO));
    assert!(held.share(file.path()).is_none());
}

/// A process that is killed closes its descriptors in ascending order; the
/// last of a provider must be the helper's.
#[test]
fn the_lease_ends_after_what_the_caller_has_opened_itself() {
    let (_keep, fd) = file(4096);
    let busy = busy(Some(fd), false);
    busy.quiet.open();
    let launcher = Threads(Arc::clone(&busy));
    let mut held = Held::open(&launcher, Path::new("/"), options(Access::ReadWrite)).unwrap();
    assert!(held.lease.as_raw_fd() > held.medium.as_fd().as_raw_fd());
    let others: Vec<File> = (0..8).map(|_| File::open("/dev/null").unwrap()).collect();
    for other in &others {
        held.outlast(other.as_fd()).unwrap();
        assert!(held.lease.as_raw_fd() > other.as_raw_fd());
    }
    assert!(!busy.closed.is_open_within(Duration::from_millis(50)));
    drop(held);
    assert!(busy.closed.is_open_within(QUIET_PATIENCE));
}

#[test]
fn a_request_survives_the_command_line_and_nothing_else_is_one() {
    for access in [Access::ReadOnly, Access::WriteOnly, Access::ReadWrite] {
        for (direct, sync) in [(false, false), (true, false), (false, true), (true, true)] {
            let request = Request {
                path: PathBuf::from("/dev/a,b c"),
                options: OpenOptions {
                    access,
                    direct,
                    sync,
                },
            };
            let args = request.to_args("ggated");
            assert_eq!(args[0], "ggated: opener");
            assert_eq!(Request::from_args(args), Some(request));
        }
    }
    for line in [
        &["ggated"][..],
        &["ggated", "read-write", "/x"],
        &["ggated: opener", "read-write"],
        &["ggated: opener", "rw", "/x"],
        &["ggated: opener", "read-write,", "/x"],
        &["ggated: opener", "read-write", "/x", "y"],
    ] {
        let args = line.iter().map(OsString::from);
        assert_eq!(Request::from_args(args), None, "{line:?}");
    }
}
