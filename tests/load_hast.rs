//! A pair of HAST nodes among 200 connections that say nothing or babble, on
//! the port of the peers and on the control socket: the resource at work slows
//! by no more than a tenth. Compares speeds, so on a quiet machine: `make load`.

use std::io::Write;
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use testkit::hast::{Pair, Side};
use testkit::nbd::Client;
use testkit::noise::Noise;

const CONNECTIONS: usize = 200;
const BLOCK: u64 = 4096;
const BLOCKS: u64 = 1024;

/// How long throughput is measured at a time.
const SLICE: Duration = Duration::from_millis(400);

/// Slices with and without the others, alternately.
const SLICES: usize = 5;

/// What must be left of the throughput, in percent.
const LEFT: u64 = 90;

/// Other programs make a machine slow at any time, those under test whenever
/// they are tried: so often it is tried until the throughput is there.
const ATTEMPTS: usize = 5;

/// Writes in a slice of time.
fn throughput(client: &mut Client) -> u64 {
    let data = vec![0x5a; usize::try_from(BLOCK).expect("small")];
    let began = Instant::now();
    let mut count = 0;
    while began.elapsed() < SLICE {
        let offset = count % BLOCKS * BLOCK;
        assert_eq!(client.write(offset, &data).expect("an answer"), 0);
        count += 1;
    }
    count
}

/// Everybody who wants nothing.
fn crowd(pair: &Pair, noise: &mut Noise) -> (Vec<TcpStream>, Vec<UnixStream>) {
    let (mut peers, mut clients) = (Vec::new(), Vec::new());
    for n in 0..CONNECTIONS {
        for side in [Side::A, Side::B] {
            let peer = TcpStream::connect(pair.address(side));
            let client = UnixStream::connect(pair.control(side));
            // Whoever is refused is refused.
            let (Ok(mut peer), Ok(mut client)) = (peer, client) else {
                continue;
            };
            if n % 2 == 0 {
                let _ = peer.write_all(&noise.bytes(500));
                let _ = client.write_all(&noise.bytes(500));
            }
            peers.push(peer);
            clients.push(client);
        }
    }
    (peers, clients)
}

fn median(mut counts: Vec<u64>) -> u64 {
    counts.sort_unstable();
    counts[counts.len() / 2]
}

#[test]
fn who_wants_nothing_slows_nobody_down() {
    let mut pair = Pair::new(&["data"], 32 << 20, "replication fullsync\ntimeout 5");
    for (side, role) in [(Side::B, "secondary"), (Side::A, "primary")] {
        pair.start(side);
        pair.role(side, role);
    }
    pair.wait_for_sync(Side::A, "data", Duration::from_secs(30));
    let socket = pair.wait_for_provider(Side::A, "data");
    let mut client = Client::connect(&socket).expect("a provider");
    let mut noise = Noise::new(3);
    throughput(&mut client);
    let mut left = 0;
    for _ in 0..ATTEMPTS {
        let (mut alone, mut crowded) = (Vec::new(), Vec::new());
        for _ in 0..SLICES {
            alone.push(throughput(&mut client));
            let others = crowd(&pair, &mut noise);
            crowded.push(throughput(&mut client));
            drop(others);
        }
        left = left.max(median(crowded) * 100 / median(alone));
        println!("{left} percent are left");
        if left >= LEFT {
            return;
        }
    }
    panic!("{left} percent are left of the throughput");
}
