//! Connections that primary workers want: they cannot make any themselves.
//! Looking a name up and connecting take their time, so each is done by a
//! thread, one for a resource at most.

use super::endpoint::look_up;
use super::waker::Waker;
use crate::config;
use crate::config::address::{Address, DEFAULT_PORT, TcpAddress};
use ggate::daemon;
use ggate::errno::words;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// The way to the other node of a resource.
#[derive(Clone, Debug)]
pub(super) struct Route {
    remote: Option<String>,
    source: Option<String>,
    /// Longest time to connect.
    pub(super) timeout: Duration,
}

/// A wish.
#[derive(Clone, Debug)]
struct Wish {
    /// The resource.
    unit: u64,
    /// The worker's number for it.
    attempt: u64,
    route: Route,
}

/// A wish that was fulfilled, or not.
#[derive(Debug)]
pub(super) struct Dialled {
    pub(super) unit: u64,
    pub(super) attempt: u64,
    pub(super) result: Result<OwnedFd, String>,
}

/// The threads that connect.
pub(super) struct Dialer {
    /// Resources for which a thread is at work, with what they want by now if
    /// that is something else.
    working: HashMap<u64, Option<Wish>>,
    sender: Sender<Dialled>,
    receiver: Receiver<Dialled>,
    waker: Waker,
}

impl Dialer {
    pub(super) fn new(waker: Waker) -> Self {
        let (sender, receiver) = channel();
        Self {
            working: HashMap::new(),
            sender,
            receiver,
            waker,
        }
    }

    /// Connects to the other node of a resource. A wish before this one is
    /// given up: its connection will be closed.
    pub(super) fn dial(&mut self, unit: u64, attempt: u64, config: &config::Resource) {
        let wish = Wish {
            unit,
            attempt,
            route: Route::new(config),
        };
        if let Some(next) = self.working.get_mut(&unit) {
            *next = Some(wish);
        } else {
            self.begin(wish);
        }
    }

    /// What has come of them.
    pub(super) fn dialled(&mut self) -> Vec<Dialled> {
        let all: Vec<Dialled> = self.receiver.try_iter().collect();
        let mut wanted = Vec::new();
        for dialled in all {
            match self.working.remove(&dialled.unit).flatten() {
                None => wanted.push(dialled),
                Some(next) => self.begin(next),
            }
        }
        wanted
    }

    fn begin(&mut self, wish: Wish) {
        self.working.insert(wish.unit, None);
        let (sender, waker, copy) = (self.sender.clone(), self.waker.clone(), wish.clone());
        let spawned = daemon::spawn("connect", move || {
            let result = wish.route.connect().map_err(|error| words(&error));
            // Nobody listens when the daemon ends.
            let _ = sender.send(wish.dialled(result));
            waker.wake();
        });
        if let Err(error) = spawned {
            let failed = copy.dialled(Err(format!("cannot start a thread: {}", words(&error))));
            let _ = self.sender.send(failed);
            self.waker.wake();
        }
    }
}

impl Wish {
    const fn dialled(&self, result: Result<OwnedFd, String>) -> Dialled {
        Dialled {
            unit: self.unit,
            attempt: self.attempt,
            result,
        }
    }
}

impl Route {
    pub(super) fn new(config: &config::Resource) -> Self {
        Self {
            remote: config.remote.clone(),
            source: config.source.clone(),
            timeout: config.settings.timeout,
        }
    }

    /// Whether there is another node.
    pub(super) const fn leads_somewhere(&self) -> bool {
        self.remote.is_some()
    }

    /// Connects; takes as long as the resolver and the other node do.
    pub(super) fn connect(&self) -> io::Result<OwnedFd> {
        let deadline = Instant::now() + self.timeout;
        let remote = self.remote.as_deref();
        let remote = remote.ok_or_else(|| io::Error::other("there is no other node"))?;
        match parse(remote)? {
            Address::Unix(path) => {
                let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
                socket.connect_timeout(&SockAddr::unix(path)?, self.timeout)?;
                Ok(socket.into())
            }
            Address::Tcp(host) => self.connect_to(&host, deadline),
        }
    }

    /// To the first of its addresses that answers.
    fn connect_to(&self, host: &TcpAddress, deadline: Instant) -> io::Result<OwnedFd> {
        let source = self.source_address()?;
        let mut last = None;
        for address in look_up(host, DEFAULT_PORT)? {
            if source.is_some_and(|source| source.is_ipv4() != address.is_ipv4()) {
                continue;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            match connect(address, source, left) {
                Ok(connection) => return Ok(connection),
                Err(error) => last = Some(error),
            }
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::TimedOut.into()))
    }

    fn source_address(&self) -> io::Result<Option<SocketAddr>> {
        let Some(source) = self.source.as_deref() else {
            return Ok(None);
        };
        match parse(source)? {
            Address::Tcp(host) => Ok(Some(host.resolve(0)?)),
            Address::Unix(_) => Err(io::Error::other(format!(
                "source {source}: only a TCP address can be connected from"
            ))),
        }
    }
}

fn parse(text: &str) -> io::Result<Address> {
    Address::parse(text).map_err(|error| io::Error::other(format!("{text}: {error}")))
}

fn connect(
    address: SocketAddr,
    source: Option<SocketAddr>,
    patience: Duration,
) -> io::Result<OwnedFd> {
    let domain = Domain::for_address(address);
    let socket = Socket::new(domain, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        socket.set_reuse_address(true)?;
        socket.bind(&source.into()).map_err(|error| {
            io::Error::new(error.kind(), format!("source {source}: {}", words(&error)))
        })?;
    }
    socket.connect_timeout(&address.into(), patience)?;
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::waker::Bell;
    use std::net::TcpListener;
    use testkit::process::wait_for;

    fn config(remote: &str) -> config::Resource {
        let mut config = crate::daemon::resource::tests::config();
        config.remote = Some(remote.into());
        config
    }

    fn dialer() -> (Dialer, Bell) {
        let (bell, waker) = Bell::new().unwrap();
        (Dialer::new(waker), bell)
    }

    fn wait(dialer: &mut Dialer) -> Dialled {
        wait_for("an answer", || dialer.dialled().pop())
    }

    #[test]
    fn a_connection_is_made_from_the_source_to_the_remote() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut config = config(&listener.local_addr().unwrap().to_string());
        config.source = Some("tcp4://127.0.0.2".into());
        let (mut dialer, _bell) = dialer();
        dialer.dial(7, 1, &config);
        let dialled = wait(&mut dialer);
        assert_eq!((dialled.unit, dialled.attempt), (7, 1));
        dialled.result.unwrap();
        let (_, from) = listener.accept().unwrap();
        assert_eq!(from.ip().to_string(), "127.0.0.2");
    }

    #[test]
    fn why_there_is_none_is_told() {
        let (mut dialer, _bell) = dialer();
        for (remote, source, reason) in [
            ("tcp4://127.0.0.1:1", None, "refused"),
            ("no-such-host.invalid", None, "no-such-host.invalid"),
            (
                "127.0.0.1",
                Some("tcp4://192.0.2.1"),
                "source 192.0.2.1:0: ",
            ),
            ("/no/such/socket", None, "No such file"),
            ("tcp://", None, "the host is missing"),
        ] {
            let mut config = config(remote);
            config.source = source.map(Into::into);
            dialer.dial(1, 1, &config);
            let error = wait(&mut dialer).result.unwrap_err();
            assert!(error.contains(reason), "{remote}: {error}");
        }
    }

    /// A worker that asks again has given the attempt before up: only the last
    /// one's connection reaches it, and threads do not pile up.
    #[test]
    fn only_the_last_wish_is_fulfilled() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = config(&listener.local_addr().unwrap().to_string());
        let (mut dialer, _bell) = dialer();
        for attempt in 1..100 {
            dialer.dial(7, attempt, &config);
        }
        assert_eq!(dialer.working.len(), 1);
        assert_eq!(wait(&mut dialer).attempt, 99);
        assert!(dialer.working.is_empty());
        listener.set_nonblocking(true).unwrap();
        assert_eq!(listener.incoming().map_while(Result::ok).count(), 2);
    }
}
