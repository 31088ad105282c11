//! The link between ggatec and ggated fails in every way; the client of the
//! provider sees no error, and every write is where it belongs.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use testkit::chain::Chain;
use testkit::nbd::Client;
use testkit::process::{Running, wait_for};
use testkit::proxy::{Direction, End, Proxy};

const BLOCK: usize = 16 << 10;
const BLOCKS: u64 = 64;

/// Longest time from the end of a fault to the next completed request.
const RECOVERY: Duration = Duration::from_secs(5);

/// The chain with a proxy in it, under load.
struct Faulty {
    proxy: Proxy,
    completed: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    load: Option<JoinHandle<Vec<u64>>>,
    _ggatec: Running,
    chain: Chain,
}

impl Faulty {
    fn new() -> Self {
        let chain = Chain::new(BLOCKS * BLOCK as u64);
        let proxy = Proxy::start(chain.server).unwrap();
        let ggatec = chain.ggatec_via(proxy.address().port(), &["create", "-v"]);
        ggatec.wait_for_line("ggate0");
        let client = Client::connect(&chain.socket("ggate0")).unwrap();
        let (completed, stop) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let load = thread::spawn({
            let (completed, stop) = (Arc::clone(&completed), Arc::clone(&stop));
            move || load(client, &completed, &stop)
        });
        Self {
            proxy,
            completed,
            stop,
            load: Some(load),
            _ggatec: ggatec,
            chain,
        }
    }

    /// Waits until the load makes progress again; it must not take longer than
    /// [`RECOVERY`].
    fn recovers(&self) {
        let (before, began) = (self.completed.load(Ordering::SeqCst), Instant::now());
        // One request may have been on its way past the fault.
        wait_for("progress", || {
            (self.completed.load(Ordering::SeqCst) > before + 2).then_some(())
        });
        assert!(began.elapsed() < RECOVERY, "took {:?}", began.elapsed());
    }

    /// Ends the load; what it wrote last is in the file.
    fn verify(mut self) {
        self.stop.store(true, Ordering::SeqCst);
        let written = self.load.take().unwrap().join().unwrap();
        let file = fs::read(&self.chain.image).unwrap();
        for (block, (content, stamp)) in file.chunks(BLOCK).zip(written).enumerate() {
            assert_eq!(content, stamped(stamp), "block {block}");
        }
    }
}

/// A block that says which write it is of.
fn stamped(stamp: u64) -> Vec<u8> {
    stamp.to_le_bytes().repeat(BLOCK / 8)
}

/// Writes blocks and reads others back, one by one, until it is stopped. Says
/// what each block holds at the end.
fn load(mut client: Client, completed: &AtomicU64, stop: &AtomicBool) -> Vec<u64> {
    let mut blocks = vec![0; usize::try_from(BLOCKS).unwrap()];
    for stamp in 1.. {
        if stop.load(Ordering::SeqCst) {
            break;
        }
        let write = stamp * 7 % BLOCKS;
        let offset = |block| block * BLOCK as u64;
        assert_eq!(client.write(offset(write), &stamped(stamp)).unwrap(), 0);
        blocks[usize::try_from(write).unwrap()] = stamp;
        let read = stamp * 5 % BLOCKS;
        let expected = stamped(blocks[usize::try_from(read).unwrap()]);
        let length = u32::try_from(BLOCK).unwrap();
        assert_eq!(client.read(offset(read), length).unwrap(), Ok(expected));
        completed.fetch_add(1, Ordering::SeqCst);
    }
    blocks
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
