//! A client that writes all the while that something else is measured. fio
//! cannot tell afterwards how long the writes of a given time took.

use crate::stats::Latency;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};
use testkit::nbd::{Client, WRITE};

/// Bytes of a write.
const BLOCK: u32 = 4 << 10;

/// Writes in flight.
const DEPTH: u64 = 8;

/// When a write began, and how long it took.
type Write = (Instant, Duration);

/// The client, on a thread of its own.
pub(crate) struct Foreground {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<Vec<Write>>,
}

impl Foreground {
    /// Writes anywhere to the provider behind `socket`.
    pub(crate) fn start(socket: &Path) -> Self {
        let client = Client::connect(socket).expect("a provider");
        let stop = Arc::<AtomicBool>::default();
        let asked = Arc::clone(&stop);
        let thread = thread::spawn(move || write(client, &asked));
        Self { stop, thread }
    }

    pub(crate) fn end(self) -> Writes {
        self.stop.store(true, Relaxed);
        Writes(self.thread.join().expect("writes without errors"))
    }
}

/// What a client has written.
pub(crate) struct Writes(Vec<Write>);

impl Writes {
    /// How long those took that began in this time.
    pub(crate) fn latency(&self, during: &Range<Instant>) -> Latency {
        let writes = self.0.iter().filter(|(began, _)| during.contains(began));
        Latency::of(writes.map(|(_, took)| *took).collect())
    }
}

fn write(mut client: Client, stop: &AtomicBool) -> Vec<Write> {
    let data = vec![0xa5; BLOCK as usize];
    let blocks = client.export.size / u64::from(BLOCK);
    let mut random: u64 = 0x9e37_79b9_7f4a_7c15;
    let mut send = |client: &mut Client| {
        // Xorshift.
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        let offset = random % blocks * u64::from(BLOCK);
        let began = Instant::now();
        let cookie = client.send(WRITE, 0, offset, BLOCK, &data);
        (cookie.expect("a provider"), began)
    };
    let mut flying: Vec<(u64, Instant)> = (0..DEPTH).map(|_| send(&mut client)).collect();
    let mut done = Vec::new();
    while !flying.is_empty() {
        let reply = client.reply().expect("a provider");
        assert_eq!(reply.error, 0, "a write in the foreground");
        let of_reply = |(cookie, _): &(u64, Instant)| *cookie == reply.cookie;
        let which = flying.iter().position(of_reply).expect("a write of ours");
        let (_, began) = flying.swap_remove(which);
        done.push((began, began.elapsed()));
        if !stop.load(Relaxed) {
            flying.push(send(&mut client));
        }
    }
    done
}
