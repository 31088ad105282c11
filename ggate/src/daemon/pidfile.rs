//! The pid file: a lock that says who holds it.
//!
//! Compatible with pidfile(3), which base uses: mode 0600, flock(2) held for
//! the life of the daemon, the process id in decimal as content. Unlike base
//! the file goes when its daemon ends in order.

use crate::errno::words;
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a file that is locked but still empty is read again for the pid of
/// a daemon that is just starting.
const PID_WAIT: Duration = Duration::from_millis(200);

/// Why the pid file cannot be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PidFileError {
    /// Another daemon holds it.
    #[error("Daemon already running, pid: {0}.")]
    Running(u32),
    /// Another daemon holds it and has not written its pid.
    #[error("Daemon already running, its pid is not in {}.", .0.display())]
    RunningUnknown(PathBuf),
    /// It cannot be opened or locked.
    #[error("Cannot open/create pidfile {}: {}", path.display(), words(source))]
    Open {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The pid cannot be written.
    #[error("Cannot write pidfile {}: {}", path.display(), words(source))]
    Write {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// A locked pid file. Removed when dropped by the process that wrote it.
#[derive(Debug)]
pub struct PidFile {
    path: PathBuf,
    lock: Flock<File>,
    written_by: Option<u32>,
}

impl PidFile {
    /// Opens or creates the file and locks it. A relative path is taken from
    /// the present working directory, for good.
    pub fn open(path: &Path) -> Result<Self, PidFileError> {
        let open_error = |source| PidFileError::Open {
            path: path.to_owned(),
            source,
        };
        let path = std::path::absolute(path).map_err(open_error)?;
        loop {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
                .map_err(open_error)?;
            let lock = match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Ok(lock) => lock,
                Err((file, Errno::EWOULDBLOCK)) => return Err(held(file, path)),
                Err((_, errno)) => return Err(open_error(errno.into())),
            };
            // Whoever held it may have removed it between our open and our lock.
            if is_at(&lock, &path) {
                return Ok(Self {
                    path,
                    lock,
                    written_by: None,
                });
            }
        }
    }

    /// Writes the pid of the calling process, which owns the file from now on.
    pub fn write(&mut self) -> Result<(), PidFileError> {
        let pid = std::process::id();
        self.lock
            .set_len(0)
            .and_then(|()| self.lock.write_all_at(pid.to_string().as_bytes(), 0))
            .map_err(|source| PidFileError::Write {
                path: self.path.clone(),
                source,
            })?;
        self.written_by = Some(pid);
        Ok(())
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.written_by == Some(std::process::id()) && is_at(&self.lock, &self.path) {
            // A file that stays is harmless: its lock goes with us.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    match (file.metadata(), path.metadata()) {
        (Ok(ours), Ok(there)) => (ours.dev(), ours.ino()) == (there.dev(), there.ino()),
        _ => false,
    }
}

/// The error that names the holder.
fn held(file: File, path: PathBuf) -> PidFileError {
    let deadline = Instant::now() + PID_WAIT;
    loop {
        // No pid has more digits; what else is in the file does not matter.
        let mut text = String::new();
        let read = File::open(&path).and_then(|f| f.take(16).read_to_string(&mut text));
        if let (Ok(_), Ok(pid)) = (read, text.trim().parse()) {
            return PidFileError::Running(pid);
        }
        if Instant::now() >= deadline {
            drop(file);
            return PidFileError::RunningUnknown(path);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_the_pid_is_private_and_goes_in_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ggated.pid");
        let mut file = PidFile::open(&path).unwrap();
        file.write().unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            std::process::id().to_string()
        );
        assert_eq!(path.metadata().unwrap().mode() & 0o777, 0o600);
        drop(file);
        assert!(!path.exists());
    }

    #[test]
    fn what_a_dead_daemon_left_is_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ggated.pid");
        std::fs::write(&path, "4000000000 and a longer text than a pid").unwrap();
        PidFile::open(&path).unwrap().write().unwrap();
        let mut file = PidFile::open(&path).unwrap();
        file.write().unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            std::process::id().to_string()
        );
    }

    #[test]
    fn the_second_is_told_the_pid_of_the_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ggated.pid");
        let mut first = PidFile::open(&path).unwrap();
        assert!(matches!(
            PidFile::open(&path),
            Err(PidFileError::RunningUnknown(_))
        ));
        first.write().unwrap();
        assert_eq!(
            PidFile::open(&path).unwrap_err().to_string(),
            format!("Daemon already running, pid: {}.", std::process::id())
        );
        drop(first);
        PidFile::open(&path).unwrap();
    }

    #[test]
    fn an_unwritten_one_stays_where_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ggated.pid");
        drop(PidFile::open(&path).unwrap());
        assert!(path.exists());
    }

    #[test]
    fn a_successor_s_file_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ggated.pid");
        let mut old = PidFile::open(&path).unwrap();
        old.write().unwrap();
        std::fs::remove_file(&path).unwrap();
        let mut new = PidFile::open(&path).unwrap();
        new.write().unwrap();
        drop(old);
        assert!(path.exists());
    }

    #[test]
    fn a_missing_directory_is_named() {
        let error = PidFile::open(Path::new("/nonexistent/dir/p")).unwrap_err();
        assert!(error.to_string().contains("/nonexistent/dir/p"), "{error}");
    }
}
