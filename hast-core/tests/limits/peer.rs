//! Peers that speak perfect framing, and what stands against them: the loops
//! a receiver runs, reduced to what decides about the connection.

use hast_core::frame::{Decoder, Event, NODE_LIMIT};
use hast_core::message::{LONGEST_DATA, Limits, Reply, Request, RequestError};
use hast_core::nv::{Text, Writer};
use hast_core::outstanding::{Asked, Outstanding};
use proptest::prelude::*;

pub(crate) const REQUEST: &[&str] = &[
    "cmd",
    "seq",
    "offset",
    "length",
    "memsync",
    "compression",
    "checksum",
    "hash",
    "size",
];
pub(crate) const REPLY: &[&str] = &[
    "seq",
    "received",
    "error",
    "compression",
    "checksum",
    "hash",
    "size",
];
pub(crate) const HANDSHAKE: &[&str] = &[
    "resource",
    "version",
    "token",
    "virgin",
    "resuid",
    "localcnt",
    "remotecnt",
    "errmsg",
    "wait",
    "datasize",
    "extentsize",
    "syncsrc",
    "mapsize",
    "size",
    "compression",
    "hg_extensions",
    "hg_generation",
    "hg_consistent",
    "hg_longest",
    "cmd",
    "role",
    "resource0",
    "resource1",
    "resource4095",
    "resource4096",
    "provname0",
    "status0",
    "stat_read0",
    "dirty4294967295",
];

/// A value somebody wrong might send.
#[derive(Clone, Debug)]
enum Wrong {
    Number(u64),
    Byte(u8),
    Text(Vec<u8>),
    Bytes(Vec<u8>),
    Signed(i16),
    Half(u32),
}

fn wrong() -> impl Strategy<Value = Wrong> {
    let edges = prop::sample::select(vec![
        0,
        1,
        2,
        4,
        5,
        512,
        4096,
        131_072,
        131_073,
        1 << 32,
        (1 << 32) - 1,
        (1 << 63) - 1,
        1 << 63,
        u64::MAX - 511,
        u64::MAX - 1,
        u64::MAX,
    ]);
    let halves = prop::sample::select(vec![0u32, 1, 4, 5, 512, 1 << 22, (1 << 22) + 1, u32::MAX]);
    let names = prop::sample::select(vec![
        "", "hole", "lzf", "crc32", "sha256", "none", "all", "x",
    ]);
    prop_oneof![
        4 => edges.prop_map(Wrong::Number),
        3 => (0u8..8).prop_map(Wrong::Byte),
        3 => halves.prop_map(Wrong::Half),
        1 => any::<i16>().prop_map(Wrong::Signed),
        2 => names.prop_map(|text| Wrong::Text(text.into())),
        1 => prop::collection::vec(any::<u8>(), 1..40).prop_map(Wrong::Bytes),
    ]
}

/// A message of some of these entries, some of them twice, of any type, in
/// any order, mostly beginning like one that is right.
pub(crate) fn hostile_message(names: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let entry = (prop::sample::select(names), wrong());
    let entries = prop::collection::vec(entry, 0..14);
    (entries, any::<bool>(), 1u8..6, 0u64..20).prop_map(|(entries, sane, cmd, seq)| {
        let mut buffer = vec![0; 4096];
        let mut w = Writer::new(&mut buffer, 5);
        if sane {
            w.put("cmd", cmd).put("seq", seq);
        }
        for (name, value) in &entries {
            match value {
                Wrong::Number(n) => w.put(name, *n),
                Wrong::Byte(n) => w.put(name, *n),
                Wrong::Signed(n) => w.put(name, *n),
                Wrong::Half(n) => w.put(name, *n),
                Wrong::Text(text) => w.put(name, Text(text)),
                Wrong::Bytes(bytes) => w.put(name, bytes.as_slice()),
            };
        }
        let length = w.finish().expect("14 entries fit");
        buffer.truncate(length);
        buffer[0] = 2;
        let size = u32::try_from(length - 5).expect("14 entries fit");
        buffer[1..5].copy_from_slice(&size.to_le_bytes());
        buffer
    })
}

/// How a connection went.
#[derive(PartialEq, Eq, Debug)]
pub(crate) enum Ended {
    /// Everything was taken.
    Not,
    /// It ended, for this reason.
    For(String),
}

/// What a secondary does with a stream that comes in pieces.
pub(crate) fn secondary(stream: &[u8], piece: usize) -> Ended {
    let limits = Limits {
        datasize: 1 << 30,
        sectorsize: 512,
        longest: LONGEST_DATA,
    };
    run(stream, piece, |entries| {
        let size = match Request::decode(entries) {
            Err(RequestError::Fatal(error)) => return Err(error.to_string()),
            Err(RequestError::Refused(refusal)) => refusal.drain,
            Ok(request) => {
                if let Err(refusal) = request.validate(&limits) {
                    refusal.drain
                } else {
                    check_range(&request, &limits);
                    request.payload_size()
                }
            }
        };
        assert!(size <= LONGEST_DATA);
        Ok(size)
    })
}

fn check_range(request: &Request, limits: &Limits) {
    if let Request::Read { range, .. }
    | Request::Write { range, .. }
    | Request::Delete { range, .. } = request
    {
        assert!(range.end() <= limits.datasize);
    }
}

/// What a primary does that waits for a few replies.
pub(crate) fn primary(stream: &[u8], piece: usize) -> Ended {
    let mut outstanding = Outstanding::new(16);
    let kinds = [
        Asked::Read { length: 512 },
        Asked::Write { memsync: true },
        Asked::Write { memsync: false },
        Asked::Other,
    ];
    for (n, asked) in kinds.into_iter().cycle().take(16).enumerate() {
        outstanding.insert(n, asked).expect("there is room");
    }
    run(stream, piece, |entries| {
        let reply = Reply::decode(entries).map_err(|error| error.to_string())?;
        match outstanding.reply(&reply) {
            Err(error) if error.is_fatal() => Err(error.to_string()),
            _ => Ok(reply.payload_size()),
        }
    })
}

fn run(
    stream: &[u8],
    piece: usize,
    mut message: impl FnMut(&[u8]) -> Result<u32, String>,
) -> Ended {
    let mut decoder = Decoder::new(NODE_LIMIT);
    for mut piece in stream.chunks(piece) {
        loop {
            match decoder.next(piece) {
                Err(error) => return Ended::For(error.to_string()),
                Ok((taken, event)) => {
                    piece = &piece[taken..];
                    let size = match event {
                        None => break,
                        Some(Event::Payload(_)) => continue,
                        Some(Event::Message(entries)) => match message(entries) {
                            Ok(size) => size,
                            Err(reason) => return Ended::For(reason),
                        },
                    };
                    decoder.expect_payload(size);
                }
            }
        }
    }
    Ended::Not
}
