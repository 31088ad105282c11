//! Files that people write, like configurations: read whole, within bounds of
//! bytes and of time, whatever it is that has their name.

use crate::errno::words;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::fs::{self, File, FileType};
use std::io::{self, Read as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::{FileTypeExt as _, OpenOptionsExt as _};
use std::path::Path;
use std::time::Duration;

/// How long a pipe or a device may be silent: whoever feeds it may have to ask
/// another machine, and a start of the system must not wait for it for ever.
const PATIENCE: Duration = Duration::from_secs(10);

/// What may have the file's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Accept {
    /// Whatever has an end, a pipe from another program too: for what reads
    /// once, while somebody waits for it.
    Streams,
    /// A regular file: for a daemon that reads anew. What a pipe had to say is
    /// gone by then, and the emptiness that is left is no configuration.
    Files,
}

/// Why there is no text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TextError {
    /// The system says why.
    #[error("{}", words(.0))]
    System(#[from] io::Error),
    /// Nothing to read a text from.
    #[error("it is a {0}, not a file")]
    NoFile(&'static str),
    /// [`Accept::Files`] does not allow it.
    #[error("it is a {0}, and can be read only once, at the start: use a regular file")]
    Stream(&'static str),
    /// Its other end says neither something nor that this was all.
    #[error("it is a {0}, and nothing came from it for {1:?}")]
    Silent(&'static str, Duration),
    /// It is longer than the caller allows.
    #[error("it has too many bytes")]
    TooLong,
}

/// Reads all of it, if it has no more than `longest` bytes.
pub fn read(path: &Path, longest: usize, accept: Accept) -> Result<Vec<u8>, TextError> {
    read_within(path, longest, accept, PATIENCE)
}

fn read_within(
    path: &Path,
    longest: usize,
    accept: Accept,
    patience: Duration,
) -> Result<Vec<u8>, TextError> {
    let kind = judge(fs::metadata(path)?.file_type(), accept)?;
    // A FIFO would be opened only when somebody writes to it.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let mut file = File::options()
        .read(true)
        .custom_flags(flags.bits())
        .open(path)?;
    let (mut text, mut part) = (Vec::new(), [0; 16 << 10]);
    loop {
        if !is_ready(&file, patience)? {
            return Err(TextError::Silent(kind, patience));
        }
        match file.read(&mut part) {
            Ok(0) => return Ok(text),
            Ok(more) if text.len() + more > longest => return Err(TextError::TooLong),
            Ok(more) => text.extend_from_slice(&part[..more]),
            Err(error) if is_passing(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// What it is called, if it can be read.
fn judge(kind: FileType, accept: Accept) -> Result<&'static str, TextError> {
    if kind.is_dir() {
        return Err(TextError::NoFile("directory"));
    }
    if kind.is_socket() {
        return Err(TextError::NoFile("socket"));
    }
    let name = match kind {
        kind if kind.is_file() => return Ok("file"),
        kind if kind.is_fifo() => "pipe",
        _ => "device",
    };
    match accept {
        Accept::Streams => Ok(name),
        Accept::Files => Err(TextError::Stream(name)),
    }
}

/// Whether a read would not wait. A FIFO that nobody has opened for writing yet
/// is not ready, although a read would find its end.
fn is_ready(file: &File, patience: Duration) -> io::Result<bool> {
    let patience = PollTimeout::try_from(patience).unwrap_or(PollTimeout::MAX);
    let mut fds = [PollFd::new(file.as_fd(), PollFlags::POLLIN)];
    match poll(&mut fds, patience) {
        Ok(ready) => Ok(ready > 0),
        Err(Errno::EINTR) => Ok(true),
        Err(errno) => Err(errno.into()),
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;
    use std::io::Write as _;
    use std::os::unix::net::UnixListener;
    use std::thread;

    const LONGEST: usize = 1 << 17;

    fn read(path: &Path, accept: Accept) -> Result<Vec<u8>, TextError> {
        read_within(path, LONGEST, accept, Duration::from_millis(100))
    }

    fn why(path: &Path, accept: Accept) -> String {
        read(path, accept).unwrap_err().to_string()
    }

    #[test]
    fn a_file_is_read_whole_up_to_its_limit() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        for length in [0, 1, LONGEST] {
            fs::write(&path, vec![7; length]).unwrap();
            for accept in [Accept::Files, Accept::Streams] {
                assert_eq!(read(&path, accept).unwrap(), vec![7; length]);
            }
        }
        fs::write(&path, vec![7; LONGEST + 1]).unwrap();
        let error = read(&path, Accept::Files).unwrap_err();
        assert!(matches!(error, TextError::TooLong), "{error}");
        fs::remove_file(&path).unwrap();
        assert_eq!(why(&path, Accept::Files), "No such file or directory");
    }

    /// It stood still here for as long as nobody wrote.
    #[test]
    fn a_fifo_that_nobody_writes_to_is_given_up() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        let silent = "it is a pipe, and nothing came from it for 100ms";
        assert_eq!(why(&path, Accept::Streams), silent);
        // Nor does one who has it open and says nothing help.
        let writer = File::options().read(true).write(true).open(&path).unwrap();
        assert_eq!(why(&path, Accept::Streams), silent);
        drop(writer);
        let once = "it is a pipe, and can be read only once, at the start: use a regular file";
        assert_eq!(why(&path, Accept::Files), once);
    }

    #[test]
    fn a_pipe_is_read_to_its_end_in_whatever_pieces_it_comes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fifo");
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        thread::scope(|scope| {
            // Opening it waits for who reads.
            scope.spawn(|| {
                let mut writer = File::options().write(true).open(&path).unwrap();
                for _ in 0..LONGEST / 1024 {
                    writer.write_all(&[7; 1024]).unwrap();
                }
            });
            let text = read_within(&path, LONGEST, Accept::Streams, PATIENCE);
            assert_eq!(text.unwrap(), vec![7; LONGEST]);
        });
    }

    #[test]
    fn a_device_has_an_end_or_too_many_bytes() {
        assert_eq!(read(Path::new("/dev/null"), Accept::Streams).unwrap(), b"");
        let zeroes = read(Path::new("/dev/zero"), Accept::Streams).unwrap_err();
        assert!(matches!(zeroes, TextError::TooLong), "{zeroes}");
        for path in ["/dev/null", "/dev/zero"] {
            let why = why(Path::new(path), Accept::Files);
            assert!(why.starts_with("it is a device, and can be read"), "{why}");
        }
    }

    #[test]
    fn what_is_never_a_text_is_called_by_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let _listener = UnixListener::bind(&path).unwrap();
        for accept in [Accept::Files, Accept::Streams] {
            assert_eq!(why(&path, accept), "it is a socket, not a file");
            let why = why(folder.path(), accept);
            assert_eq!(why, "it is a directory, not a file");
        }
    }
}
