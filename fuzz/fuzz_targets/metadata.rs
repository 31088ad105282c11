//! The metadata block: what is read can be written, and what passes the
//! checks stays inside the provider.
#![no_main]

use hast_core::metadata::{BLOCK_LENGTH, Metadata, Provider};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let mut block = [0; BLOCK_LENGTH];
    let length = bytes.len().min(BLOCK_LENGTH);
    block[..length].copy_from_slice(&bytes[..length]);
    let Ok(metadata) = Metadata::decode(&block) else {
        return;
    };
    let provider = Provider {
        mediasize: 1 << 40,
        sectorsize: 512,
    };
    if let Ok(extents) = metadata.validate(provider) {
        assert!(4096 + extents.map_size(512) <= metadata.localoff);
        assert!(metadata.localoff + metadata.datasize <= provider.mediasize);
    }
    let mut again = [0; BLOCK_LENGTH];
    if metadata.encode(&mut again).is_ok() {
        assert_eq!(Metadata::decode(&again), Ok(metadata));
    }
});
