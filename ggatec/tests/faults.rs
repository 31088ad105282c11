//! The link between ggatec and ggated fails in every way; the client of the
//! provider sees no error, and every write is where it belongs.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::thread;
use std::time::Duration;
use testkit::chain::Chain;
use testkit::load::{self, BLOCK, Load};
use testkit::process::Running;
use testkit::proxy::{Direction, End, Proxy};

/// Longest time from the end of a fault to the next completed request.
const RECOVERY: Duration = Duration::from_secs(5);

/// The chain with a proxy in it, under load.
struct Faulty {
    proxy: Proxy,
    load: Load,
    _ggatec: Running,
    chain: Chain,
}

impl Faulty {
    fn new() -> Self {
        let chain = Chain::new(load::REGION);
        let proxy = Proxy::start(chain.server).unwrap();
        let ggatec = chain.ggatec_via(proxy.address().port(), &["create", "-v"]);
        ggatec.wait_for_line("ggate0");
        let load = Load::start(&chain.socket("ggate0"), 0);
        Self {
            proxy,
            load,
            _ggatec: ggatec,
            chain,
        }
    }

    /// Waits until the load makes progress again; it must not take longer than
    /// [`RECOVERY`].
    fn recovers(&self) {
        let took = self.load.progress();
        assert!(took < RECOVERY, "took {took:?}");
    }

    /// Ends the load; what it wrote last is in the file.
    fn verify(self) {
        self.load.verify(&self.chain.image);
    }
}

#[test]
fn cut_and_reset_connections() {
    let faulty = Faulty::new();
    for end in [End::Cut, End::Reset, End::Cut, End::Reset] {
        faulty.recovers();
        faulty.proxy.end_all(end);
        faulty.recovers();
    }
    faulty.verify();
}

#[test]
fn connections_reset_in_the_middle_of_a_frame() {
    let faulty = Faulty::new();
    for direction in [Direction::ToTarget, Direction::ToClient] {
        // In a header, behind it, in a payload, one byte before the next frame.
        for bytes in [10, 23, 5000, BLOCK + 22, 3 * BLOCK] {
            faulty.proxy.end_after(direction, bytes, End::Reset);
            faulty.recovers();
        }
    }
    faulty.verify();
}

#[test]
fn a_stalled_link_and_one_that_carries_single_bytes() {
    let faulty = Faulty::new();
    for direction in [Direction::ToTarget, Direction::ToClient] {
        faulty.recovers();
        faulty.proxy.stall(direction, true);
        thread::sleep(Duration::from_secs(1));
        faulty.proxy.stall(direction, false);
        faulty.recovers();
        faulty.proxy.byte_by_byte(direction, true);
        faulty.recovers();
        faulty.proxy.byte_by_byte(direction, false);
    }
    faulty.verify();
}

/// Bytes vanish and nobody closes anything: half-open connections. The old
/// connections stay as dead as they are when the link is back.
#[test]
fn a_link_that_swallows_everything() {
    let faulty = Faulty::new();
    faulty.recovers();
    for directions in [
        &[Direction::ToTarget, Direction::ToClient][..],
        &[Direction::ToClient],
        &[Direction::ToTarget],
    ] {
        for &direction in directions {
            faulty.proxy.black_hole(direction, true);
        }
        thread::sleep(Duration::from_millis(500));
        // Only new connections get through; TCP never goes on after a gap.
        faulty.proxy.stall(Direction::ToTarget, true);
        faulty.proxy.stall(Direction::ToClient, true);
        for &direction in directions {
            faulty.proxy.black_hole(direction, false);
        }
        faulty.proxy.end_all(End::Cut);
        faulty.proxy.stall(Direction::ToTarget, false);
        faulty.proxy.stall(Direction::ToClient, false);
        faulty.recovers();
    }
    faulty.verify();
}

#[test]
fn a_server_that_cannot_be_reached_for_a_while() {
    let mut faulty = Faulty::new();
    faulty.recovers();
    faulty.proxy.refuse(true);
    faulty.proxy.end_all(End::Reset);
    thread::sleep(Duration::from_secs(3));
    faulty.proxy.refuse(false);
    faulty.recovers();
    faulty.verify();
}
