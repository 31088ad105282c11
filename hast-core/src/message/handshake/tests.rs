use super::*;
use crate::frame::HEADER;
use crate::payload::{Compression, Digest, Header};
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

const TOKEN: Token = Token([
    0x00, 0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88, 0x99, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0xff,
]);

fn bytes(encode: impl FnOnce(&mut [u8]) -> Result<usize, Full>) -> Vec<u8> {
    let mut buffer = vec![0xaa; 2048];
    let length = encode(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

fn entries(put: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    bytes(|buffer| {
        let mut writer = Writer::new(buffer, 0);
        put(&mut writer);
        writer.finish()
    })
}

fn node() -> Node {
    Node {
        datasize: 67_104_256,
        extentsize: 2 << 20,
        counters: Counters::default(),
        virgin: false,
        generation: None,
        consistency: Consistency::Consistent,
        longest: BASE_LONGEST,
        dirty: None,
    }
}

/// spec/vectors-hast.md section 2.1, made by base.
#[test]
fn step_1_is_encoded_as_base_does() {
    let request = Step1Request {
        resource: "shared".into(),
        version: 2,
        extensions: Extensions::NONE,
    };
    assert_eq!(
        bytes(|b| request.encode(b)),
        b"\x01\x34\0\0\0\x11\x09\x07\0\0\0resource\0\0\0\0\0\0\0\0shared\0\0\
        \x02\x08\x01\0\0\0version\0\x02\0\0\0\0\0\0\0"
    );
}

/// What base would not say is not said to base either.
#[test]
fn our_entries_are_sent_only_where_they_say_something() {
    let names = |message: &[u8]| -> Vec<_> {
        crate::nv::Entries::new(&message[HEADER..])
            .map(|entry| std::string::String::from_utf8(entry.unwrap().name().to_vec()).unwrap())
            .filter(|name| name.starts_with("hg_"))
            .collect()
    };
    let reply = |node| Step2Reply::Accepted {
        node,
        source: SyncSource::Primary,
        map: None,
    };
    let plain = reply(node());
    assert!(names(&bytes(|b| plain.encode(Version::V2, b))).is_empty());
    let ours = reply(Node {
        generation: Generation::new(9),
        consistency: Consistency::Inconsistent,
        longest: 1 << 20,
        dirty: Some(0),
        ..node()
    });
    assert_eq!(
        names(&bytes(|b| ours.encode(Version::V2, b))),
        ["hg_generation", "hg_consistent", "hg_longest", "hg_dirty"]
    );
}

#[test]
fn extensions_are_those_both_know() {
    let unknown = Extensions(1 << 63).or(Extensions::KEEPALIVE_REPLY);
    let both = unknown.and(Extensions::ALL);
    assert_eq!(both, Extensions::KEEPALIVE_REPLY);
    assert!(!both.contains(Extensions::UNCONFIRMED_MAP));
    assert!(both.contains(Extensions::NONE));
}

#[test]
fn a_token_makes_it_step_2() {
    let full = |w: &mut Writer<'_>| {
        w.put("resource", "shared");
        w.put("token", TOKEN.0.as_slice());
        w.put("resuid", 7u64);
        w.put("localcnt", 1u64);
        w.put("remotecnt", 2u64);
    };
    assert!(matches!(
        Opening::decode(&entries(full)),
        Ok(Opening::Step2(step2)) if step2.token == TOKEN && !step2.virgin
    ));
    let broken = |put: fn(&mut Writer<'_>)| {
        let bytes = entries(|w| {
            put(w);
            full(w);
        });
        Opening::decode(&bytes).map(|_| ())
    };
    let wrong = |name| Err(MessageError::Field(crate::nv::FieldError::WrongType(name)));
    let cases: [(fn(&mut Writer<'_>), _); 6] = [
        (
            |w| {
                w.put("token", [0; 15].as_slice());
            },
            Err(MessageError::Value("token")),
        ),
        (
            |w| {
                w.put("token", [0; 17].as_slice());
            },
            Err(MessageError::Value("token")),
        ),
        (
            |w| {
                w.put("token", 1u8);
            },
            wrong("token"),
        ),
        (
            |w| {
                w.put("resuid", 0u64);
            },
            Err(MessageError::Value("resuid")),
        ),
        (
            |w| {
                w.put("localcnt", 1i64);
            },
            wrong("localcnt"),
        ),
        (
            |w| {
                w.put("resource", 1u8);
            },
            wrong("resource"),
        ),
    ];
    for (put, error) in cases {
        assert_eq!(broken(put), error);
    }
}

#[test]
fn step_1_is_answered_or_refused() {
    let refused = Step1Reply::Refused {
        reason: "Remote node acts as primary for the resource and not as secondary.".into(),
        wait: true,
    };
    let message = bytes(|b| refused.encode(b));
    assert_eq!(Step1Reply::decode(&message[HEADER..]), Ok(refused));
    let newer = entries(|w| {
        w.put("version", 3u8).put("token", TOKEN.0.as_slice());
    });
    assert_eq!(
        Step1Reply::decode(&newer),
        Err(MessageError::Value("version"))
    );
    let old = entries(|w| {
        w.put("token", TOKEN.0.as_slice());
    });
    assert_eq!(
        Step1Reply::decode(&old),
        Ok(Step1Reply::Accepted {
            version: Version::V1,
            token: TOKEN,
            extensions: Extensions::NONE,
        })
    );
    assert!(
        Step1Reply::decode(&entries(|w| {
            w.put("version", 2u8);
        }))
        .is_err()
    );
}

/// A secondary that says impossible things about itself.
#[test]
fn an_impossible_answer_to_step_2_is_refused() {
    let answer = |put: fn(&mut Writer<'_>)| {
        let bytes = entries(|w| {
            put(w);
            w.put("datasize", 1i64 << 20).put("extentsize", 1i32 << 16);
            w.put("localcnt", 0u64).put("remotecnt", 0u64);
            w.put("syncsrc", 1u8).put("mapsize", 512u32);
            w.put("size", 512u32);
        });
        Step2Reply::decode(&bytes).map(|_| ())
    };
    assert_eq!(answer(|_| ()), Ok(()));
    let length = Err(MessageError::Payload(PayloadError::Length));
    let value = |name| Err(MessageError::Value(name));
    let cases: [(fn(&mut Writer<'_>), _); 12] = [
        (
            |w| {
                w.put("datasize", -1i64);
            },
            value("datasize"),
        ),
        (
            |w| {
                w.put("extentsize", i32::MIN);
            },
            value("extentsize"),
        ),
        (
            |w| {
                w.put("syncsrc", 0u8);
            },
            value("syncsrc"),
        ),
        (
            |w| {
                w.put("syncsrc", 3u8);
            },
            value("syncsrc"),
        ),
        (
            |w| {
                w.put("mapsize", u32::MAX);
            },
            value("mapsize"),
        ),
        (
            |w| {
                w.put("mapsize", MAX_MAP + 1);
            },
            value("mapsize"),
        ),
        (
            |w| {
                w.put("mapsize", 0u32);
            },
            length,
        ),
        (
            |w| {
                w.put("mapsize", 511u32);
            },
            length,
        ),
        (
            |w| {
                w.put("size", 0u32);
            },
            length,
        ),
        (
            |w| {
                w.put("size", u32::MAX);
            },
            length,
        ),
        (
            |w| {
                w.put("hg_longest", 512u32);
            },
            value("hg_longest"),
        ),
        (
            |w| {
                w.put("hg_consistent", 2u8);
            },
            value("hg_consistent"),
        ),
    ];
    for (put, error) in cases {
        assert_eq!(answer(put), error);
    }
}

#[test]
fn a_refusal_is_understood_whatever_stands_before_it() {
    let bare = entries(|w| {
        w.put("errmsg", SPLIT_BRAIN);
    });
    let reason = SPLIT_BRAIN.into();
    assert_eq!(
        Step2Reply::decode(&bare),
        Ok(Step2Reply::Refused { node: None, reason })
    );
    let refused = Step2Reply::Refused {
        node: Some(node()),
        reason,
    };
    let message = bytes(|b| refused.encode(Version::V2, b));
    assert_eq!(Step2Reply::decode(&message[HEADER..]), Ok(refused));
}

fn consistency() -> impl Strategy<Value = Consistency> {
    prop::sample::select(vec![Consistency::Consistent, Consistency::Inconsistent])
}

fn counters() -> impl Strategy<Value = Counters> {
    (any::<u64>(), any::<u64>()).prop_map(|(local, remote)| Counters { local, remote })
}

proptest! {
    #[test]
    fn openings_are_decoded_as_encoded(
        resource in "[^\0]{1,60}", version: u8, extensions: u64, token: [u8; 16], virgin: bool,
        resuid in 1u64.., counters in counters(), generation: u64, consistency in consistency(),
        dirty: Option<u64>,
    ) {
        let step1 = Step1Request {
            resource: resource.as_str().into(),
            version,
            extensions: Extensions(extensions),
        };
        let message = bytes(|b| step1.encode(b));
        prop_assert_eq!(Opening::decode(&message[HEADER..]), Ok(Opening::Step1(step1)));
        let step2 = Step2Request {
            resource: resource.as_str().into(),
            token: Token(token),
            virgin,
            resuid: ResUid::new(resuid).unwrap(),
            counters,
            generation: Generation::new(generation),
            consistency,
            dirty,
        };
        let message = bytes(|b| step2.encode(Version::V2, b));
        prop_assert_eq!(Opening::decode(&message[HEADER..]), Ok(Opening::Step2(step2)));
    }

    #[test]
    fn answers_are_decoded_as_encoded(
        datasize in 0..=i64::MAX.cast_unsigned(), extentsize in 0..=i32::MAX.cast_unsigned(),
        counters in counters(), virgin: bool, generation: u64, consistency in consistency(),
        longest in BASE_LONGEST.., dirty: Option<u64>, secondary: bool, size in 0..=MAX_MAP, hole: bool,
        reason in prop::option::of("[^\0]{0,100}"),
    ) {
        let node = Node {
            datasize, extentsize, counters, virgin,
            generation: Generation::new(generation), consistency, longest, dirty,
        };
        let payload = Header {
            compression: if hole { Compression::Hole } else { Compression::None },
            digest: Digest::Crc32([1, 2, 3, 4]),
            size: if hole { 4 } else { size },
        };
        let reply = match &reason {
            Some(reason) => Step2Reply::Refused {
                node: Some(node),
                reason: reason.as_str().into(),
            },
            None => Step2Reply::Accepted {
                node,
                source: if secondary { SyncSource::Secondary } else { SyncSource::Primary },
                map: (size > 0).then_some(Map { size, payload }),
            },
        };
        let message = bytes(|b| reply.encode(Version::V1, b));
        prop_assert_eq!(Step2Reply::decode(&message[HEADER..]), Ok(reply));
    }

    /// The handshake is what strangers reach first.
    #[test]
    fn any_bytes_are_decoded_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Opening::decode(&bytes);
        let _ = Step1Reply::decode(&bytes);
        let _ = Step2Reply::decode(&bytes);
    }
}
