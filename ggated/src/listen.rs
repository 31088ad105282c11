//! Listening sockets and the thread that accepts.

use crate::handshake;
use crate::options::Options;
use crate::server::Server;
use ggate::daemon;
use ggate::errno::words;
use ggate::log;
use ggate::net::TcpOptions;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io::{self, PipeReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Connections the system keeps until they are accepted. Base has 5, which a
/// handful of clients that come back at once overrun.
const BACKLOG: i32 = 128;

/// Threads for handshakes. Those of evicted connections end soon, unless they
/// are opening a medium; this bounds them if they do not.
const MAX_THREADS: usize = 512;

/// Pause after a failed accept: descriptors are short, say.
const PAUSE: Duration = Duration::from_millis(100);

/// How often half-open sessions are looked through.
const EXPIRE_INTERVAL: u16 = 1000;

/// Binds where the options say: on one address, or on all, IPv4 and, where the
/// system has it, IPv6.
pub(crate) fn bind(options: &Options) -> io::Result<Vec<TcpListener>> {
    if let Some(address) = options.address {
        return Ok(vec![bind_one(address, options.port, &options.tcp)?]);
    }
    let v4 = bind_one(Ipv4Addr::UNSPECIFIED.into(), options.port, &options.tcp)?;
    // With port 0, the one the system chose.
    let port = v4.local_addr()?.port();
    match bind_one(Ipv6Addr::UNSPECIFIED.into(), port, &options.tcp) {
        Ok(v6) => Ok(vec![v4, v6]),
        Err(error) => {
            log::debug!("No IPv6: {}.", words(&error));
            Ok(vec![v4])
        }
    }
}

fn bind_one(address: IpAddr, port: u16, tcp: &TcpOptions) -> io::Result<TcpListener> {
    let address = SocketAddr::new(address, port);
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        // The other socket has IPv4.
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    tcp.prepare(&socket)?;
    tcp.warn_if_clamped(&SockRef::from(&socket));
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Accepts until something can be read from `stop`.
pub fn accept_until(server: &Arc<Server>, listeners: &[TcpListener], stop: &PipeReader) {
    let threads = Arc::new(AtomicUsize::new(0));
    let stopping = PollFd::new(stop.as_fd(), PollFlags::POLLIN);
    let mut fds = vec![stopping];
    fds.extend(
        listeners
            .iter()
            .map(|l| PollFd::new(l.as_fd(), PollFlags::POLLIN)),
    );
    loop {
        let timeout = if server.expects_somebody() {
            PollTimeout::from(EXPIRE_INTERVAL)
        } else {
            PollTimeout::NONE
        };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(error) => {
                log::error!("poll(): {}.", error.desc());
                return;
            }
        }
        let is_ready = |fd: &PollFd<'_>| fd.any().unwrap_or(false);
        if is_ready(&fds[0]) {
            return;
        }
        server.expire(Instant::now());
        for (listener, _) in listeners
            .iter()
            .zip(&fds[1..])
            .filter(|(_, fd)| is_ready(fd))
        {
            accept(server, listener, &threads);
        }
    }
}

fn accept(server: &Arc<Server>, listener: &TcpListener, threads: &Arc<AtomicUsize>) {
    let (stream, address) = match listener.accept() {
        Ok((stream, address)) => (stream, address.ip().to_canonical()),
        Err(error) => {
            if !is_passing(&error) {
                log::error!("accept(): {}.", words(&error));
                std::thread::sleep(PAUSE);
            }
            return;
        }
    };
    log::info!("Connection from: {address}.");
    if let Err(error) = introduce(server, stream, address, threads) {
        log::warning!("{address}: dropped: {}.", words(&error));
    }
}

/// Gives the connection a thread for its handshake.
fn introduce(
    server: &Arc<Server>,
    stream: TcpStream,
    address: IpAddr,
    threads: &Arc<AtomicUsize>,
) -> io::Result<()> {
    if threads.load(Ordering::Relaxed) >= MAX_THREADS {
        return Err(io::Error::other("too many handshakes"));
    }
    // On FreeBSD the listening socket hands this down.
    stream.set_nonblocking(false)?;
    server.tcp.tune(&SockRef::from(&stream))?;
    let stream = Arc::new(stream);
    let (id, evicted) =
        server
            .strangers
            .lock()
            .insert(address, Instant::now(), Arc::clone(&stream));
    if let Some(evicted) = evicted {
        log::debug!("A handshake had to make room for another one.");
        // It may be closed already.
        let _ = evicted.shutdown(Shutdown::Both);
    }
    threads.fetch_add(1, Ordering::Relaxed);
    let (owned, counter) = (Arc::clone(server), Arc::clone(threads));
    let spawned = daemon::spawn("handshake", move || {
        handshake::serve(&owned, &stream, address);
        owned.strangers.lock().remove(id);
        counter.fetch_sub(1, Ordering::Relaxed);
    });
    if let Err(error) = spawned {
        threads.fetch_sub(1, Ordering::Relaxed);
        server.strangers.lock().remove(id);
        return Err(error);
    }
    Ok(())
}

/// Whether accept failed because of the connection, not because of us.
fn is_passing(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, Interrupted, WouldBlock};
    matches!(error.kind(), WouldBlock | ConnectionAborted | Interrupted)
}
