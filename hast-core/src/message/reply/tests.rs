use super::*;
use crate::frame::HEADER;
use crate::nv::{FieldError, Writer};
use crate::payload::{Compression, Digest};
use proptest::prelude::*;
use std::vec::Vec;

fn encoded(reply: &Reply) -> Vec<u8> {
    let mut buffer = [0xaa; crate::message::LONGEST];
    let length = reply.encode(Version::V2, &mut buffer).unwrap();
    buffer[..length].to_vec()
}

fn decode(put: impl FnOnce(&mut Writer<'_>)) -> Result<Reply, MessageError> {
    let mut buffer = [0; 512];
    let mut writer = Writer::new(&mut buffer, 0);
    put(&mut writer);
    let length = writer.finish().unwrap();
    Reply::decode(&buffer[..length])
}

/// spec/vectors-hast.md sections 4.1 to 4.3, made by base.
#[test]
fn replies_are_encoded_as_base_does() {
    let seq = |n| Seq::new(n).unwrap();
    assert_eq!(
        encoded(&Reply::received(seq(7))),
        b"\x02\x34\0\0\0\x08\x04\x08\0\0\0seq\0\0\0\0\0\x07\0\0\0\0\0\0\0\
        \x01\x09\x01\0\0\0received\0\0\0\0\0\0\0\0\x01\0\0\0\0\0\0\0"
    );
    assert_eq!(
        encoded(&Reply::done(seq(7))),
        b"\x02\x16\0\0\0\x08\x04\x08\0\0\0seq\0\0\0\0\0\x07\0\0\0\0\0\0\0"
    );
    assert_eq!(
        encoded(&Reply::failed(seq(11), Errno::EOPNOTSUPP)),
        b"\x02\x2c\0\0\0\x08\x04\x08\0\0\0seq\0\0\0\0\0\x0b\0\0\0\0\0\0\0\
        \x03\x06\x02\0\0\0error\0\0\0\x2d\0\0\0\0\0\0\0"
    );
}

#[test]
fn a_reply_to_nothing_is_recognised() {
    let nothing = Reply {
        seq: None,
        ..Reply::failed(Seq::new(1).unwrap(), Errno::EINVAL)
    };
    assert_eq!(Reply::decode(&encoded(&nothing)[HEADER..]), Ok(nothing));
    let missing = decode(|w| {
        w.put("error", 22i16);
    });
    assert_eq!(missing, Ok(nothing));
}

#[test]
fn impossible_replies_are_refused() {
    let with = |put: fn(&mut Writer<'_>)| {
        decode(|w| {
            w.put("seq", 1u64);
            put(w);
        })
    };
    assert!(with(|_| ()).is_ok());
    assert_eq!(
        with(|w| {
            w.put("error", 0i16);
        })
        .map(|r| r.error),
        Ok(None),
        "base takes 0 for success"
    );
    let length = Err(MessageError::Payload(PayloadError::Length));
    let cases: [(fn(&mut Writer<'_>), _); 6] = [
        (
            |w| {
                w.put("error", -1i16);
            },
            Err(MessageError::Value("error")),
        ),
        (
            |w| {
                w.put("error", 5i32);
            },
            Err(MessageError::Field(FieldError::WrongType("error"))),
        ),
        (
            |w| {
                w.put("size", 8u32).put("error", 5i16);
            },
            length,
        ),
        (
            |w| {
                w.put("size", 8u32).put("received", 1i8);
            },
            length,
        ),
        (
            |w| {
                w.put("size", u32::MAX);
            },
            Err(MessageError::Value("size")),
        ),
        (
            |w| {
                w.put("compression", "rle");
            },
            Err(MessageError::Payload(PayloadError::Compression)),
        ),
    ];
    for (put, error) in cases {
        assert_eq!(with(put), error);
    }
    let wrong = decode(|w| {
        w.put("seq", 1u32);
    });
    assert_eq!(
        wrong,
        Err(MessageError::Field(FieldError::WrongType("seq")))
    );
}

proptest! {
    #[test]
    fn what_is_encoded_is_decoded(
        seq in any::<u64>(), error in prop::option::of(1u16..0x8000), received: bool,
        size in 1u32..=LONGEST_DATA, hash: [u8; 32], data: bool,
    ) {
        let payload = Header {
            compression: Compression::Lzf,
            digest: Digest::Sha256(hash),
            size,
        };
        let data = data && error.is_none() && !received;
        let reply = Reply {
            seq: Seq::new(seq),
            received,
            error: error.and_then(Errno::new),
            payload: data.then_some(payload),
        };
        let bytes = encoded(&reply);
        prop_assert_eq!(Reply::decode(&bytes[HEADER..]), Ok(reply));
        prop_assert_eq!(reply.encode(Version::V2, &mut []), Err(Full { needed: bytes.len() }));
    }
}
