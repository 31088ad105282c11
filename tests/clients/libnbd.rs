//! nbdinfo and nbdcopy of libnbd.

use crate::provider::Provider;
use std::fs;

#[test]
fn nbdinfo_sees_what_the_provider_is() {
    let provider = Provider::new(16 << 20);
    let uri = provider.uri();
    let info = provider.chain.sandbox.run("/usr/bin/nbdinfo", [&uri]);
    assert_eq!(info.code(), 0, "{info:?}");
    for part in [
        "newstyle-fixed",
        "export-size: 16777216 (16M)",
        "is_read_only: false",
        "can_flush: true",
        "can_fua: true",
        "can_multi_conn: true",
        "can_trim: true",
        "can_zero: true",
        "block_size_minimum: 512",
    ] {
        assert!(
            info.stdout.contains(part),
            "{part} is not in {}",
            info.stdout
        );
    }
    let list = provider
        .chain
        .sandbox
        .run("/usr/bin/nbdinfo", ["--list", &uri]);
    assert!(list.stdout.contains("export=\"ggate0\""), "{list:?}");
}

/// Several connections, many requests in flight, both directions.
#[test]
fn nbdcopy_there_and_back() {
    let provider = Provider::new(16 << 20);
    let sandbox = &provider.chain.sandbox;
    let data: Vec<u8> = (0..16_u32 << 18)
        .flat_map(|word| word.wrapping_mul(0x9e37_79b9).to_be_bytes())
        .collect();
    sandbox.write("in", &data);
    let uri = provider.uri();
    for args in [["in", &uri], [&uri, "out"]] {
        let copied = sandbox.run("/usr/bin/nbdcopy", args);
        assert_eq!(copied.code(), 0, "{copied:?}");
    }
    assert!(fs::read(sandbox.file("out")).expect("a copy") == data);
    assert!(fs::read(&provider.chain.image).expect("the image") == data);
}
