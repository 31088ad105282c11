//! qemu-io and qemu-img.

use crate::provider::Provider;

#[test]
fn qemu_io_writes_zeroes_discards_flushes_and_reads() {
    let provider = Provider::new(16 << 20);
    let commands = [
        "write -P 0x5a 0 1M",
        "write -z 64k 64k",
        "write -f -P 0x11 1M 4k",
        "flush",
        "read -P 0x5a 0 64k",
        "read -P 0 64k 64k",
        "read -P 0x5a 128k 896k",
        "read -P 0x11 1M 4k",
        "aio_write -P 0x22 2M 2M",
        "aio_write -P 0x33 4M 2M",
        "aio_flush",
        "read -P 0x22 2M 2M",
        "read -P 0x33 4M 2M",
    ];
    let uri = provider.uri();
    let mut args = vec!["-f", "raw"];
    for command in commands {
        args.extend(["-c", command]);
    }
    args.push(&uri);
    let done = provider.chain.sandbox.run("/usr/bin/qemu-io", args);
    assert_eq!(done.code(), 0, "{done:?}");
    for complaint in ["failed", "rror", "verification"] {
        assert!(!done.stdout.contains(complaint), "{}", done.stdout);
    }
}

#[test]
fn qemu_img_compares_equal() {
    let provider = Provider::new(16 << 20);
    let uri = provider.uri();
    let image = provider.chain.image.to_str().expect("a path in UTF-8");
    let args = ["compare", "-f", "raw", "-F", "raw", &uri, image];
    let same = provider.chain.sandbox.run("/usr/bin/qemu-img", args);
    assert_eq!(same.code(), 0, "{same:?}");
}
