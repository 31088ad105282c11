//! A client that knows what every block must hold.
//!
//! It writes stamped blocks and reads others back, one request after the other;
//! any error, any lost write and any stale read ends it with a panic.

use crate::nbd::{Client, FLUSH};
use crate::process::wait_for;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

/// Bytes of a block.
pub const BLOCK: usize = 16 << 10;

/// Blocks that are written.
const BLOCKS: u64 = 64;

/// Bytes the client uses of the provider, in all.
pub const REGION: u64 = BLOCKS * BLOCK as u64;

/// Writes between two FLUSHes.
const FLUSH_EVERY: u64 = 128;

#[derive(Debug, Default)]
struct Shared {
    completed: AtomicU64,
    stop: AtomicBool,
}

/// The client on a thread of its own.
#[derive(Debug)]
pub struct Load {
    offset: u64,
    shared: Arc<Shared>,
    thread: JoinHandle<Vec<u64>>,
}

impl Load {
    /// Works on the [`REGION`] that begins at `offset` of the provider behind
    /// `socket`, which holds zeros there.
    pub fn start(socket: &Path, offset: u64) -> Self {
        let client = Client::connect(socket).expect("a provider");
        let shared = Arc::<Shared>::default();
        let work = Work {
            client,
            offset,
            shared: Arc::clone(&shared),
        };
        Self {
            offset,
            shared,
            thread: thread::spawn(move || work.run()),
        }
    }

    /// Waits until it makes progress, and says how long that took.
    pub fn progress(&self) -> Duration {
        let (before, began) = (self.shared.completed.load(SeqCst), Instant::now());
        // One request may have been on its way past a fault.
        wait_for("progress of the load", || {
            let ended = self.thread.is_finished();
            (ended || self.shared.completed.load(SeqCst) > before + 2).then_some(())
        });
        began.elapsed()
    }

    /// Ends it; what it wrote last must be in `image`, the whole medium.
    pub fn verify(self, image: &Path) {
        self.shared.stop.store(true, SeqCst);
        let written = self.thread.join().expect("a load without errors");
        let medium = std::fs::read(image).expect("the medium");
        let start = usize::try_from(self.offset).expect("a small medium");
        for (block, (content, stamp)) in medium[start..].chunks(BLOCK).zip(written).enumerate() {
            assert_eq!(content, stamped(stamp), "block {block}");
        }
    }
}

/// A block that says which write it is of.
fn stamped(stamp: u64) -> Vec<u8> {
    stamp.to_le_bytes().repeat(BLOCK / 8)
}

struct Work {
    client: Client,
    offset: u64,
    shared: Arc<Shared>,
}

impl Work {
    /// Until it is told to stop. What each block holds then.
    fn run(mut self) -> Vec<u64> {
        let mut blocks = vec![0; usize::try_from(BLOCKS).expect("a small number")];
        for stamp in 1.. {
            if self.shared.stop.load(SeqCst) {
                break;
            }
            let write = stamp * 7 % BLOCKS;
            self.write(write, stamp);
            blocks[usize::try_from(write).expect("a small number")] = stamp;
            let read = stamp * 5 % BLOCKS;
            self.expect(read, blocks[usize::try_from(read).expect("a small number")]);
            if stamp % FLUSH_EVERY == 0 {
                self.flush();
            }
            self.shared.completed.fetch_add(1, SeqCst);
        }
        blocks
    }

    fn at(&self, block: u64) -> u64 {
        self.offset + block * BLOCK as u64
    }

    fn write(&mut self, block: u64, stamp: u64) {
        let error = self.client.write(self.at(block), &stamped(stamp));
        assert_eq!(error.expect("an answer"), 0, "WRITE {stamp}");
    }

    fn expect(&mut self, block: u64, stamp: u64) {
        let length = u32::try_from(BLOCK).expect("a small number");
        let data = self.client.read(self.at(block), length);
        let data = data.expect("an answer").expect("data");
        assert!(data == stamped(stamp), "block {block} is not of {stamp}");
    }

    fn flush(&mut self) {
        let reply = self.client.call(FLUSH, 0, 0, 0, &[]).expect("an answer");
        assert_eq!(reply.error, 0, "FLUSH");
    }
}
