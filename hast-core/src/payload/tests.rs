use super::*;
use proptest::prelude::*;

fn text(length: usize) -> Vec<u8> {
    b"Highgate stands on a hill. "
        .iter()
        .copied()
        .cycle()
        .take(length)
        .collect()
}

fn sent(data: &[u8], compression: Compression, checksum: Checksum) -> (Header, Vec<u8>) {
    let mut workspace = Workspace::new(1 << 17);
    let (header, wire) = prepare(data, compression, checksum, &mut workspace);
    (header, wire.to_vec())
}

/// spec/vectors-hast.md sections 3.2 and 3.3.
#[test]
fn holes_and_checksums_are_those_of_base() {
    let (header, wire) = sent(&[0; 4096], Compression::Hole, Checksum::None);
    assert_eq!((header.compression, header.size), (Compression::Hole, 4));
    assert_eq!(wire, [0, 0x10, 0, 0]);
    let (header, wire) = sent(&[0xab; 512], Compression::Hole, Checksum::Crc32);
    assert_eq!(header.digest, Digest::Crc32([0x7a, 0xe0, 0xab, 0x3f]));
    assert_eq!(wire, [0xab; 512]);
}

/// Base's receiver aborts when lzf saves less than 1024 bytes or states a
/// length of 1024 or less.
#[test]
fn lzf_is_only_used_where_base_can_receive_it() {
    for length in [1, 512, 1024, 1025, 1026, 1040, 1100, 1500, 4096] {
        let (header, wire) = sent(&text(length), Compression::Lzf, Checksum::None);
        if header.compression == Compression::Lzf {
            assert!(length > 1024 && wire.len() > 4 && wire.len() - 4 <= length - 1024);
        } else {
            assert_eq!(wire, text(length));
        }
        assert_eq!(
            header.compression == Compression::Lzf,
            length >= 1100,
            "{length}"
        );
    }
}

#[test]
fn zeros_of_an_odd_length_travel_as_they_are() {
    for length in [0, 1, 7, 9, 4095] {
        let (header, wire) = sent(&vec![0; length], Compression::Hole, Checksum::None);
        assert_eq!(
            (header.compression, wire.len()),
            (Compression::None, length)
        );
    }
}

#[test]
fn what_is_longer_than_the_workspace_travels_as_it_is() {
    let mut workspace = Workspace::new(0);
    let data = text(4096);
    let (header, wire) = prepare(&data, Compression::Lzf, Checksum::None, &mut workspace);
    assert!(header.is_verbatim() && wire == data);
    let (header, _) = prepare(&[0; 4096], Compression::Lzf, Checksum::None, &mut workspace);
    assert_eq!(header.compression, Compression::Hole);
}

/// A payload that is absent, short or long reached the disk in base (K9).
#[test]
fn only_the_exact_length_is_received() {
    for compression in Compression::ALL {
        for data in [vec![0; 2048], text(2048)] {
            let (header, wire) = sent(&data, compression, Checksum::None);
            for length in [0, 1, 4, 2047, 2049, 4096] {
                let mut out = vec![0xaa; length];
                let received = header.receive(&wire, &mut out);
                assert!(received.is_err(), "{compression:?} {length}");
            }
            let mut out = vec![0xaa; 2048];
            assert!(header.receive(&wire[..wire.len() - 1], &mut out).is_err());
            assert_eq!(header.receive(&wire, &mut out), Ok(()));
            assert_eq!(out, data);
        }
    }
    assert_eq!(Header::EMPTY.check(512), Err(PayloadError::Length));
}

#[test]
fn sizes_at_the_edges_are_refused_before_anything_is_read() {
    for compression in Compression::ALL {
        for size in [0, 1, 3, 5, 511, 513, u32::MAX] {
            let header = Header {
                compression,
                digest: Digest::None,
                size,
            };
            let possible = compression == Compression::Lzf && (5..=512).contains(&size);
            assert_eq!(
                header.check(512).is_ok(),
                possible,
                "{compression:?} {size}"
            );
        }
    }
}

proptest! {
    #[test]
    fn what_is_sent_is_received(
        data in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..3000),
            (0usize..5000).prop_map(text),
            (0usize..5000).prop_map(|n| vec![0; n]),
        ],
        compression in prop::sample::select(&Compression::ALL[..]),
        checksum in prop::sample::select(&Checksum::ALL[..]),
    ) {
        let (header, wire) = sent(&data, compression, checksum);
        let mut out = vec![0xaa; data.len()];
        prop_assert_eq!(header.receive(&wire, &mut out), Ok(()));
        prop_assert_eq!(out, data);
    }

    /// One changed bit never passes a checksum.
    #[test]
    fn damage_is_found(
        data in prop::collection::vec(any::<u8>(), 1..600),
        at in any::<prop::sample::Index>(),
        bit in 0u8..8,
        checksum in prop::sample::select(&Checksum::ALL[1..]),
    ) {
        let (header, mut wire) = sent(&data, Compression::Lzf, checksum);
        let at = at.index(wire.len());
        wire[at] ^= 1 << bit;
        let mut out = vec![0; data.len()];
        prop_assert_eq!(header.receive(&wire, &mut out), Err(PayloadError::Mismatch));
    }

    #[test]
    fn any_payload_is_received_or_refused(
        wire in prop::collection::vec(any::<u8>(), 0..200),
        compression in prop::sample::select(&Compression::ALL[..]),
        length in 0usize..3000,
    ) {
        let header = Header {
            compression,
            digest: Digest::None,
            size: u32::try_from(wire.len()).unwrap(),
        };
        let _ = header.receive(&wire, &mut vec![0; length]);
    }
}

#[test]
fn what_does_not_get_smaller_is_not_tried_for_ever() {
    let mut workspace = Workspace::new(1 << 16);
    // Nothing repeats.
    let mut state = 1_u64;
    let noise: Vec<u8> = core::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state.to_be_bytes()[0]
    })
    .take(8192)
    .collect();
    let text = b"the same again ".repeat(512);
    let compressed = |data: &[u8], workspace: &mut Workspace| {
        let (header, _) = prepare(data, Compression::Lzf, Checksum::None, workspace);
        header.compression
    };
    assert_eq!(compressed(&text, &mut workspace), Compression::Lzf);
    for _ in 0..LZF_PATIENCE {
        assert_eq!(compressed(&noise, &mut workspace), Compression::None);
    }
    // Not even this is tried now, but it is found in time.
    assert_eq!(compressed(&text, &mut workspace), Compression::None);
    let tries = (1..=LZF_RETRY).find(|_| compressed(&text, &mut workspace) == Compression::Lzf);
    assert!(tries.is_some());
    assert_eq!(compressed(&text, &mut workspace), Compression::Lzf);
}
