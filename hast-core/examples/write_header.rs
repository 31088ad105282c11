//! Encodes and decodes the header of a WRITE, again and again, for
//! `scripts/count-write-header.sh` to count the instructions of.

use hast_core::frame::{Decoder, Event, NODE_LIMIT};
use hast_core::message::{LONGEST, Request};
use hast_core::payload::{Compression, Digest, Header};
use hast_core::units::{ByteRange, Seq, Version};
use std::hint::black_box;

/// As often as the script divides by.
const TIMES: u64 = 1000;

/// What is counted: a request into bytes, and these bytes, as they arrive,
/// into a request.
#[inline(never)]
fn write_header(request: &Request, decoder: &mut Decoder) -> Option<Request> {
    let mut buffer = [0; LONGEST];
    let length = request.encode(Version::V2, &mut buffer).ok()?;
    let (_, event) = decoder.next(black_box(&buffer[..length])).ok()?;
    let Some(Event::Message(entries)) = event else {
        return None;
    };
    Request::decode(entries).ok()
}

fn main() {
    let mut decoder = Decoder::new(NODE_LIMIT);
    for n in 1..=TIMES {
        // What the default configuration sends.
        let request = Request::Write {
            seq: Seq::new(n).expect("n is not 0"),
            range: ByteRange::new(n * 4096, 4096).expect("n is small"),
            memsync: true,
            payload: Header {
                compression: Compression::None,
                digest: Digest::None,
                size: 4096,
            },
        };
        let again = write_header(black_box(&request), &mut decoder);
        assert_eq!(again, Some(request));
    }
}
