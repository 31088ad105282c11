//! What processes ask each other about a gate, over its control socket.
//!
//! One line each way, then the connection ends:
//!
//! | asked            | done                                                 |
//! |------------------|------------------------------------------------------|
//! | `destroy`        | DESTROY; refused with EBUSY while the gate is open   |
//! | `destroy force`  | DESTROY with force                                   |
//! | `step down`      | stops serving; the record stays for who asked        |
//! | `state`          | nothing                                              |
//!
//! Answers are `ok QUEUE-COUNT REFERENCES MODE` and `error ERRNO`. Who changes
//! something holds the run directory's lock, so whoever answers must not take it.

use super::gate::{End, Gate};
use super::house::Host;
use crate::gate::Unit;
use crate::gate::list::Mode;
use nix::errno::Errno;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Longest line: three numbers and a mode fit four times.
const MAX_LINE: u64 = 256;

/// How long the one who asks may take to say what: it is one short line.
const ASK_TIME: Duration = Duration::from_secs(5);

/// How long an answer may take: a gate ends as soon as its threads have left
/// START and DONE, which wait for nobody.
const ANSWER_TIME: Duration = Duration::from_secs(30);

/// What can be asked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Ask {
    Destroy { force: bool },
    StepDown,
    State,
}

/// What a serving process knows of its gate.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) struct State {
    pub(super) queue_count: u32,
    pub(super) references: u32,
    pub(super) mode: Mode,
}

impl State {
    pub(super) fn of(gate: &Gate) -> Self {
        Self {
            queue_count: gate.queue_count(),
            references: gate.references(),
            mode: gate.mode(),
        }
    }
}

impl Ask {
    const ALL: [(Self, &str); 4] = [
        (Self::Destroy { force: false }, "destroy"),
        (Self::Destroy { force: true }, "destroy force"),
        (Self::StepDown, "step down"),
        (Self::State, "state"),
    ];

    fn text(self) -> &'static str {
        let found = Self::ALL.iter().find(|(ask, _)| *ask == self);
        found.map_or("", |(_, text)| text)
    }

    fn parse(line: &str) -> Option<Self> {
        let found = Self::ALL.iter().find(|(_, text)| *text == line);
        found.map(|(ask, _)| *ask)
    }
}

/// How often a question whose connection ended without an answer is asked
/// again.
const ATTEMPTS: u32 = 3;

/// Asks the process that serves a gate. `None` when there is none, which only
/// a refused connection proves. EBUSY when there is one that hangs up.
pub(super) fn ask(path: &Path, ask: Ask) -> nix::Result<Option<State>> {
    for _ in 0..ATTEMPTS {
        match ask_once(path, ask) {
            // It died while we asked, or had no thread for us.
            Err(Errno::ECONNRESET) => {}
            result => return result,
        }
    }
    Err(Errno::EBUSY)
}

/// ECONNRESET when the connection ended without an answer.
fn ask_once(path: &Path, ask: Ask) -> nix::Result<Option<State>> {
    let mut stream = match UnixStream::connect(path) {
        Ok(stream) => stream,
        Err(error) => {
            return match error.kind() {
                io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Ok(None),
                _ => Err(super::rundir::errno(error)),
            };
        }
    };
    let exchange = |stream: &mut UnixStream| {
        stream.set_read_timeout(Some(ANSWER_TIME))?;
        stream.set_write_timeout(Some(ASK_TIME))?;
        stream.write_all(format!("{}\n", ask.text()).as_bytes())?;
        read_line(stream)
    };
    match exchange(&mut stream) {
        Ok(line) => parse_answer(&line).unwrap_or(Err(Errno::EIO)).map(Some),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::UnexpectedEof
                    | io::ErrorKind::ConnectionReset
                    | io::ErrorKind::BrokenPipe
            ) =>
        {
            Err(Errno::ECONNRESET)
        }
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => Err(Errno::ETIMEDOUT),
        Err(error) => Err(super::rundir::errno(error)),
    }
}

/// One whole line, without its end.
fn read_line(stream: impl Read) -> io::Result<String> {
    let mut line = String::new();
    BufReader::new(stream.take(MAX_LINE)).read_line(&mut line)?;
    match line.strip_suffix('\n') {
        Some(line) => Ok(line.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Whether a line is a question or an answer.
pub(super) fn is_intelligible(line: &str) -> bool {
    Ask::parse(line).is_some() || parse_answer(line).is_some()
}

fn parse_answer(line: &str) -> Option<nix::Result<State>> {
    let mut words = line.split(' ');
    let answer = match words.next()? {
        "ok" => Ok(State {
            queue_count: words.next()?.parse().ok()?,
            references: words.next()?.parse().ok()?,
            mode: words.next()?.parse().ok()?,
        }),
        "error" => Err(Errno::from_raw(words.next()?.parse().ok()?)),
        _ => return None,
    };
    words.next().is_none().then_some(answer)
}

/// Answers one process.
pub(super) fn answer(host: &Host, unit: Unit, mut stream: &UnixStream) {
    if stream.set_nonblocking(false).is_err()
        || stream.set_read_timeout(Some(ASK_TIME)).is_err()
        || stream.set_write_timeout(Some(ASK_TIME)).is_err()
    {
        return;
    }
    let Ok(line) = read_line(stream) else {
        return;
    };
    let answer = match Ask::parse(&line)
        .ok_or(Errno::EINVAL)
        .and_then(|ask| perform(host, unit, ask))
    {
        Ok(State {
            queue_count,
            references,
            mode,
        }) => format!("ok {queue_count} {references} {mode}\n"),
        Err(errno) => format!("error {}\n", errno as i32),
    };
    // Who asked may have gone.
    let _ = stream.write_all(answer.as_bytes());
}

fn perform(host: &Host, unit: Unit, ask: Ask) -> nix::Result<State> {
    match ask {
        Ask::State => {
            let gate = host.gate(unit).ok_or(Errno::ENXIO)?;
            Ok(State::of(&gate))
        }
        Ask::Destroy { force } => {
            let gate = host.take(unit, |gate| may_end(gate, force))?;
            gate.end(End::Destroyed);
            host.rundir.remove(unit, Some(&gate.properties.name))?;
            Ok(State::default())
        }
        Ask::StepDown => {
            let gate = host.take(unit, |_| Ok(()))?;
            gate.end(End::SteppedDown);
            Ok(State::default())
        }
    }
}

/// DESTROY without force must not meet an open gate.
pub(super) fn may_end(gate: &Gate, force: bool) -> nix::Result<()> {
    if !force && gate.is_open() {
        return Err(Errno::EBUSY);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_read_as_they_were_written() {
        let state = State {
            queue_count: 3,
            references: 2,
            mode: Mode {
                read: 1,
                write: 1,
                exclusive: 0,
            },
        };
        assert_eq!(parse_answer("ok 3 2 r1w1e0"), Some(Ok(state)));
        assert_eq!(parse_answer("error 16"), Some(Err(Errno::EBUSY)));
        for bad in [
            "",
            "ok",
            "ok 1 2",
            "ok 1 2 r1w1e0 x",
            "error",
            "error x",
            "yes",
        ] {
            assert_eq!(parse_answer(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_line_without_end_is_none() {
        let endless = io::repeat(b'x');
        assert!(read_line(endless).is_err());
        assert_eq!(read_line(&b"state\n"[..]).unwrap(), "state");
    }
}
