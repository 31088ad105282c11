//! UNIX sockets to listen on. Who can connect to the control socket can do
//! anything to the resources, so the file is never open to more users than it
//! is to be in the end.

use nix::sys::stat::{Mode, umask};
use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, Permissions};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A socket that listens; its file goes with it.
#[derive(Debug)]
pub(crate) struct PrivateSocket {
    listener: UnixListener,
    path: PathBuf,
    /// Device and inode: somebody else's file of that name stays.
    file: (u64, u64),
}

impl PrivateSocket {
    /// Listens at `path`, in the place of a socket on which nobody listens any
    /// more.
    pub(crate) fn bind(path: &Path, mode: u32) -> io::Result<Self> {
        // The daemon will change its directory.
        let path = std::path::absolute(path)?;
        make_room(&path)?;
        let listener = bind_privately(&path)?;
        let socket = Self {
            listener,
            file: identity(&path)?,
            path,
        };
        socket.set_mode(mode)?;
        socket.listener.set_nonblocking(true)?;
        Ok(socket)
    }

    /// Changes who may connect.
    pub(crate) fn set_mode(&self, mode: u32) -> io::Result<()> {
        fs::set_permissions(&self.path, Permissions::from_mode(mode & 0o777))
    }

    pub(crate) fn accept(&self) -> io::Result<UnixStream> {
        let (stream, _) = self.listener.accept()?;
        stream.set_nonblocking(true)?;
        Ok(stream)
    }
}

impl AsFd for PrivateSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.listener.as_fd()
    }
}

impl Drop for PrivateSocket {
    fn drop(&mut self) {
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            // What stays is replaced by the next one.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Bound with a umask that lets nobody else in.
fn bind_privately(path: &Path) -> io::Result<UnixListener> {
    let before = umask(Mode::S_IRWXG | Mode::S_IRWXO | Mode::S_IXUSR);
    let bound = UnixListener::bind(path);
    umask(before);
    bound
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Removes what a daemon left behind that was killed.
fn make_room(path: &Path) -> io::Result<()> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
        Ok(there) if !there.file_type().is_socket() => {
            let why = "there is a file of that name that is no socket; it is left alone";
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, why));
        }
        Ok(_) => {}
    }
    match knock(path) {
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
        _ => {
            let why = "somebody listens there already, perhaps another hastd";
            Err(io::Error::new(io::ErrorKind::AddrInUse, why))
        }
    }
}

/// Whether anybody listens; waits for nobody.
fn knock(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hastctl");
        (dir, path)
    }

    #[test]
    fn the_file_has_its_mode_and_goes_in_the_end() {
        let (_dir, path) = place();
        for mode in [0o600, 0o660] {
            let socket = PrivateSocket::bind(&path, mode).unwrap();
            assert_eq!(path.metadata().unwrap().mode() & 0o777, mode);
            UnixStream::connect(&path).unwrap();
            socket.accept().unwrap();
            drop(socket);
            assert!(!path.exists());
        }
    }

    #[test]
    fn what_a_killed_daemon_left_is_replaced_and_a_living_one_s_is_not() {
        let (_dir, path) = place();
        drop(UnixListener::bind(&path).unwrap());
        assert!(path.exists());
        let socket = PrivateSocket::bind(&path, 0o600).unwrap();
        let error = PrivateSocket::bind(&path, 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        UnixStream::connect(&path).unwrap();
        drop(socket);
    }

    #[test]
    fn a_file_that_is_no_socket_stays() {
        let (_dir, path) = place();
        fs::write(&path, "precious").unwrap();
        let error = PrivateSocket::bind(&path, 0o600).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"precious");
    }

    #[test]
    fn somebody_else_s_socket_of_that_name_is_not_removed() {
        let (_dir, path) = place();
        let old = PrivateSocket::bind(&path, 0o600).unwrap();
        fs::remove_file(&path).unwrap();
        let new = PrivateSocket::bind(&path, 0o600).unwrap();
        drop(old);
        assert!(path.exists());
        drop(new);
        assert!(!path.exists());
    }
}
