//! A client that knows what every block must hold.
//!
//! It writes stamped blocks and reads others back, one request after the other;
//! any error, any lost write and any stale read ends it with a panic. One that
//! reconnects takes the end of a connection for no error: it asks again, as a
//! kernel's NBD client does.

use crate::nbd::{Client, FLUSH};
use crate::process::wait_for;
use std::io;
use std::path::{Path, PathBuf};
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

/// How often one that reconnects tries.
const RECONNECT: Duration = Duration::from_millis(20);

#[derive(Debug, Default)]
struct Shared {
    completed: AtomicU64,
    stop: AtomicBool,
    /// No request is to be made for now; answered with `paused`.
    pause: AtomicBool,
    paused: AtomicBool,
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
        Self::begin(socket, offset, false)
    }

    /// The same, reconnecting to whatever `socket` names then.
    pub fn reconnecting(socket: &Path, offset: u64) -> Self {
        Self::begin(socket, offset, true)
    }

    fn begin(socket: &Path, offset: u64, reconnects: bool) -> Self {
        let client = Client::connect(socket).expect("a provider");
        let shared = Arc::<Shared>::default();
        let work = Work {
            client,
            socket: socket.into(),
            reconnects,
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

    /// Makes no more requests when this returns, until [`Self::resume`].
    pub fn pause(&self) {
        self.shared.pause.store(true, SeqCst);
        wait_for("the load to pause", || {
            let ended = self.thread.is_finished();
            (ended || self.shared.paused.load(SeqCst)).then_some(())
        });
    }

    /// Goes on.
    pub fn resume(&self) {
        self.shared.pause.store(false, SeqCst);
    }

    /// Ends it; what it wrote last must be in `image`, the whole medium.
    pub fn verify(self, image: &Path) {
        let offset = self.offset;
        let written = self.end();
        let medium = std::fs::read(image).expect("the medium");
        Self::check(offset, &written, &medium);
    }

    /// Ends it, after it was paused; what it wrote last must be in each of
    /// these media.
    pub fn verify_in(self, media: &[&[u8]]) {
        let offset = self.offset;
        let written = self.end();
        for medium in media {
            Self::check(offset, &written, medium);
        }
    }

    /// Ends it. What each block holds.
    pub fn end(self) -> Vec<u64> {
        self.shared.stop.store(true, SeqCst);
        self.resume();
        self.thread.join().expect("a load without errors")
    }

    fn check(offset: u64, written: &[u64], medium: &[u8]) {
        let start = usize::try_from(offset).expect("a small medium");
        for (block, (content, stamp)) in medium[start..].chunks(BLOCK).zip(written).enumerate() {
            assert!(
                content == stamped(*stamp),
                "block {block} is not of {stamp}"
            );
        }
    }
}

/// A block that says which write it is of.
fn stamped(stamp: u64) -> Vec<u8> {
    stamp.to_le_bytes().repeat(BLOCK / 8)
}

struct Work {
    client: Client,
    socket: PathBuf,
    reconnects: bool,
    offset: u64,
    shared: Arc<Shared>,
}

impl Work {
    /// Until it is told to stop. What each block holds then.
    fn run(mut self) -> Vec<u64> {
        let mut blocks = vec![0; usize::try_from(BLOCKS).expect("a small number")];
        for stamp in 1.. {
            self.pause();
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

    fn pause(&self) {
        while self.shared.pause.load(SeqCst) {
            self.shared.paused.store(true, SeqCst);
            thread::sleep(RECONNECT);
        }
        self.shared.paused.store(false, SeqCst);
    }

    fn at(&self, block: u64) -> u64 {
        self.offset + block * BLOCK as u64
    }

    /// Asks until there is an answer, if it is one that reconnects.
    fn ask<R>(&mut self, ask: impl Fn(&mut Client) -> io::Result<R>) -> R {
        loop {
            match ask(&mut self.client) {
                Ok(answer) => return answer,
                Err(error) => assert!(self.reconnects, "{error}"),
            }
            while !self.shared.stop.load(SeqCst) {
                thread::sleep(RECONNECT);
                if let Ok(client) = Client::connect(&self.socket) {
                    self.client = client;
                    break;
                }
            }
        }
    }

    fn write(&mut self, block: u64, stamp: u64) {
        let (at, data) = (self.at(block), stamped(stamp));
        let error = self.ask(|client| client.write(at, &data));
        assert_eq!(error, 0, "WRITE {stamp}");
    }

    fn expect(&mut self, block: u64, stamp: u64) {
        let at = self.at(block);
        let length = u32::try_from(BLOCK).expect("a small number");
        let data = self.ask(|client| client.read(at, length)).expect("data");
        assert!(data == stamped(stamp), "block {block} is not of {stamp}");
    }

    fn flush(&mut self) {
        let reply = self.ask(|client| client.call(FLUSH, 0, 0, 0, &[]));
        assert_eq!(reply.error, 0, "FLUSH");
    }
}
