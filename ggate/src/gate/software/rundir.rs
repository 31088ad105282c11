//! The run directory: what other processes can know of our gates.
//!
//! | path             | what                                                   |
//! |------------------|--------------------------------------------------------|
//! | `NAME`           | unix socket speaking NBD; NAME may contain slashes     |
//! | `.units/N`       | record of unit N, replaced by renaming, never written to |
//! | `.units/N.ctl`   | control socket of the process that serves it           |
//! | `.units/N.new`   | a socket or record that is about to be renamed         |
//! | `.lock`          | held while gates are made, removed or taken over       |
//!
//! A record outlives its process as a gate in the kernel does: it goes when the
//! gate is destroyed. That its process lives is seen from the control socket,
//! never from the number of the process.

use super::gate::Doors;
use crate::gate::{Access, MAX_QUEUE_LIMIT, Unit};
use crate::range::Geometry;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::unistd::{Uid, geteuid};
use std::collections::BTreeMap;
use std::env;
use std::fmt::Write as _;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// Number of gates, as `kern.geom.gate.maxunits` has it by default.
pub(super) const MAX_UNITS: u32 = 256;

/// Longest name, in bytes, that all kernels take.
const MAX_NAME: usize = 254;

/// Longest record: name, info text (2047 bytes) and numbers, with room.
const MAX_RECORD: u64 = 8 << 10;

const FIRST_LINE: &str = "highgate gate 1";

/// What is on record of a gate.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Record {
    pub(super) name: String,
    pub(super) geometry: Geometry,
    pub(super) access: Access,
    pub(super) timeout: u32,
    pub(super) queue_limit: u32,
    pub(super) pid: u32,
    /// Of `info::visible`, so on one line.
    pub(super) info: String,
}

#[derive(Debug)]
pub(super) struct RunDir {
    path: PathBuf,
}

/// Held while the set of gates changes.
pub(super) struct Lock(#[expect(dead_code, reason = "held for its drop")] Flock<File>);

/// What `GGATE_RUNDIR` says.
fn chosen_path() -> Option<PathBuf> {
    let path = env::var_os("GGATE_RUNDIR").filter(|path| !path.is_empty())?;
    Some(path.into())
}

/// Whether somebody wants this gate where the kernel has one, too.
#[cfg(target_os = "freebsd")]
pub(in crate::gate) fn is_chosen() -> bool {
    chosen_path().is_some()
}

/// Where gates are when nobody says otherwise.
pub(super) fn default_path() -> io::Result<PathBuf> {
    if let Some(path) = chosen_path() {
        return Ok(path);
    }
    if geteuid().is_root() {
        return Ok("/var/run/ggate".into());
    }
    match env::var_os("XDG_RUNTIME_DIR").filter(|path| !path.is_empty()) {
        Some(path) => Ok(Path::new(&path).join("ggate")),
        None => Err(io::Error::new(
            io::ErrorKind::NotFound,
            "no run directory for gates: set GGATE_RUNDIR or XDG_RUNTIME_DIR",
        )),
    }
}

/// Whether a provider name can be a path below the run directory.
pub(super) fn check_name(name: &str) -> nix::Result<()> {
    let component = |part: &str| !part.is_empty() && !part.starts_with('.');
    if name.len() > MAX_NAME
        || name.chars().any(char::is_control)
        || !name.split('/').all(component)
    {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

impl RunDir {
    /// Makes the directory when it is missing. It must be ours alone: whoever
    /// can write to it can pose as a gate.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let units = path.join(".units");
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(&units)?;
        for path in [path, &units] {
            let found = fs::metadata(path)?;
            let owner = Uid::from_raw(found.uid());
            if owner != geteuid() || found.mode() & 0o022 != 0 {
                return Err(io::Error::new(
                    io::ErrorKind::PermissionDenied,
                    format!(
                        "{}: must belong to user {} and be writable by nobody else",
                        path.display(),
                        geteuid()
                    ),
                ));
            }
        }
        Ok(Self { path: path.into() })
    }

    /// Waits for other processes that change the set of gates.
    pub(super) fn lock(&self) -> nix::Result<Lock> {
        let file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(self.path.join(".lock"))
            .map_err(errno)?;
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, errno)| errno)?;
        Ok(Lock(lock))
    }

    fn unit_path(&self, unit: Unit, suffix: &str) -> PathBuf {
        self.path.join(".units").join(format!("{unit}{suffix}"))
    }

    pub(super) fn control_path(&self, unit: Unit) -> PathBuf {
        self.unit_path(unit, ".ctl")
    }

    pub(super) fn socket_path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// All units on record. `None`: the record cannot be read, but the unit is
    /// taken until somebody destroys it.
    pub(super) fn records(&self) -> io::Result<BTreeMap<Unit, Option<Record>>> {
        let mut records = BTreeMap::new();
        for entry in fs::read_dir(self.path.join(".units"))? {
            let name = entry?.file_name();
            let Some(unit) = name.to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            if unit < MAX_UNITS {
                records.insert(Unit(unit), self.read(Unit(unit)).ok());
            }
        }
        Ok(records)
    }

    fn read(&self, unit: Unit) -> io::Result<Record> {
        let file = File::open(self.unit_path(unit, ""))?;
        let mut text = String::new();
        file.take(MAX_RECORD).read_to_string(&mut text)?;
        Record::parse(&text).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }

    /// Puts a record in place of an older one or of none.
    pub(super) fn write(&self, unit: Unit, record: &Record) -> nix::Result<()> {
        let new = self.unit_path(unit, ".new");
        fs::write(&new, record.text()).map_err(errno)?;
        fs::rename(&new, self.unit_path(unit, "")).map_err(errno)
    }

    /// Opens a gate's sockets, in place of a dead process' ones.
    pub(super) fn open_doors(&self, unit: Unit, name: &str) -> nix::Result<Doors> {
        let socket = self.socket_path(name);
        if let Some(parent) = socket.parent() {
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(parent)
                .map_err(errno)?;
        }
        Ok(Doors {
            control: self.bind(unit, &self.control_path(unit))?,
            clients: self.bind(unit, &socket)?,
        })
    }

    /// Binds aside and renames, so that a client that reconnects finds the old
    /// socket or the new one.
    fn bind(&self, unit: Unit, path: &Path) -> nix::Result<UnixListener> {
        let new = self.unit_path(unit, ".new");
        remove_if_there(&new)?;
        let listener = UnixListener::bind(&new).map_err(errno)?;
        listener.set_nonblocking(true).map_err(errno)?;
        fs::set_permissions(&new, Permissions::from_mode(0o600)).map_err(errno)?;
        if path.as_os_str().len() > new.as_os_str().len() {
            // The final path must fit a socket address, too; bind checked only
            // the other one.
            std::os::unix::net::SocketAddr::from_pathname(path).map_err(errno)?;
        }
        fs::rename(&new, path).map_err(errno)?;
        Ok(listener)
    }

    /// Removes everything of a unit. Directories of a name with slashes go when
    /// they are empty.
    pub(super) fn remove(&self, unit: Unit, name: Option<&str>) -> nix::Result<()> {
        let socket = name.map(|name| self.socket_path(name));
        let removed = socket.as_deref().map_or(Ok(()), remove_if_there);
        for parent in socket.iter().flat_map(|socket| socket.ancestors().skip(1)) {
            // Not empty: another gate lives there.
            if parent == self.path || fs::remove_dir(parent).is_err() {
                break;
            }
        }
        removed
            .and(remove_if_there(&self.control_path(unit)))
            .and(remove_if_there(&self.unit_path(unit, ".new")))
            .and(remove_if_there(&self.unit_path(unit, "")))
    }
}

fn remove_if_there(path: &Path) -> nix::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(errno(error)),
        _ => Ok(()),
    }
}

/// The system's number for an error; EINVAL for a path that fits no socket
/// address, EIO for what has none.
#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
pub(super) fn errno(error: io::Error) -> Errno {
    match (error.raw_os_error(), error.kind()) {
        (Some(number), _) => Errno::from_raw(number),
        (None, io::ErrorKind::InvalidInput) => Errno::EINVAL,
        (None, _) => Errno::EIO,
    }
}

impl Record {
    fn text(&self) -> String {
        let mut text = format!("{FIRST_LINE}\n");
        let Self { geometry, .. } = self;
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "name {}\nmediasize {}\nsectorsize {}\naccess {}\ntimeout {}\nqueue {}\npid {}\n\
             info {}\n",
            self.name,
            geometry.media_size,
            geometry.sector_size,
            self.access.text(),
            self.timeout,
            self.queue_limit,
            self.pid,
            self.info,
        );
        text
    }

    /// `None` for anything that we would not have written.
    pub(super) fn parse(text: &str) -> Option<Self> {
        fn number<T: std::str::FromStr>(field: Option<&str>) -> Option<T> {
            field?.parse().ok()
        }
        let mut lines = text.strip_suffix('\n')?.split('\n');
        let mut field = |key: &str| lines.next()?.strip_prefix(key)?.strip_prefix(' ');
        if field("highgate") != FIRST_LINE.strip_prefix("highgate ") {
            return None;
        }
        let record = Self {
            name: field("name")?.to_owned(),
            geometry: Geometry {
                media_size: number(field("mediasize"))?,
                sector_size: number(field("sectorsize"))?,
            },
            access: Access::from_text(field("access")?)?,
            timeout: number(field("timeout"))?,
            queue_limit: number(field("queue"))?,
            pid: number(field("pid"))?,
            info: field("info")?.to_owned(),
        };
        let sane = record.text() == text
            && check_name(&record.name).is_ok()
            && check_geometry(record.geometry).is_ok()
            && record.queue_limit <= MAX_QUEUE_LIMIT;
        sane.then_some(record)
    }
}

/// The kernel's rules for sizes, in its order.
pub(super) fn check_geometry(geometry: Geometry) -> nix::Result<()> {
    let Geometry {
        media_size,
        sector_size,
    } = geometry;
    if media_size == 0
        || i64::try_from(media_size).is_err()
        || !sector_size.is_power_of_two()
        || !media_size.is_multiple_of(sector_size.into())
    {
        return Err(Errno::EINVAL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record() -> Record {
        Record {
            name: "hast/data".into(),
            geometry: Geometry {
                media_size: 1 << 30,
                sector_size: 512,
            },
            access: Access::ReadOnly,
            timeout: 30,
            queue_limit: 1024,
            pid: 4711,
            info: "10.0.0.1:3080 /dev/da0 <&>".into(),
        }
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        assert_eq!(Record::parse(&record().text()), Some(record()));
    }

    #[test]
    fn a_damaged_record_is_no_record() {
        let text = record().text();
        for length in 0..text.len() {
            assert_eq!(Record::parse(&text[..length]), None, "{length}");
        }
        for (from, to) in [
            ("512", "513"),
            ("1073741824", "-1"),
            ("read-only", "both"),
            ("hast/data", "../data"),
            ("queue 1024", "queue 5000"),
            ("queue 1024", "queue +1024"),
            ("\ninfo", "\n\ninfo"),
            ("<&>\n", "<&>\nmore\n"),
            ("pid", "id"),
        ] {
            assert_eq!(Record::parse(&text.replace(from, to)), None, "{to}");
        }
    }

    #[test]
    fn names_stay_below_the_run_directory() {
        for good in ["ggate0", "hast/data", "a/b/c", "with space", "x..y"] {
            assert_eq!(check_name(good), Ok(()), "{good}");
        }
        let long = "x".repeat(255);
        for bad in [
            "", "/", "/abs", "a/", "a//b", ".", "..", "a/../b", ".units/0", ".lock", "a\nb", &long,
        ] {
            assert_eq!(check_name(bad), Err(Errno::EINVAL), "{bad}");
        }
    }

    #[test]
    fn a_directory_that_others_can_write_to_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run");
        RunDir::open(&path).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(0o777)).unwrap();
        let error = RunDir::open(&path).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    proptest! {
        #[test]
        fn noise_is_no_record(text: String) {
            prop_assert_eq!(Record::parse(&text), None);
        }
    }
}
