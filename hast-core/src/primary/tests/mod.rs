//! A primary whose shell does everything when the test says so.

mod cache;
mod life;
mod request;
mod standing;
mod sync;

use super::*;
use crate::errno::Errno;
use crate::message::{Extensions, Node, Reply};
use crate::metadata::{BLOCK_LENGTH, CreateOptions, Provider};
use crate::payload::Header;
use crate::role::SyncSource;
use crate::units::{ByteRange, Counters, Seq};
use std::vec;

const PROVIDER: Provider = Provider {
    mediasize: 4096 + 512 + 64 * 512,
    sectorsize: 512,
};

const OURS: Extensions = Extensions::STATE.or(Extensions::RAISE);

/// A primary and what it asked for, carried out in the order it asked.
struct Bench {
    primary: Primary,
    out: Vec<Action>,
}

impl Bench {
    fn new(replication: Replication) -> Self {
        let options = CreateOptions {
            extentsize: Some(2048),
            keepdirty: Some(2),
            ..CreateOptions::default()
        };
        let metadata = Metadata::create("shared", PROVIDER, options).unwrap();
        let extents = metadata.validate(PROVIDER).unwrap();
        let start = Start {
            replication,
            ..start(metadata, extents)
        };
        Self {
            primary: Primary::new(start),
            out: Vec::new(),
        }
    }

    /// What the next worker on this component starts with, if the disk says
    /// this.
    fn successor(&self, consistency: Consistency) -> Start<'static> {
        let mut metadata = self.primary.metadata().clone();
        metadata.consistency = consistency;
        start(metadata, self.primary.extents)
    }

    /// Takes out the only action that `choose` wants.
    fn take<T>(&mut self, choose: impl Fn(&Action) -> Option<T>) -> Option<T> {
        let at = self
            .out
            .iter()
            .position(|action| choose(action).is_some())?;
        choose(&self.out.remove(at))
    }

    fn store_map(&mut self, stored: bool) -> bool {
        let asked = self.take(|a| (*a == Action::StoreMap).then_some(()));
        if asked.is_some() {
            self.primary.begin_map_store(|_| {});
            self.primary.map_stored(stored, &mut self.out);
        }
        asked.is_some()
    }

    fn store_metadata(&mut self, stored: bool) -> bool {
        let asked = self.take(|a| (*a == Action::StoreMetadata).then_some(()));
        if asked.is_some() {
            let mut block = [0; BLOCK_LENGTH];
            self.primary.begin_metadata_store(&mut block).unwrap();
            self.primary.metadata_stored(stored, &mut self.out);
        }
        asked.is_some()
    }

    fn local(&mut self, result: Result<(), Errno>) -> Option<Op> {
        let local = |a: &Action| match *a {
            Action::Local { id, op } => Some((id, op)),
            _ => None,
        };
        let (id, op) = self.take(local)?;
        self.primary.local_done(id, result, &mut self.out);
        Some(op)
    }

    fn sent(&mut self) -> Option<(Session, Option<Seq>, Outgoing)> {
        self.take(|a| match *a {
            Action::Send { session, seq, what } => Some((session, seq, what)),
            _ => None,
        })
    }

    fn answer(&mut self, error: Option<Errno>) -> Option<Outgoing> {
        let (session, seq, what) = self.sent()?;
        let data = match what {
            Outgoing::Request {
                op: Op::Read(range),
                ..
            } if error.is_none() => u32::try_from(range.length()).ok(),
            _ => None,
        };
        let reply = Reply {
            seq,
            error,
            received: false,
            payload: data.map(|size| Header {
                size,
                ..Header::EMPTY
            }),
        };
        self.primary.reply(session, &reply, &mut self.out);
        if data.is_some() {
            self.primary.data_received(session, &mut self.out);
        }
        Some(what)
    }

    fn completed(&mut self) -> Option<Result<(), Errno>> {
        self.take(|a| match *a {
            Action::Complete { result, .. } => Some(result),
            _ => None,
        })
    }

    /// The kernel does what it was asked for, or refuses.
    fn direct_reads(&mut self, ok: bool) -> bool {
        let asked = self.take(|a| match *a {
            Action::DirectReads(on) => Some(on),
            _ => None,
        });
        if let Some(on) = asked {
            self.primary.direct_reads_set(on, ok, &mut self.out);
        }
        asked.is_some()
    }

    fn write(&mut self) {
        let op = Op::Write(range(0, 512));
        self.primary.request(1, op, &mut self.out).unwrap();
    }

    /// A peer that has everything, until both say so.
    fn connect(&mut self) {
        self.primary.tick(Millis(20_000), &mut self.out);
        let connect = |a: &Action| match *a {
            Action::Connect(session) => Some(session),
            _ => None,
        };
        let session = self.take(connect).unwrap();
        self.primary.accepted(session, OURS, &mut self.out);
        self.store_metadata(true);
        let hello = |a: &Action| match *a {
            Action::Hello(_, hello) => Some(hello),
            _ => None,
        };
        let hello = self.take(hello).unwrap();
        let node = Node {
            datasize: self.primary.extents.datasize(),
            extentsize: 2048,
            counters: Counters {
                local: hello.counters.remote,
                remote: hello.counters.local,
            },
            virgin: false,
            generation: hello.generation,
            consistency: Consistency::Consistent,
            longest: 1 << 20,
            dirty: None,
        };
        let source = SyncSource::Primary;
        let primary = &mut self.primary;
        primary.peer_up(session, node, source, None, Millis(0), &mut self.out);
        while self.primary.behind() != Behind::Neither {
            assert!(self.work(), "nothing left to do: {:?}", self.primary);
        }
        self.direct_reads(true);
        self.out.clear();
    }

    /// Whatever is asked for is done.
    fn work(&mut self) -> bool {
        let stored = self.store_map(true) | self.store_metadata(true);
        let done = self.local(Ok(())).is_some() | self.answer(None).is_some();
        stored | done | self.direct_reads(true)
    }

    fn stopped(&mut self) -> bool {
        self.take(|a| (*a == Action::Stopped).then_some(()))
            .is_some()
    }
}

fn start(metadata: Metadata, extents: Extents) -> Start<'static> {
    Start {
        metadata,
        extents,
        sectorsize: 512,
        map: &[0; 512],
        replication: Replication::Fullsync,
        timeout: 20_000,
        copying: 8 << 20,
        takes_over: false,
        entropy: 1,
        now: Millis(0),
    }
}

fn range(offset: u64, length: u64) -> ByteRange {
    ByteRange::new(offset, length).unwrap()
}
