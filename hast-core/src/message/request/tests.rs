use super::*;
use crate::frame::HEADER;
use crate::payload::{Compression, Digest, PayloadError};
use proptest::prelude::*;
use std::vec::Vec;

const LIMITS: Limits = Limits {
    datasize: 1 << 20,
    sectorsize: 512,
    longest: 128 << 10,
};

fn seq(n: u64) -> Seq {
    Seq::new(n).unwrap()
}

fn range(offset: u64, length: u64) -> ByteRange {
    ByteRange::new(offset, length).unwrap()
}

fn verbatim(size: u32) -> Header {
    Header {
        compression: Compression::None,
        digest: Digest::None,
        size,
    }
}

fn encoded(request: &Request) -> Vec<u8> {
    let mut buffer = [0xaa; crate::message::LONGEST];
    let length = request.encode(Version::V2, &mut buffer).unwrap();
    buffer[..length].to_vec()
}

/// The entries of a message that is made by hand.
fn message(put: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = [0; 512];
    let mut writer = Writer::new(&mut buffer, 0);
    put(&mut writer);
    let length = writer.finish().unwrap();
    buffer[..length].to_vec()
}

/// A WRITE of 512 bytes at 0 but for what `change` puts first: the first of a
/// name counts.
fn write(change: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    message(|w| {
        change(w);
        w.put("cmd", WRITE).put("seq", 7u64);
        w.put("offset", 0u64).put("length", 512u64);
        w.put("memsync", 1u8).put("size", 512u32);
    })
}

/// spec/vectors-hast.md section 3.1, made by base.
#[test]
fn a_write_is_encoded_as_base_does() {
    let request = Request::Write {
        seq: seq(7),
        range: range(1 << 20, 4096),
        memsync: false,
        payload: verbatim(4096),
    };
    let base = b"\x02\x6e\0\0\0\x02\x04\x01\0\0\0cmd\0\0\0\0\0\x02\0\0\0\0\0\0\0\x08\x04\x08\0\0\
        \0seq\0\0\0\0\0\x07\0\0\0\0\0\0\0\x08\x07\x08\0\0\0offset\0\0\0\
        \0\x10\0\0\0\0\0\x08\x07\x08\0\0\0length\0\0\0\x10\0\0\0\0\0\0\x06\x05\x04\
        \0\0\0size\0\0\0\0\0\x10\0\0\0\0\0\0";
    assert_eq!(encoded(&request), base);
}

/// spec/vectors-hast.md section 3.7, made by base.
#[test]
fn keepalives_carry_a_number_only_between_ours() {
    let plain = encoded(&Request::Keepalive { seq: None });
    assert_eq!(
        plain,
        b"\x02\x16\0\0\0\x02\x04\x01\0\0\0cmd\0\0\0\0\0\x05\0\0\0\0\0\0\0"
    );
    let asking = Request::Keepalive { seq: Some(seq(9)) };
    assert_eq!(Request::decode(&encoded(&asking)[HEADER..]), Ok(asking));
}

#[test]
fn the_longest_request_fits_the_buffer() {
    let request = Request::Write {
        seq: seq(u64::MAX),
        range: range(0, 1 << 20),
        memsync: true,
        payload: Header {
            compression: Compression::Hole,
            digest: Digest::Sha256([0xff; 32]),
            size: 4,
        },
    };
    let length = encoded(&request).len();
    assert!(length <= crate::message::LONGEST && length > crate::message::LONGEST - 64);
}

/// What leaves the stream in step is answered; the payload is skipped, which
/// base forgets (K28).
#[test]
fn each_refusal_names_its_reason_and_what_to_skip() {
    let cases = [
        (
            write(|w| {
                w.put("seq", 0u64);
            }),
            None,
            Reason::Seq,
        ),
        (
            write(|w| {
                w.put("seq", 7u32);
            }),
            None,
            Reason::Seq,
        ),
        (
            write(|w| {
                w.put("offset", 0u32);
            }),
            Some(seq(7)),
            Reason::Field(FieldError::WrongType("offset")),
        ),
        (
            write(|w| {
                w.put("length", 0u64);
            }),
            Some(seq(7)),
            Reason::Range,
        ),
        (
            write(|w| {
                w.put("offset", u64::MAX);
            }),
            Some(seq(7)),
            Reason::Range,
        ),
        (
            write(|w| {
                w.put("length", u64::MAX).put("offset", 1u64);
            }),
            Some(seq(7)),
            Reason::Range,
        ),
    ];
    for (entries, seq, reason) in cases {
        let refusal = Refusal {
            seq,
            received: true,
            drain: 512,
            reason,
        };
        assert_eq!(
            Request::decode(&entries),
            Err(RequestError::Refused(refusal)),
            "{reason}"
        );
        let reply = refusal.reply();
        assert_eq!(reply.error, Some(Errno::EINVAL));
        assert!(reply.received && reply.seq == seq);
    }
}

/// What leaves nobody knowing where the next message begins ends the
/// connection.
#[test]
fn what_cannot_be_followed_is_fatal() {
    let length = MessageError::Payload(PayloadError::Length);
    let cases = [
        (
            message(|_| ()),
            MessageError::Field(FieldError::Missing("cmd")),
        ),
        (
            message(|w| {
                w.put("cmd", 1i8);
            }),
            MessageError::Field(FieldError::WrongType("cmd")),
        ),
        (
            message(|w| {
                w.put("cmd", 0u8);
            }),
            MessageError::Value("cmd"),
        ),
        (
            message(|w| {
                w.put("cmd", 6u8);
            }),
            MessageError::Value("cmd"),
        ),
        (
            write(|w| {
                w.put("size", 512u64);
            }),
            MessageError::Field(FieldError::WrongType("size")),
        ),
        (
            write(|w| {
                w.put("size", u32::MAX);
            }),
            MessageError::Value("size"),
        ),
        (
            write(|w| {
                w.put("size", LONGEST_DATA + 1);
            }),
            MessageError::Value("size"),
        ),
        (
            write(|w| {
                w.put("size", 0u32);
            }),
            length,
        ),
        (
            write(|w| {
                w.put("size", 511u32);
            }),
            length,
        ),
        (
            write(|w| {
                w.put("size", LONGEST_DATA);
            }),
            length,
        ),
        (
            write(|w| {
                w.put("compression", "hole");
            }),
            length,
        ),
        (
            write(|w| {
                w.put("compression", "zstd");
            }),
            MessageError::Payload(PayloadError::Compression),
        ),
        (
            write(|w| {
                w.put("checksum", "md5");
            }),
            MessageError::Payload(PayloadError::Checksum),
        ),
        (
            write(|w| {
                w.put("checksum", "crc32");
            }),
            MessageError::Payload(PayloadError::Field(FieldError::Missing("hash"))),
        ),
        (
            write(|w| {
                w.put("checksum", "crc32").put("hash", [0; 32].as_slice());
            }),
            MessageError::Payload(PayloadError::Hash),
        ),
    ];
    for (entries, error) in cases {
        assert_eq!(Request::decode(&entries), Err(RequestError::Fatal(error)));
    }
}

#[test]
fn requests_are_checked_against_the_component() {
    let end = LIMITS.datasize;
    let cases = [
        (range(0, 512), None),
        (range(end - 512, 512), None),
        (range(0, 128 << 10), None),
        (range(0, (128 << 10) + 512), Some(Reason::TooLong)),
        (range(0, u64::MAX), Some(Reason::TooLong)),
        (range(1, 512), Some(Reason::Unaligned)),
        (range(0, 511), Some(Reason::Unaligned)),
        (range(end - 512, 1024), Some(Reason::BeyondEnd)),
        (range(end, 512), Some(Reason::BeyondEnd)),
        (range(u64::MAX - 1023, 512), Some(Reason::BeyondEnd)),
    ];
    for (range, reason) in cases {
        let read = Request::Read { seq: seq(1), range };
        let write = Request::Write {
            seq: seq(1),
            range,
            memsync: true,
            payload: verbatim(77),
        };
        let refused = |request: Request| request.validate(&LIMITS).err();
        assert_eq!(refused(read).map(|r| r.reason), reason, "{range}");
        assert_eq!(refused(write).map(|r| r.reason), reason, "{range}");
        assert!(refused(read).is_none_or(|r| r.drain == 0 && !r.received));
        assert!(refused(write).is_none_or(|r| r.drain == 77 && r.received));
    }
    // A DELETE may be as long as the data.
    let delete = |range| Request::Delete { seq: seq(1), range }.validate(&LIMITS);
    assert_eq!(delete(range(0, end)), Ok(()));
    assert!(delete(range(0, end + 512)).is_err());
    assert_eq!(Request::Flush { seq: seq(1) }.validate(&LIMITS), Ok(()));
}

#[test]
fn unknown_entries_change_nothing() {
    let entries = write(|w| {
        w.put("hg_future", 1u64).put("cmd2", "text");
    });
    assert!(matches!(
        Request::decode(&entries),
        Ok(Request::Write { memsync: true, .. })
    ));
}

fn any_request() -> impl Strategy<Value = Request> {
    let seq = (1u64..).prop_map(seq);
    let range = (any::<u64>(), 1u64..1 << 22)
        .prop_filter_map("fits", |(offset, length)| ByteRange::new(offset, length));
    let digest = prop_oneof![
        Just(Digest::None),
        any::<[u8; 4]>().prop_map(Digest::Crc32),
        any::<[u8; 32]>().prop_map(Digest::Sha256),
    ];
    (seq, range, digest, any::<bool>(), 0u8..8).prop_map(|(seq, range, digest, flag, kind)| {
        let length = u32::try_from(range.length()).unwrap();
        let write = |compression, size| Request::Write {
            seq,
            range,
            memsync: flag,
            payload: Header {
                compression,
                digest,
                size,
            },
        };
        match kind {
            0 => Request::Read { seq, range },
            1 => Request::Delete { seq, range },
            2 => Request::Flush { seq },
            3 => Request::Keepalive {
                seq: flag.then_some(seq),
            },
            4 => write(Compression::Hole, 4),
            5 if length > 4 => write(Compression::Lzf, length / 2 + 3),
            _ => write(Compression::None, length),
        }
    })
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(request in any_request()) {
        let bytes = encoded(&request);
        prop_assert_eq!(Request::decode(&bytes[HEADER..]), Ok(request));
        let exact = request.encode(Version::V2, &mut []);
        prop_assert_eq!(exact, Err(Full { needed: bytes.len() }));
    }

    /// Whatever comes is a request, a refusal that skips little, or the end.
    #[test]
    fn damage_is_refused(request in any_request(), at in any::<prop::sample::Index>(), byte: u8) {
        let mut bytes = encoded(&request);
        let at = at.index(bytes.len() - HEADER) + HEADER;
        bytes[at] = byte;
        match Request::decode(&bytes[HEADER..]) {
            Ok(request) => prop_assert!(request.payload_size() <= LONGEST_DATA),
            Err(RequestError::Refused(refusal)) => prop_assert!(refusal.drain <= LONGEST_DATA),
            Err(RequestError::Fatal(_)) => {}
        }
    }
}

/// To base it is a KEEPALIVE, whose other entries it ignores.
#[test]
fn a_state_is_a_keepalive_with_more_entries() {
    let state = Request::State {
        seq: Seq::new(9).unwrap(),
        consistency: Consistency::Inconsistent,
        raise: Some(4),
        generation: Generation::new(7),
    };
    let mut buffer = [0; super::super::LONGEST];
    let length = state.encode(Version::V2, &mut buffer).unwrap();
    let entries = &buffer[frame::HEADER..length];
    assert_eq!(Request::decode(entries), Ok(state));
    let [cmd] = pick(entries, ["cmd"]).unwrap();
    assert_eq!(cmd.get::<u8>(), Ok(KEEPALIVE));
}
