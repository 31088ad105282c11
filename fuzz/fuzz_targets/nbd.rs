//! The software gate's NBD: a handshake ends the same way however its bytes
//! are cut, and no request that is let through leaves the medium.
#![no_main]

use ggate::gate::Access;
use ggate::nbd::Export;
use ggate::nbd::negotiate::{Negotiation, Progress};
use ggate::nbd::proto::{MAX_PAYLOAD, REQUEST_LEN, RequestHeader};
use ggate::nbd::transmit::{Verdict, judge};
use ggate::range::Geometry;
use libfuzzer_sys::fuzz_target;

const MEDIA: u64 = 1 << 30;

/// What the handshake came to and all it said; output is bounded because it is
/// taken away before more is read, as the housekeeper does.
fn negotiate(bytes: &[u8], step: usize, export: &Export<'_>) -> (Progress, Vec<u8>) {
    let mut negotiation = Negotiation::new();
    let mut said = Vec::new();
    let mut result = Progress::More;
    let mut fed = 0;
    for part in bytes.chunks(step) {
        result = negotiation.feed(part, export);
        fed += part.len();
        said.extend_from_slice(negotiation.output());
        negotiation.sent(negotiation.output().len());
        if result != Progress::More {
            break;
        }
    }
    if let Progress::Ready { leftover, .. } = &mut result {
        leftover.extend_from_slice(&bytes[fed..]);
    }
    (result, said)
}

fn transmit(mut bytes: &[u8], export: &Export<'_>) {
    while let Some((header, rest)) = bytes.split_first_chunk::<REQUEST_LEN>() {
        let Some(header) = RequestHeader::decode(header) else {
            return;
        };
        let range = match judge(&header, export) {
            Verdict::Disconnect => return,
            Verdict::Read(range) | Verdict::Write { range, .. } => {
                assert!(range.length <= u64::from(MAX_PAYLOAD));
                range
            }
            Verdict::Trim { range, .. } | Verdict::Zeroes { range, .. } => range,
            Verdict::Flush | Verdict::Nothing | Verdict::Refuse(_) => {
                bytes = rest;
                continue;
            }
        };
        assert!(range.length > 0 && range.end().is_some_and(|end| end <= MEDIA));
        assert!(range.offset.is_multiple_of(512) && range.length.is_multiple_of(512));
        bytes = rest;
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((&[access, step], bytes)) = input.split_first_chunk() else {
        return;
    };
    let export = Export {
        name: "ggate0",
        geometry: Geometry {
            media_size: MEDIA,
            sector_size: 512,
        },
        access: [Access::ReadWrite, Access::ReadOnly, Access::WriteOnly][usize::from(access % 3)],
    };
    let whole = negotiate(bytes, bytes.len().max(1), &export);
    let cut = negotiate(bytes, usize::from(step).max(1), &export);
    assert_eq!(whole, cut);
    if let Progress::Ready { leftover, .. } = whole.0 {
        transmit(&leftover, &export);
    }
    transmit(bytes, &export);
});
