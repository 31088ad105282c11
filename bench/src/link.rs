//! Writes and synchronisation over a long link: a proxy that holds everything
//! back for half a round trip, each way, and carries 10 Gbit/s.
//!
//! What the link can do is measured through the same proxy in the same round: a
//! byte that is sent back, and a stream that is sent as fast as it goes. With 32
//! writes in flight no system completes more than 32 in a round trip. Processor
//! time is that of the daemons, not of the proxy.

use crate::Options;
use crate::figures::{Bound, Figures, Goal};
use crate::limits::mb_per_second;
use crate::resync::{Bench, RANDOM};
use crate::rows::{Row, row};
use crate::sample::Sample;
use crate::systems;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};
use testkit::proxy::{Direction, Proxy};

/// Bytes a second of the link: 10 Gbit/s.
const RATE: u32 = 1_250_000_000;

/// Writes in flight.
const DEPTH: u32 = 32;

const WRITES: Row = row("link", "randwrite", 4 << 10, DEPTH, &[]);

/// MiB that are synchronised and streamed, and with `--quick`.
const SIZE: u32 = 2048;
const QUICK_SIZE: u32 = 128;

/// Bytes of one call to send or receive a stream.
const PIECE: usize = 1 << 20;

/// Bytes that are sent back to measure a round trip: the median counts.
const PINGS: usize = 21;

/// How far the nodes are from one another: what figures begin with, and the
/// round trip.
const DISTANCES: [(&str, Duration); 2] = [
    ("1 ms", Duration::from_millis(1)),
    ("20 ms", Duration::from_millis(20)),
];

const fn goal(figure: &'static str, by: &'static str, least: f64) -> Goal {
    Goal {
        figure,
        by: Some(by),
        bound: Bound::Least(least),
    }
}

pub(crate) const GOALS: [Goal; 8] = [
    goal("1 ms: ggate", "1 ms: 32 / round trip", 0.9),
    goal("1 ms: fullsync", "1 ms: 32 / round trip", 0.9),
    goal("1 ms: memsync", "1 ms: 32 / round trip", 0.9),
    goal("1 ms: resync", "1 ms: TCP stream", 0.8),
    goal("20 ms: ggate", "20 ms: 32 / round trip", 0.9),
    goal("20 ms: fullsync", "20 ms: 32 / round trip", 0.9),
    goal("20 ms: memsync", "20 ms: 32 / round trip", 0.9),
    goal("20 ms: resync", "20 ms: TCP stream", 0.8),
];

/// All of it, by round.
pub(crate) fn measure(options: &Options) -> Figures {
    let systems = systems::over_a_link();
    let size = if options.quick { QUICK_SIZE } else { SIZE };
    let mut lagging = Bench::new(size, true);
    // The first has to allocate the files.
    lagging.resync(&RANDOM);
    let mut figures = Figures::default();
    for _ in 0..options.runs {
        for (distance, trip) in DISTANCES {
            let called = |what: &str| format!("{distance}: {what}");
            let round_trip = ping(trip).as_secs_f64();
            figures.add(&called("round trip"), "us", round_trip * 1e6);
            let most = f64::from(DEPTH) / round_trip;
            figures.add(&called("32 / round trip"), "requests/s", most);
            for system in &systems {
                lengthen(system.link(), trip);
                let sample = Sample::take(system, &WRITES, options.seconds);
                figures.add_sample(&called(system.name), &WRITES, &sample);
            }
            let streamed = mb_per_second(size, stream(trip, size));
            figures.add(&called("TCP stream"), "MB/s", streamed);
            lengthen(lagging.link(), trip);
            lagging.measure(&RANDOM, &called("resync"), &mut figures);
        }
    }
    figures
}

fn lengthen(proxy: &Proxy, round_trip: Duration) {
    for direction in [Direction::ToTarget, Direction::ToClient] {
        proxy.limit(direction, RATE);
        proxy.delay(direction, round_trip / 2);
    }
}

/// Both ends of a connection through a proxy.
fn connection(round_trip: Duration) -> (Proxy, TcpStream, TcpStream) {
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    let listener = TcpListener::bind(any).expect("a free port");
    let proxy = Proxy::start(listener.local_addr().expect("its address")).expect("a proxy");
    lengthen(&proxy, round_trip);
    let client = TcpStream::connect(proxy.address()).expect("the proxy");
    let (server, _) = listener.accept().expect("the proxy");
    client.set_nodelay(true).expect("a connection");
    server.set_nodelay(true).expect("a connection");
    (proxy, client, server)
}

/// What a byte takes there and back.
fn ping(round_trip: Duration) -> Duration {
    let (_proxy, mut client, mut server) = connection(round_trip);
    thread::scope(|scope| {
        scope.spawn(move || {
            let mut byte = [0];
            while server.read_exact(&mut byte).is_ok() {
                server.write_all(&byte).expect("a client");
            }
        });
        let mut one = || {
            let began = Instant::now();
            client.write_all(&[0]).expect("a server");
            client.read_exact(&mut [0]).expect("a server");
            began.elapsed()
        };
        let mut times: Vec<Duration> = (0..PINGS).map(|_| one()).collect();
        times.sort_unstable();
        // The server's thread ends with this.
        client.shutdown(Shutdown::Write).expect("a connection");
        times[PINGS / 2]
    })
}

/// What a stream of so many MiB takes until all of it was received.
fn stream(round_trip: Duration, mib: u32) -> Duration {
    let (_proxy, mut client, mut server) = connection(round_trip);
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(move || {
            let piece = vec![0x5a; PIECE];
            for _ in 0..mib {
                client.write_all(&piece).expect("a receiver");
            }
        });
        let mut piece = vec![0; PIECE];
        for _ in 0..mib {
            server.read_exact(&mut piece).expect("a sender");
        }
    });
    began.elapsed()
}
