//! Those who connect to us: strangers until their first message is there, and
//! primaries between the two steps of the handshake.
//! Facts: spec/hast-wire.md section 4.
//!
//! A stranger has one message and 20 seconds; there are not many of them, and
//! when there are too many the oldest goes. Nothing that a worker has is
//! touched before the second step: who only knows a resource's name ends no
//! connection of it.

use super::limit::{self, Limit};
use super::poll::{Interests, Source};
use crate::inbox::{Inbox, InboxError};
use crate::log::{self, Level};
use ggate::crowd::{Crowd, Id};
use hast_core::frame::NODE_LIMIT;
use hast_core::message::{Extensions, Step1Reply};
use hast_core::nv::Text;
use hast_core::role::Role;
use hast_core::units::{Token, Version};
use nix::poll::PollFlags;
use socket2::Socket;
use std::fmt::{self, Display};
use std::io::{self, Write as _};
use std::net::{IpAddr, Ipv6Addr, Shutdown, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

/// Time for a step of the handshake, as in base.
pub(super) const PATIENCE: Duration = Duration::from_secs(20);

/// Strangers at once: a handshake takes milliseconds, and a node has as many
/// as resources when all of them connect again.
const MOST_STRANGERS: usize = 256;

/// Strangers from one address. The other node has one for each resource.
const MOST_OF_ONE: usize = 128;

/// Room for the longest answer, which has a role in it.
const LONGEST_ANSWER: usize = 1024;

/// The other end of a connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Origin {
    /// Over TCP.
    Tcp(SocketAddr),
    /// Over a UNIX socket: whoever may open the file.
    Unix,
}

impl Origin {
    /// Whose share it counts to.
    fn share(self) -> IpAddr {
        match self {
            Self::Tcp(address) => address.ip(),
            Self::Unix => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// Whether both are the same machine.
    pub(super) fn is_machine_of(self, other: Self) -> bool {
        self.share().to_canonical() == other.share().to_canonical()
    }
}

impl Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "tcp://{address}"),
            Self::Unix => f.write_str("uds://"),
        }
    }
}

/// Somebody who has not said what he wants.
#[derive(Debug)]
pub(super) struct Stranger {
    pub(super) socket: Socket,
    pub(super) origin: Origin,
    inbox: Inbox,
}

/// All of them.
pub(super) struct Strangers {
    crowd: Crowd<Stranger>,
    pub(super) complaints: Limit,
}

impl Strangers {
    pub(super) fn new() -> Self {
        Self {
            crowd: Crowd::new(MOST_STRANGERS, MOST_OF_ONE),
            complaints: Limit::new(limit::STRANGERS),
        }
    }

    pub(super) fn interests<'fd>(&'fd self, interests: &mut Interests<'fd>) {
        for (id, stranger) in self.crowd.iter() {
            interests.add(
                Source::Stranger(id),
                stranger.socket.as_fd(),
                PollFlags::POLLIN,
            );
        }
        interests.until(self.crowd.oldest().map(|since| since + PATIENCE));
    }

    pub(super) fn count(&self) -> usize {
        self.crowd.len()
    }

    /// Lets one in.
    pub(super) fn insert(&mut self, socket: Socket, origin: Origin, now: Instant) {
        let stranger = Stranger {
            socket,
            origin,
            inbox: Inbox::new(NODE_LIMIT),
        };
        let (_, evicted) = self.crowd.insert(origin.share(), now, stranger);
        if let Some(evicted) = evicted {
            self.complaints.log(
                Level::Warning,
                format_args!("{}: closed to make room for others.", evicted.origin),
            );
        }
    }

    /// Reads what one says. Who has sent his whole message is no stranger any
    /// more; gives its entries.
    pub(super) fn ready(&mut self, id: Id) -> Option<(Visitor, Vec<u8>)> {
        let stranger = self.crowd.get_mut(id)?;
        let message = match stranger.inbox.read(&stranger.socket) {
            Ok(None) => return None,
            Ok(Some(message)) => Ok(message),
            Err(error) => Err(error),
        };
        let Stranger { socket, origin, .. } = self.crowd.remove(id)?;
        match message {
            Ok(message) => return Some((Visitor { socket, origin }, message)),
            Err(InboxError::Closed) => log::debug!(1, "{origin}: closed without a word."),
            Err(error) => {
                let line = format_args!("{origin}: receiving the first message: {error}.");
                self.complaints.log(Level::Error, line);
            }
        }
        None
    }

    /// Those who were silent for too long go.
    pub(super) fn expire(&mut self, now: Instant) {
        for silent in self.crowd.expire(now, PATIENCE) {
            self.complaints.log(
                Level::Warning,
                format_args!(
                    "{}: closed, no whole message within {} s.",
                    silent.origin,
                    PATIENCE.as_secs()
                ),
            );
        }
    }
}

/// Somebody who has said what he wants.
#[derive(Debug)]
pub(super) struct Visitor {
    pub(super) socket: Socket,
    pub(super) origin: Origin,
}

impl Visitor {
    /// Says no, and why.
    pub(super) fn refuse(&self, reason: &str, wait: bool) {
        refuse(&self.socket, reason, wait);
    }
}

/// A primary whose first step was accepted: connection A.
#[derive(Debug)]
pub(super) struct Caller {
    pub(super) socket: Socket,
    pub(super) origin: Origin,
    token: Token,
    /// That of the attempt before, which is not at fault when it comes late.
    superseded: Option<Token>,
    pub(super) version: Version,
    pub(super) extensions: Extensions,
    deadline: Instant,
}

/// What a token says about who shows it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Shown {
    /// He is the caller.
    Valid,
    /// He was, in an attempt that he has given up.
    Superseded,
    /// Anybody.
    Wrong,
}

impl Caller {
    /// Accepts the first step with a fresh token. The caller before, if there
    /// was one, is given up.
    pub(super) fn accept(
        visitor: Visitor,
        version: Version,
        extensions: Extensions,
        before: Option<&Self>,
        now: Instant,
    ) -> io::Result<Self> {
        let mut token = [0; Token::LEN];
        getrandom::fill(&mut token).map_err(io::Error::other)?;
        let caller = Self {
            socket: visitor.socket,
            origin: visitor.origin,
            token: Token(token),
            superseded: before.map(|before| before.token),
            version,
            extensions,
            deadline: now + PATIENCE,
        };
        let reply = Step1Reply::Accepted {
            version,
            token: caller.token,
            extensions,
        };
        say(&caller.socket, &reply)?;
        Ok(caller)
    }

    pub(super) fn look_at(&self, token: &Token) -> Shown {
        let superseded = self.superseded.as_ref();
        if is_same(&self.token, token) {
            Shown::Valid
        } else if superseded.is_some_and(|superseded| is_same(superseded, token)) {
            Shown::Superseded
        } else {
            Shown::Wrong
        }
    }

    /// Says no where a primary listens between the steps.
    pub(super) fn refuse(&self, reason: &str, wait: bool) {
        refuse(&self.socket, reason, wait);
    }

    /// The role is another one now.
    pub(super) fn refuse_for_role(&self, role: Role) {
        self.refuse(&wrong_role(role), role == Role::Primary);
    }

    pub(super) const fn due(&self) -> Instant {
        self.deadline
    }
}

impl AsFd for Caller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What base's daemon says to a primary that it cannot serve.
pub(super) fn wrong_role(role: Role) -> String {
    format!("Remote node acts as {role} for the resource and not as secondary.")
}

/// Takes the same time wherever they differ.
fn is_same(ours: &Token, theirs: &Token) -> bool {
    let different = ours.0.iter().zip(&theirs.0);
    different.fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

fn refuse(socket: &Socket, reason: &str, wait: bool) {
    let reason = Text::from(reason);
    // Who does not take it will see the connection closed.
    let _ = say(socket, &Step1Reply::Refused { reason, wait });
    let _ = socket.shutdown(Shutdown::Write);
}

/// What is said in a handshake fits into any socket's buffer.
fn say(mut socket: &Socket, reply: &Step1Reply<'_>) -> io::Result<()> {
    let mut room = [0; LONGEST_ANSWER];
    let length = reply.encode(&mut room).map_err(io::Error::other)?;
    socket.write_all(&room[..length])
}

/// For a worker, which waits where we do not.
pub(super) fn hand_over(socket: Socket) -> io::Result<OwnedFd> {
    socket.set_nonblocking(false)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::{Domain, Type};
    use std::io::Read as _;
    use std::os::unix::net::UnixStream;

    fn visitor() -> (Visitor, UnixStream) {
        let (ours, theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
        let visitor = Visitor {
            socket: ours,
            origin: Origin::Unix,
        };
        (visitor, UnixStream::from(OwnedFd::from(theirs)))
    }

    fn call(before: Option<&Caller>) -> (Caller, Token) {
        let (visitor, mut theirs) = visitor();
        let now = Instant::now();
        let caller = Caller::accept(visitor, Version::V2, Extensions::NONE, before, now).unwrap();
        let mut buffer = [0; 256];
        let length = theirs.read(&mut buffer).unwrap();
        let Ok(Step1Reply::Accepted { token, .. }) = Step1Reply::decode(&buffer[5..length]) else {
            panic!("accepted");
        };
        (caller, token)
    }

    #[test]
    fn only_the_token_of_the_last_first_step_counts() {
        let (first, old) = call(None);
        assert_eq!(first.look_at(&old), Shown::Valid);
        // K41.
        assert_eq!(first.look_at(&Token([0; Token::LEN])), Shown::Wrong);
        let (second, new) = call(Some(&first));
        assert_ne!(old, new);
        assert_eq!(second.look_at(&new), Shown::Valid);
        assert_eq!(second.look_at(&old), Shown::Superseded);
        for byte in 0..Token::LEN {
            let mut wrong = new;
            wrong.0[byte] ^= 1;
            assert_eq!(second.look_at(&wrong), Shown::Wrong);
        }
    }

    #[test]
    fn a_refusal_is_base_s() {
        let (visitor, mut theirs) = visitor();
        visitor.refuse(&wrong_role(Role::Init), false);
        let mut said = Vec::new();
        theirs.read_to_end(&mut said).unwrap();
        let captured =
            include_bytes!("../../../tests/vectors/hast/remote-not-secondary/tcp-a2b/01.s2c.bin");
        // Base's padding is whatever its memory held.
        assert_eq!((said.len(), &said[..5]), (captured.len(), &captured[..5]));
        assert_eq!(
            Step1Reply::decode(&said[5..]).unwrap(),
            Step1Reply::decode(&captured[5..]).unwrap()
        );
    }

    #[test]
    fn the_silent_and_the_babbling_go() {
        let mut strangers = Strangers::new();
        let begin = Instant::now();
        let (silent, _silent) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
        strangers.insert(silent, Origin::Unix, begin);
        let (babbling, theirs) = Socket::pair(Domain::UNIX, Type::STREAM, None).unwrap();
        babbling.set_nonblocking(true).unwrap();
        strangers.insert(babbling, Origin::Unix, begin + PATIENCE);
        (&theirs).write_all(&[0xff; 100]).unwrap();
        strangers.expire(begin + PATIENCE);
        assert_eq!(strangers.crowd.len(), 1);
        let id = strangers.crowd.iter().next().unwrap().0;
        assert!(strangers.ready(id).is_none());
        assert!(strangers.crowd.is_empty());
        assert!(matches!((&theirs).read(&mut [0; 1]), Ok(0) | Err(_)));
    }
}
