//! fio, which writes, reads back and compares.

use crate::provider::Provider;
use std::time::Duration;
use testkit::proxy::{End, Proxy};

/// A fio job against the provider; fails when fio finds a difference or an
/// error.
fn verify(provider: &Provider, job: &[&str]) {
    let uri = format!("--uri={}", provider.uri());
    let common = [
        "--name=verify",
        "--ioengine=nbd",
        &uri,
        "--verify=crc32c",
        "--verify_fatal=1",
        "--size=32M",
    ];
    let args = [&common[..], job].concat();
    let done = provider.chain.sandbox.run("/usr/bin/fio", args);
    assert_eq!(done.code(), 0, "{done:?}");
    assert!(done.stdout.contains("err= 0"), "{}", done.stdout);
}

#[test]
fn random_writes_of_4_kib_at_depth_32() {
    let provider = Provider::new(32 << 20);
    verify(&provider, &["--rw=randwrite", "--bs=4k", "--iodepth=32"]);
}

#[test]
fn mixed_sizes_with_flushes() {
    let provider = Provider::new(32 << 20);
    let job = [
        "--rw=randrw",
        "--bsrange=512-256k",
        "--bs_unaligned=0",
        "--blockalign=512",
        "--iodepth=16",
        "--fsync=32",
    ];
    verify(&provider, &job);
}

#[test]
fn sequential_writes_of_1_mib() {
    let provider = Provider::new(32 << 20);
    verify(&provider, &["--rw=write", "--bs=1m", "--iodepth=8"]);
}

/// The link is cut and reset every now and then; fio sees no error and no
/// difference.
#[test]
fn verification_over_a_link_that_breaks() {
    let mut proxy = None;
    let provider = Provider::via(32 << 20, |server| {
        let started = Proxy::start(server).expect("a proxy");
        let port = started.address().port();
        proxy = Some(started);
        port
    });
    let proxy = proxy.expect("it was started");
    let breaker = std::thread::spawn(move || {
        for end in [End::Cut, End::Reset].into_iter().cycle().take(6) {
            std::thread::sleep(Duration::from_millis(700));
            proxy.end_all(end);
        }
        proxy
    });
    let job = [
        "--rw=randwrite",
        "--bs=16k",
        "--iodepth=16",
        "--rate=8m",
        "--verify_backlog=64",
    ];
    verify(&provider, &job);
    breaker.join().expect("the proxy's tormentor");
}
