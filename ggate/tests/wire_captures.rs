//! Captured sessions of FreeBSD 12.1's programs: every packet decodes, and
//! encodes to the same bytes again, but for those the protocol leaves open.

#![allow(clippy::unwrap_used)] // helpers of tests

use ggate::wire::{ClientInitial, Direction, Reply, Request, ServerInitial, Version};
use std::fs;
use std::path::{Path, PathBuf};

fn captures() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/ggate");
    let mut found: Vec<PathBuf> = fs::read_dir(&root)
        .expect("tests/vectors/ggate")
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    found.sort();
    assert_eq!(
        found.len(),
        17,
        "captures are missing in {}",
        root.display()
    );
    found
}

/// One direction of one connection; empty if it was never opened.
fn stream(capture: &Path, name: &str) -> Option<Vec<u8>> {
    fs::read(capture.join(name)).ok()
}

/// The first `N` bytes, taken off the front.
fn take<const N: usize>(bytes: &mut &[u8]) -> [u8; N] {
    let (head, rest) = bytes.split_first_chunk().expect("a whole packet");
    *bytes = rest;
    *head
}

/// Checks both directions' handshake packets and returns what the connection
/// is for, or `None` when the server refused.
fn check_handshake(to_server: &mut &[u8], to_client: &mut &[u8]) -> Option<Direction> {
    let version = take::<{ Version::SIZE }>(to_server);
    assert_eq!(Version::decode(&version).unwrap().encode(), version);
    assert_eq!(take::<{ Version::SIZE }>(to_client), version);

    let bytes = take::<{ ClientInitial::SIZE }>(to_server);
    let initial = ClientInitial::decode(&bytes).unwrap();
    let nul = initial.path.as_bytes().len();
    let encoded = initial.encode();
    assert_eq!(encoded[..=nul], bytes[..=nul]);
    assert_eq!(encoded[1025..], bytes[1025..]);

    let bytes = take::<{ ServerInitial::SIZE }>(to_client);
    let answer = ServerInitial::decode(&bytes);
    let encoded = answer.encode();
    // 12.1 leaves the flags, and in an error all but the error, undefined.
    let defined = if answer.result.is_ok() { 1 } else { 13 };
    assert_eq!(encoded[defined..], bytes[defined..]);
    answer.result.is_ok().then_some(initial.direction)
}

fn check_requests(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while !bytes.is_empty() {
        let header = take::<{ Request::SIZE }>(&mut bytes);
        let request = Request::decode(&header);
        assert_eq!(request.encode(), header);
        bytes = &bytes[usize::try_from(request.payload_len()).unwrap()..];
        count += 1;
    }
    count
}

fn check_replies(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while !bytes.is_empty() {
        let header = take::<{ Reply::SIZE }>(&mut bytes);
        let reply = Reply::decode(&header);
        assert_eq!(reply.encode(), header);
        bytes = &bytes[usize::try_from(reply.payload_len()).unwrap()..];
        count += 1;
    }
    count
}

#[test]
fn captured_sessions_decode_and_encode_to_the_same_bytes() {
    for capture in captures() {
        let (mut requests, mut replies) = (0, 0);
        for connection in ["01", "02"] {
            let Some(to_server) = stream(&capture, &format!("{connection}.c2s.bin")) else {
                continue;
            };
            let to_client = stream(&capture, &format!("{connection}.s2c.bin")).unwrap();
            let (mut to_server, mut to_client) = (&to_server[..], &to_client[..]);
            match check_handshake(&mut to_server, &mut to_client) {
                Some(Direction::Send) => replies += check_replies(to_client),
                Some(Direction::Recv) => requests += check_requests(to_server),
                None => assert!(to_server.is_empty() && to_client.is_empty()),
            }
        }
        assert_eq!(requests, replies, "{}", capture.display());
    }
}
