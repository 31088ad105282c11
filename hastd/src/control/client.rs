//! hastctl's side of the control protocol: one connection, one question, one
//! answer. Facts: spec/hast-wire.md section 10, hast-behaviour.md 11.5.
//!
//! The daemon is believed to be what it says, since only root can be it; its
//! answer is bounded and checked all the same, as what it says it may have
//! from elsewhere.

use ggate::errno::words;
use hast_core::errno::Errno;
use hast_core::frame::{CONTROL_LIMIT, CONTROL_REQUEST_LIMIT, Decoder, Event, FrameError, HEADER};
use hast_core::message::{Command, ControlCode, ControlReply, ControlRequest, MessageError};
use hast_core::nv::{Full, Text};
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Longest time for an answer to a question: the daemon asks a worker, or the
/// other node, and gives them up long before.
const ANSWER: Duration = Duration::from_secs(60);

/// Whoever waits wants to know what for after this time.
const SILENCE: Duration = Duration::from_secs(10);

/// Bytes taken from the socket at once.
const READ: usize = 16 << 10;

/// A connection to hastd.
#[derive(Debug)]
pub(crate) struct Client {
    stream: UnixStream,
    path: PathBuf,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ClientError {
    /// There is no connection.
    #[error("Unable to connect to hastd via uds://{}: {}. {}", path.display(), words(error), advice(error))]
    Connect {
        /// The control socket.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The question does not fit a message.
    #[error("Too many resources for one command.")]
    TooLong,
    /// Sending or receiving failed.
    #[error("Lost hastd via uds://{} while {step}: {}.", path.display(), words(error))]
    Lost {
        /// The control socket.
        path: PathBuf,
        /// Doing what.
        step: &'static str,
        /// Why.
        error: io::Error,
    },
    /// The daemon ended the connection.
    #[error("hastd closed uds://{} without an answer; its log says why.", .0.display())]
    Closed(PathBuf),
    /// The daemon says nothing.
    #[error("No answer from hastd via uds://{} within {} seconds.", path.display(), ANSWER.as_secs())]
    Silent {
        /// The control socket.
        path: PathBuf,
    },
    /// The answer is no message.
    #[error("The answer from hastd via uds://{} cannot be understood: {error}.", path.display())]
    Frame {
        /// The control socket.
        path: PathBuf,
        /// Why.
        error: FrameError,
    },
    /// The message is no answer.
    #[error("The answer from hastd cannot be understood: {0}.")]
    Message(#[from] MessageError),
}

impl ClientError {
    /// Base's exit status.
    #[must_use]
    pub(crate) const fn exit_code(&self) -> u8 {
        match self {
            Self::Connect { .. } => 71,
            _ => 69,
        }
    }
}

fn advice(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::NotFound => {
            "Does hastd run, and with this configuration? Start it, or name its configuration with -c."
        }
        io::ErrorKind::ConnectionRefused => {
            "The socket is left over from a hastd that was killed: start it again."
        }
        io::ErrorKind::PermissionDenied => {
            "Run hastctl as root, or see `controlmode` in the configuration's .ext file."
        }
        io::ErrorKind::WouldBlock => "hastd takes no connections; is the process stopped?",
        _ => "Is `control` in the configuration the socket of hastd?",
    }
}

/// An answer, as it came.
#[derive(Debug)]
pub(crate) struct Answer {
    entries: Vec<u8>,
}

impl Answer {
    /// What it says.
    pub(crate) fn read(&self) -> Result<ControlReply<'_>, ClientError> {
        Ok(ControlReply::decode(&self.entries)?)
    }
}

impl Client {
    /// Connects to the daemon whose control socket this is.
    pub(crate) fn connect(path: &Path) -> Result<Self, ClientError> {
        match connect(path) {
            Ok(stream) => Ok(Self {
                stream,
                path: path.to_owned(),
            }),
            Err(error) => Err(ClientError::Connect {
                path: path.to_owned(),
                error,
            }),
        }
    }

    /// Asks and waits for the answer. `waiting` is called once if that takes
    /// long.
    pub(crate) fn ask(
        mut self,
        request: &ControlRequest<'_>,
        waiting: impl FnOnce(),
    ) -> Result<Answer, ClientError> {
        let message = encode(request)?;
        let sent = self.stream.write_all(&message);
        sent.map_err(|error| self.lost("asking", error))?;
        let begin = Instant::now();
        let mut waiting = Some(waiting);
        let mut decoder = Decoder::new(CONTROL_LIMIT);
        let mut buffer = [0; READ];
        loop {
            let left = patience(request.command).map(|p| p.saturating_sub(begin.elapsed()));
            if left == Some(Duration::ZERO) {
                return Err(ClientError::Silent { path: self.path });
            }
            let Some(count) = self.read(&mut buffer, left)? else {
                if begin.elapsed() >= SILENCE
                    && let Some(waiting) = waiting.take()
                {
                    waiting();
                }
                continue;
            };
            let mut input = &buffer[..count];
            while !input.is_empty() {
                let (taken, event) = decoder.next(input).map_err(|error| ClientError::Frame {
                    path: self.path.clone(),
                    error,
                })?;
                if let Some(Event::Message(entries)) = event {
                    return Ok(Answer {
                        entries: entries.to_vec(),
                    });
                }
                input = &input[taken..];
            }
        }
    }

    /// Some bytes; none if there were none for a while.
    fn read(
        &mut self,
        buffer: &mut [u8],
        left: Option<Duration>,
    ) -> Result<Option<usize>, ClientError> {
        let timeout = left.map_or(SILENCE, |left| left.min(SILENCE));
        let read = self.stream.set_read_timeout(Some(timeout));
        match read.and_then(|()| self.stream.read(buffer)) {
            Ok(0) => Err(ClientError::Closed(self.path.clone())),
            Ok(count) => Ok(Some(count)),
            Err(error) if is_timeout(&error) => Ok(None),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                Err(ClientError::Closed(self.path.clone()))
            }
            Err(error) => Err(self.lost("waiting for the answer", error)),
        }
    }

    fn lost(&self, step: &'static str, error: io::Error) -> ClientError {
        ClientError::Lost {
            path: self.path.clone(),
            step,
            error,
        }
    }
}

/// Like [`UnixStream::connect`], but on Linux that waits for a daemon that does
/// not accept.
fn connect(path: &Path) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_write_timeout(Some(ANSWER))?;
    socket.connect(&SockAddr::unix(path)?)?;
    Ok(OwnedFd::from(socket).into())
}

/// A change of role lasts as long as finishing what is under way does; that is
/// the daemon's to bound. Nobody is helped by not knowing how it ended.
const fn patience(command: Command) -> Option<Duration> {
    match command {
        Command::SetRole(_) | Command::Resolve => None,
        Command::Status | Command::Stop | Command::Check => Some(ANSWER),
    }
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut | io::ErrorKind::Interrupted
    )
}

fn encode(request: &ControlRequest<'_>) -> Result<Vec<u8>, ClientError> {
    let longest = usize::try_from(CONTROL_REQUEST_LIMIT).map_or(usize::MAX, |n| n + HEADER);
    let mut buffer = Vec::new();
    loop {
        match request.encode(&mut buffer) {
            Ok(length) => {
                buffer.truncate(length);
                return Ok(buffer);
            }
            Err(Full { needed }) if needed <= longest => buffer.resize(needed, 0),
            Err(_) => return Err(ClientError::TooLong),
        }
    }
}

/// What a code of the daemon's means; its own words if it sent some.
#[must_use]
pub(crate) fn explain(code: ControlCode, reason: Option<Text<'_>>) -> String {
    if let Some(reason) = reason {
        return reason.to_string();
    }
    match code {
        ControlCode::NO_RESOURCE => {
            "there is no such resource; if it was added to the configuration lately, hastd needs a reload (SIGHUP)"
                .into()
        }
        ControlCode::INVALID => "hastd finds that the command makes no sense".into(),
        ControlCode::NO_MEMORY => "hastd has no memory".into(),
        ControlCode::UNKNOWN_COMMAND => "this hastd does not know the command".into(),
        // As base does, which sends error numbers, too.
        ControlCode(code) => match u16::try_from(code).ok().and_then(Errno::new) {
            Some(errno) => errno.to_string(),
            None => format!("error {code}"),
        },
    }
}

#[cfg(test)]
mod tests;
