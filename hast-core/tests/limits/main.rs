//! What a peer can make us do: nothing but end the connection, for a reason,
//! and without taking memory for it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod allocator;
mod peer;

use allocator::cost;
use hast_core::bitmap::{Bitmap, MAX_MAP};
use hast_core::frame::{Decoder, Event, NODE_LIMIT};
use hast_core::lzf::Table;
use hast_core::message::{
    ControlReply, ControlRequest, Inquiry, InquiryReply, LONGEST, Opening, Reply, Request,
    Step1Reply, Step2Reply,
};
use hast_core::nv::Writer;
use hast_core::outstanding::{Asked, Outstanding};
use hast_core::payload::{self, Checksum, Compression, Digest, Workspace};
use hast_core::units::{ByteRange, Seq, Version};
use peer::{Ended, hostile_message, primary, secondary};
use proptest::prelude::*;

/// Most that a connection may take for messages: one that is collected, in a
/// buffer that doubles, while the old one is copied.
const MEMORY: usize = 3 * NODE_LIMIT as usize;

fn write(seq: u64) -> Request {
    Request::Write {
        seq: Seq::new(seq).unwrap(),
        range: ByteRange::new(4096, 4096).unwrap(),
        memsync: true,
        payload: payload::Header {
            compression: Compression::Hole,
            digest: Digest::Sha256([0xa5; 32]),
            size: 4,
        },
    }
}

#[test]
fn a_write_header_allocates_nothing() {
    let mut decoder = Decoder::new(NODE_LIMIT);
    let ((), cost) = cost(|| {
        for seq in 1..100 {
            let mut buffer = [0; LONGEST];
            let length = write(seq).encode(Version::V2, &mut buffer).unwrap();
            let (_, event) = decoder.next(&buffer[..length]).unwrap();
            let Some(Event::Message(entries)) = event else {
                panic!("the message is whole");
            };
            assert_eq!(Request::decode(entries), Ok(write(seq)));
        }
    });
    assert_eq!(cost.calls, 0);
}

#[test]
fn a_message_in_pieces_allocates_only_once() {
    let mut decoder = Decoder::new(NODE_LIMIT);
    let mut buffer = [0; LONGEST];
    let length = write(1).encode(Version::V2, &mut buffer).unwrap();
    let mut feed = || {
        for byte in &buffer[..length] {
            decoder.next(std::slice::from_ref(byte)).unwrap();
        }
    };
    feed();
    let ((), cost) = cost(feed);
    assert_eq!(cost.calls, 0);
}

#[test]
fn payloads_and_replies_allocate_nothing() {
    let mut workspace = Workspace::new(1 << 17);
    let mut outstanding = Outstanding::new(16);
    let (data, mut back) = (vec![7; 1 << 16], vec![0; 1 << 16]);
    let ((), cost) = cost(|| {
        for checksum in Checksum::ALL {
            for compression in Compression::ALL {
                let (header, wire) = payload::prepare(&data, compression, checksum, &mut workspace);
                header.receive(wire, &mut back).unwrap();
                let asked = Asked::Read { length: 1 << 16 };
                let seq = outstanding.insert((), asked).unwrap();
                outstanding.reply(&Reply::data(seq, header)).unwrap();
            }
        }
    });
    assert_eq!((cost.calls, back), (0, data));
}

proptest! {
    /// A primary whose framing is perfect and whose messages are not.
    #[test]
    fn a_hostile_primary_gets_nowhere(
        messages in prop::collection::vec(hostile_message(peer::REQUEST), 1..20),
        piece in 1usize..3000,
    ) {
        let stream: Vec<u8> = messages.concat();
        let (ended, cost) = cost(|| secondary(&stream, piece));
        prop_assert!(cost.peak <= MEMORY, "{} bytes", cost.peak);
        prop_assert!(ended != Ended::For(String::new()));
    }

    /// A secondary that answers what nobody asked, twice, or out of order.
    #[test]
    fn a_hostile_secondary_gets_nowhere(
        messages in prop::collection::vec(hostile_message(peer::REPLY), 1..20),
        piece in 1usize..3000,
    ) {
        let stream: Vec<u8> = messages.concat();
        let (ended, cost) = cost(|| primary(&stream, piece));
        prop_assert!(cost.peak <= MEMORY, "{} bytes", cost.peak);
        prop_assert!(ended != Ended::For(String::new()));
    }

    /// Strangers at the door, and at the control socket.
    #[test]
    fn a_hostile_handshake_gets_nowhere(message in hostile_message(peer::HANDSHAKE)) {
        let entries = &message[5..];
        let ((), cost) = cost(|| {
            let _ = Opening::decode(entries);
            let _ = Step1Reply::decode(entries);
            let _ = Step2Reply::decode(entries);
            let _ = Inquiry::decode(entries);
            let _ = InquiryReply::decode(entries);
        });
        prop_assert_eq!(cost.calls, 0);
        let ((), cost) = allocator::cost(|| {
            let _ = ControlRequest::decode(entries);
            let _ = ControlReply::decode(entries);
        });
        prop_assert!(cost.peak <= MEMORY);
    }

    /// Zeros and LZF that claim to be anything.
    #[test]
    fn a_hostile_payload_takes_no_memory(
        stated in any::<u32>(), stream in prop::collection::vec(any::<u8>(), 0..64),
        lzf: bool, length in prop::sample::select(vec![0usize, 4, 512, 4096, 1 << 16]),
    ) {
        let wire = [&stated.to_le_bytes(), stream.as_slice()].concat();
        let header = payload::Header {
            compression: if lzf { Compression::Lzf } else { Compression::Hole },
            digest: Digest::None,
            size: u32::try_from(wire.len()).unwrap(),
        };
        let mut data = vec![0xaa; length];
        let (received, cost) = cost(|| header.receive(&wire, &mut data));
        prop_assert_eq!(cost.calls, 0);
        if received.is_ok() {
            prop_assert_eq!(usize::try_from(stated).unwrap(), length);
        }
    }
}

/// A reply for each request is in the air when the peer sends others: each
/// request still ends once.
#[test]
fn requests_survive_replies_to_requests_never_made() {
    let mut outstanding = Outstanding::new(8);
    let seqs: Vec<Seq> = (0..8)
        .map(|n| outstanding.insert(n, Asked::Other).unwrap())
        .collect();
    for n in [1, 2, 7, 1 << 40, u64::MAX] {
        let stranger = Seq::new(n).unwrap();
        if !seqs.contains(&stranger) {
            assert!(outstanding.reply(&Reply::done(stranger)).is_err());
        }
    }
    for seq in seqs.iter().rev() {
        assert!(outstanding.reply(&Reply::done(*seq)).is_ok());
        assert!(outstanding.reply(&Reply::done(*seq)).is_err(), "twice");
    }
    assert!(outstanding.is_empty());
}

#[test]
fn maps_of_every_wrong_size_end_in_a_reason_or_in_dirty_extents() {
    for size in [0u32, 1, 7, 8, 511, 512, 513, MAX_MAP, MAX_MAP + 1, u32::MAX] {
        let mut buffer = [0; 512];
        let mut w = Writer::new(&mut buffer, 0);
        w.put("datasize", 1i64 << 30).put("extentsize", 1i32 << 21);
        w.put("localcnt", 0u64).put("remotecnt", 0u64);
        w.put("syncsrc", 1u8).put("mapsize", size).put("size", size);
        let length = w.finish().unwrap();
        let reply = Step2Reply::decode(&buffer[..length]);
        assert_eq!(reply.is_ok(), size <= MAX_MAP, "{size}");
    }
    // 512 extents are 64 bytes; of what is missing nothing is known.
    for length in 0..200 {
        let bitmap = Bitmap::from_map(512, &vec![0; length]);
        let known = 8 * u64::try_from(length.min(64)).unwrap();
        assert_eq!(bitmap.count(), 512 - known);
    }
}

#[test]
fn a_table_for_lzf_is_all_the_compressor_takes() {
    let (table, cost) = cost(Table::new);
    assert!(cost.peak <= 32 << 10);
    drop(table);
}
