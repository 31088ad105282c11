//! The requests that the server has not answered yet.
//!
//! Each is kept, a WRITE with its payload, until its reply has come: a lost
//! link loses no request, they are sent again over the next one with their old
//! numbers. Their number and bytes are bounded; whoever takes requests from the
//! gate waits for room *before* it takes one.

use ggate::buffer::{self, Buf};
use ggate::gate::{Command, Request, Seq};
use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use crate::durability::Covers;

/// Most requests in flight. The default queue limit of a gate is 1024, so that
/// a client with default options is never held up here.
pub(crate) const MAX_REQUESTS: usize = 1024;

/// Most bytes of payload kept, as they count in the pool, to hold the whole program under 64 MiB; one
/// request more than this may be in flight, however large it is.
pub(crate) const MAX_BYTES: u64 = 32 << 20;

/// The table. The lock around it is held for a few instructions at a time.
#[derive(Debug, Default)]
pub(crate) struct Unanswered {
    entries: HashMap<Seq, Entry, BuildHasherDefault<SeqHasher>>,
    bytes: u64,
}

/// A request and what it takes to send it again.
#[derive(Debug)]
pub(crate) struct Entry {
    /// As the gate handed it out.
    pub(crate) request: Request,
    /// What a FLUSH will have covered when it succeeds.
    pub(crate) covers: Covers,
    payload: Payload,
}

#[derive(Debug)]
enum Payload {
    /// Not a WRITE.
    None,
    /// Here.
    Kept(Buf),
    /// With the thread that is sending it.
    Lent,
}

/// Bytes that the payload of a WRITE takes from the pool.
fn footprint(write: &Request) -> u64 {
    let length = usize::try_from(write.range.length).unwrap_or(usize::MAX);
    buffer::size_for(length) as u64
}

impl Unanswered {
    /// A table that will not grow any more.
    pub(crate) fn new() -> Self {
        Self {
            entries: HashMap::with_capacity_and_hasher(MAX_REQUESTS, BuildHasherDefault::default()),
            bytes: 0,
        }
    }

    /// Whether one more request may be taken from the gate.
    pub(crate) fn has_room(&self) -> bool {
        self.entries.len() < MAX_REQUESTS && self.bytes < MAX_BYTES
    }

    /// Requests, and bytes of payload.
    pub(crate) fn load(&self) -> (usize, u64) {
        (self.entries.len(), self.bytes)
    }

    /// Adds a request whose payload, if it is a WRITE, is with the sender.
    pub(crate) fn insert(&mut self, request: Request, covers: Covers) {
        let payload = match request.command {
            Command::Write => {
                self.bytes += footprint(&request);
                Payload::Lent
            }
            _ => Payload::None,
        };
        let entry = Entry {
            request,
            covers,
            payload,
        };
        self.entries.insert(request.seq, entry);
    }

    /// The sender gives a payload back; it is freed when the reply has already
    /// come.
    pub(crate) fn give_back(&mut self, seq: Seq, payload: Buf) {
        if let Some(entry) = self.entries.get_mut(&seq) {
            entry.payload = Payload::Kept(payload);
        }
    }

    /// The request of this number, if it is unanswered.
    pub(crate) fn get(&self, seq: Seq) -> Option<&Entry> {
        self.entries.get(&seq)
    }

    /// The request has been answered.
    pub(crate) fn remove(&mut self, seq: Seq) -> Option<Entry> {
        let entry = self.entries.remove(&seq)?;
        if entry.request.command == Command::Write {
            self.bytes -= footprint(&entry.request);
        }
        Some(entry)
    }

    /// The oldest unanswered request.
    pub(crate) fn oldest(&self) -> Option<&Request> {
        let first = self.entries.keys().min()?;
        Some(&self.entries[first].request)
    }

    /// The numbers of all requests from the oldest on.
    pub(crate) fn in_order(&self) -> Vec<Seq> {
        let mut seqs: Vec<Seq> = self.entries.keys().copied().collect();
        seqs.sort_unstable();
        seqs
    }

    /// The request and its payload, for sending it again; `None` once it has
    /// been answered. The table is not locked while it is sent: replies must
    /// go on being taken in, or the server might stop reading.
    pub(crate) fn lend(&mut self, seq: Seq) -> Option<(Request, Option<Buf>)> {
        let entry = self.entries.get_mut(&seq)?;
        let payload = match entry.payload {
            Payload::None => None,
            _ => match std::mem::replace(&mut entry.payload, Payload::Lent) {
                Payload::Kept(payload) => Some(payload),
                Payload::Lent | Payload::None => unreachable!("one thread sends at a time"),
            },
        };
        Some((entry.request, payload))
    }

    /// Whether a FLUSH waits for its answer.
    pub(crate) fn has_flush(&self) -> bool {
        self.entries
            .values()
            .any(|entry| entry.request.command == Command::Flush)
    }

    /// Takes out all FLUSHes, to be answered here. The caller must do that.
    #[must_use]
    pub(crate) fn take_flushes(&mut self) -> Vec<Request> {
        let flushes: Vec<Request> = self
            .entries
            .values()
            .map(|e| e.request)
            .filter(|r| r.command == Command::Flush)
            .collect();
        for flush in &flushes {
            self.entries.remove(&flush.seq);
        }
        flushes
    }
}

/// Request numbers are consecutive; one multiplication spreads them.
#[derive(Debug, Default)]
struct SeqHasher(u64);

impl Hasher for SeqHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("a Seq is hashed as one u64");
    }

    fn write_u64(&mut self, seq: u64) {
        self.0 = seq.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ggate::buffer::Pool;
    use ggate::range::ByteRange;

    fn request(seq: u64, command: Command, length: u64) -> Request {
        Request {
            seq: Seq(seq),
            command,
            range: ByteRange::new(0, length),
        }
    }

    #[test]
    fn what_was_not_answered_is_lent_again_in_the_old_order_with_its_payload() {
        let pool = Pool::new(1 << 20);
        let mut table = Unanswered::new();
        for seq in [3, 1, 2] {
            table.insert(request(seq, Command::Write, 512), Covers::default());
            let mut payload = pool.get(512);
            payload.fill(u8::try_from(seq).unwrap());
            table.give_back(Seq(seq), payload);
        }
        assert!(table.remove(Seq(2)).is_some());
        assert_eq!(table.in_order(), [Seq(1), Seq(3)]);
        for seq in table.in_order() {
            let (again, payload) = table.lend(seq).unwrap();
            assert_eq!(again.seq, seq);
            assert!(payload.unwrap().iter().all(|&b| u64::from(b) == seq.0));
        }
        assert!(table.lend(Seq(2)).is_none());
    }

    #[test]
    fn a_reply_may_come_while_the_payload_is_still_being_sent() {
        let pool = Pool::new(1 << 20);
        let mut table = Unanswered::new();
        table.insert(request(7, Command::Write, 512), Covers::default());
        assert!(table.remove(Seq(7)).is_some());
        table.give_back(Seq(7), pool.get(512));
        assert!(table.entries.is_empty());
        assert!(table.has_room());
    }

    #[test]
    fn bytes_are_bounded_with_one_request_beyond() {
        let mut table = Unanswered::new();
        table.insert(request(1, Command::Write, MAX_BYTES / 2), Covers::default());
        assert!(table.has_room());
        table.insert(request(2, Command::Write, MAX_BYTES), Covers::default());
        assert!(!table.has_room());
        table.remove(Seq(2));
        assert!(table.has_room());
    }

    /// Or the thread that takes requests would wait for the pool, with requests
    /// unsent and deaf to the end of the gate.
    #[test]
    fn where_the_table_has_room_the_pool_has_it_too() {
        for length in [4097, 132 << 10, (1 << 20) + 512] {
            let pool = Pool::new(crate::client::MEMORY);
            let mut table = Unanswered::new();
            let mut payloads = Vec::new();
            while table.has_room() {
                payloads.push(pool.try_get(length).expect("room in the pool"));
                let seq = payloads.len() as u64;
                let write = request(seq, Command::Write, length as u64);
                table.insert(write, Covers::default());
            }
        }
    }

    #[test]
    fn requests_are_bounded() {
        let mut table = Unanswered::new();
        for seq in 1..=MAX_REQUESTS as u64 {
            assert!(table.has_room());
            table.insert(request(seq, Command::Read, 512), Covers::default());
        }
        assert!(!table.has_room());
    }

    #[test]
    fn the_oldest_is_the_one_with_the_lowest_number() {
        let mut table = Unanswered::new();
        assert_eq!(table.oldest(), None);
        for seq in [9, 4, 6] {
            table.insert(request(seq, Command::Flush, 0), Covers::default());
        }
        assert_eq!(table.oldest().map(|r| r.seq), Some(Seq(4)));
        assert_eq!(table.take_flushes().len(), 3);
        assert!(table.entries.is_empty());
    }
}
