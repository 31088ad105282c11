use super::*;
use proptest::prelude::*;
use std::vec;
use std::vec::Vec;

fn written(put: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = vec![0xaa; 4096];
    let mut writer = Writer::new(&mut buffer, 0);
    put(&mut writer);
    let length = writer.finish().unwrap();
    buffer.truncate(length);
    buffer
}

/// spec/vectors-hast.md section 1: made by base's own encoder.
#[test]
fn values_are_encoded_as_base_does() {
    let cases: [(Vec<u8>, &[u8]); 5] = [
        (
            written(|w| {
                w.put("a", -2i8);
            }),
            b"\x01\x02\x01\0\0\0a\0\0\0\0\0\0\0\xfe\0\0\0\0\0\0\0",
        ),
        (
            written(|w| {
                w.put("a", -2i16);
            }),
            b"\x03\x02\x02\0\0\0a\0\0\0\0\0\0\0\xfe\xff\0\0\0\0\0\0",
        ),
        (
            written(|w| {
                w.put("a", 0x0102_0304u32);
            }),
            b"\x06\x02\x04\0\0\0a\0\0\0\0\0\0\0\x04\x03\x02\x01\0\0\0\0",
        ),
        (
            written(|w| {
                w.put("a", 0x0102_0304_0506_0708u64);
            }),
            b"\x08\x02\x08\0\0\0a\0\0\0\0\0\0\0\x08\x07\x06\x05\x04\x03\x02\x01",
        ),
        (
            written(|w| {
                w.put("eightchr", "");
            }),
            b"\x11\x09\x01\0\0\0eightchr\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
        ),
    ];
    for (ours, base) in cases {
        assert_eq!(ours, base);
    }
}

/// spec/vectors-hast.md section 1: an array of uint16, which no message has.
#[test]
fn arrays_of_other_types_are_read_over() {
    let bytes = b"\x0c\x08\x06\0\0\0sevench\0\x01\0\x02\0\x04\x03\0\0";
    let entry = Entries::new(bytes).next().unwrap().unwrap();
    assert_eq!(entry.kind(), Type::Uint16Array);
    assert_eq!(entry.name(), b"sevench");
    assert_eq!(entry.data(), b"\x01\0\x02\0\x04\x03");
}

/// spec/vectors-hast.md section 8. Base pads these lengths in 32 bits, gets 0
/// and reads out of bounds (K43).
#[test]
fn lengths_that_overflow_when_padded_are_refused() {
    for length in [0xffff_ffffu32, 0xffff_fff9, 0xffff_fff8, 0x8000_0000] {
        let mut bytes = *b"\x09\x02\0\0\0\0a\0\0\0\0\0\0\0";
        bytes[2..6].copy_from_slice(&length.to_le_bytes());
        assert_eq!(pick(&bytes, ["a"]).unwrap_err(), Malformed::Truncated);
    }
}

#[test]
fn each_rule_of_the_receiver_refuses() {
    let good = written(|w| {
        w.put("name", 7u16);
    });
    assert!(pick(&good, ["name"]).is_ok());
    let changed = |at: usize, byte: u8| {
        let mut bytes = good.clone();
        bytes[at] = byte;
        pick(&bytes, ["name"]).map(|[field]| field.is_present())
    };
    assert_eq!(changed(0, 0), Ok(false), "type 0 ends the message");
    assert_eq!(changed(0, 18), Err(Malformed::Type));
    assert_eq!(changed(0, 0x80), Err(Malformed::Type));
    assert_eq!(changed(1, 0), Err(Malformed::Name));
    assert_eq!(changed(1, 4), Err(Malformed::Name), "no NUL at the end");
    assert_eq!(changed(1, 6), Err(Malformed::Name), "two NULs");
    assert_eq!(changed(1, 255), Err(Malformed::Truncated));
    assert_eq!(changed(2, 0), Err(Malformed::Length));
    assert_eq!(changed(2, 3), Err(Malformed::Length), "not a uint16");
    assert_eq!(changed(2, 9), Err(Malformed::Truncated));
    assert_eq!(changed(0, 12), Ok(true), "an array of one uint16");
    let text = written(|w| {
        w.put("s", "ab");
    });
    for (at, byte) in [(text.len() - 6, b'c'), (text.len() - 7, 0)] {
        let mut bytes = text.clone();
        bytes[at] = byte;
        assert_eq!(pick(&bytes, ["s"]).unwrap_err(), Malformed::Length);
    }
}

#[test]
fn every_truncation_is_refused() {
    let bytes = written(|w| {
        w.put("a", 1u8).put("longer name", "text");
    });
    let whole = Entries::new(&bytes).next().unwrap().unwrap();
    assert_eq!(whole.name(), b"a");
    for end in 0..bytes.len() {
        let cut = pick(&bytes[..end], ["a"]);
        match end {
            0 => assert!(!cut.unwrap()[0].is_present()),
            22 => assert!(cut.unwrap()[0].is_present(), "a boundary"),
            _ => assert_eq!(cut.unwrap_err(), Malformed::Truncated, "{end}"),
        }
    }
}

#[test]
fn the_first_of_a_name_counts_and_its_type_must_be_exact() {
    let bytes = written(|w| {
        w.put("x", 1u8).put("y", 3u64).put("x", 2u64);
    });
    let [y, x, z] = pick(&bytes, ["y", "x", "z"]).unwrap();
    assert_eq!(y.get::<u64>(), Ok(3));
    assert_eq!(x.get::<u8>(), Ok(1));
    assert_eq!(x.get::<u64>(), Err(FieldError::WrongType("x")));
    assert_eq!(x.get::<i8>(), Err(FieldError::WrongType("x")));
    assert_eq!(x.optional::<u64>(), Err(FieldError::WrongType("x")));
    assert_eq!(z.get::<u8>(), Err(FieldError::Missing("z")));
    assert_eq!(z.optional::<u8>(), Ok(None));
    assert!(y.is_present() && !z.is_present());
}

#[test]
fn an_entry_in_host_order_is_taken_as_little_endian() {
    let mut bytes = written(|w| {
        w.put("x", 5u64);
    });
    bytes[0] |= 0x80;
    let [x] = pick(&bytes, ["x"]).unwrap();
    assert_eq!(x.get::<u64>(), Ok(5));
}

#[test]
fn a_short_buffer_is_told_the_exact_length() {
    let mut short = [0xaa; 30];
    let mut writer = Writer::new(&mut short, 5);
    writer.put("x", 5u64).put("text", "some text");
    let needed = 5 + 22 + (6 + 8 + 16);
    assert_eq!(writer.finish(), Err(Full { needed }));
    let mut exact = vec![0; needed];
    let mut writer = Writer::new(&mut exact, 5);
    writer.put("x", 5u64).put("text", "some text");
    assert_eq!(writer.finish(), Ok(needed));
}

#[test]
fn a_nul_inside_text_never_reaches_the_peer() {
    let bytes = written(|w| {
        w.put("t", Text(b"ab\0cd"));
    });
    let [t] = pick(&bytes, ["t"]).unwrap();
    assert_eq!(t.get::<Text>(), Ok(Text(b"ab")));
}

#[test]
fn text_cannot_command_the_terminal() {
    let shown = std::format!("{}", Text(b"a\x1b[2J\nb\xff\xc3\xa9"));
    assert_eq!(shown, "a?[2J?b\u{fffd}\u{e9}");
}

#[derive(Clone, Debug)]
enum Item {
    I8(i8),
    U8(u8),
    I16(i16),
    U16(u16),
    I32(i32),
    U32(u32),
    I64(i64),
    U64(u64),
    Bytes(Vec<u8>),
    Text(Vec<u8>),
}

fn item() -> impl Strategy<Value = Item> {
    prop_oneof![
        any::<i8>().prop_map(Item::I8),
        any::<u8>().prop_map(Item::U8),
        any::<i16>().prop_map(Item::I16),
        any::<u16>().prop_map(Item::U16),
        any::<i32>().prop_map(Item::I32),
        any::<u32>().prop_map(Item::U32),
        any::<i64>().prop_map(Item::I64),
        any::<u64>().prop_map(Item::U64),
        prop::collection::vec(any::<u8>(), 1..70).prop_map(Item::Bytes),
        prop::collection::vec(1..=u8::MAX, 0..70).prop_map(Item::Text),
    ]
}

proptest! {
    /// Whatever is written is read back, in any order, and the first of
    /// equal names wins.
    #[test]
    fn what_is_written_is_read(items in prop::collection::vec((0u32..12, item()), 0..20)) {
        let bytes = written(|w| for (n, item) in &items {
            let name = Numbered::new("n", *n);
            let name = name.as_str();
            match item {
                Item::I8(v) => w.put(name, *v),
                Item::U8(v) => w.put(name, *v),
                Item::I16(v) => w.put(name, *v),
                Item::U16(v) => w.put(name, *v),
                Item::I32(v) => w.put(name, *v),
                Item::U32(v) => w.put(name, *v),
                Item::I64(v) => w.put(name, *v),
                Item::U64(v) => w.put(name, *v),
                Item::Bytes(v) => w.put(name, v.as_slice()),
                Item::Text(v) => w.put(name, Text(v)),
            };
        });
        let names = ["n0", "n1", "n2", "n3", "n4", "n5", "n6", "n7", "n8", "n9", "n10", "n11"];
        let fields = pick(&bytes, names).unwrap();
        for (n, field) in (0u32..).zip(&fields) {
            let Some((_, first)) = items.iter().find(|(m, _)| *m == n) else {
                prop_assert!(!field.is_present());
                continue;
            };
            match first {
                Item::I8(v) => prop_assert_eq!(field.get::<i8>(), Ok(*v)),
                Item::U8(v) => prop_assert_eq!(field.get::<u8>(), Ok(*v)),
                Item::I16(v) => prop_assert_eq!(field.get::<i16>(), Ok(*v)),
                Item::U16(v) => prop_assert_eq!(field.get::<u16>(), Ok(*v)),
                Item::I32(v) => prop_assert_eq!(field.get::<i32>(), Ok(*v)),
                Item::U32(v) => prop_assert_eq!(field.get::<u32>(), Ok(*v)),
                Item::I64(v) => prop_assert_eq!(field.get::<i64>(), Ok(*v)),
                Item::U64(v) => prop_assert_eq!(field.get::<u64>(), Ok(*v)),
                Item::Bytes(v) => prop_assert_eq!(field.get::<&[u8]>(), Ok(v.as_slice())),
                Item::Text(v) => prop_assert_eq!(field.get::<Text>(), Ok(Text(v))),
            }
        }
    }

    /// Any bytes end in entries or an error, and entries stay inside.
    #[test]
    fn any_bytes_are_refused_or_read(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let mut taken = 0;
        for entry in Entries::new(&bytes).flatten() {
            taken += HEADER + entry.name().len() + 1 + entry.data().len();
            prop_assert!(taken <= bytes.len());
        }
    }

    /// Damage to a valid message is refused or read, but never more than read.
    #[test]
    fn damaged_messages_do_not_panic(at in 0usize..52, byte in any::<u8>(), end in 0usize..60) {
        let mut bytes = written(|w| { w.put("x", 5u64).put("text", "some text"); });
        bytes[at] = byte;
        bytes.truncate(end);
        if let Ok([x, text]) = pick(&bytes, ["x", "text"]) {
            let _ = (x.get::<u64>(), text.get::<Text>());
        }
    }
}
