//! LZF and the payloads around it: any stream expands or is refused, and
//! whatever is compressed expands to itself.
#![no_main]

use hast_core::lzf;
use hast_core::payload::{self, Checksum, Compression, Workspace};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((length, bytes)) = input.split_first_chunk::<2>() else {
        return;
    };
    let mut out = vec![0; usize::from(u16::from_le_bytes(*length))];
    let _ = lzf::decompress(bytes, &mut out);

    let mut workspace = Workspace::new(bytes.len());
    for compression in Compression::ALL {
        let (header, wire) = payload::prepare(bytes, compression, Checksum::Crc32, &mut workspace);
        let mut data = vec![0xaa; bytes.len()];
        header.receive(wire, &mut data).unwrap();
        assert_eq!(data, bytes);
    }
});
