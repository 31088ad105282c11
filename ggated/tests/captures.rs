//! Captured sessions of FreeBSD 12.1's programs, played to ggated: it answers
//! what base's ggated answered, byte by byte, but for what base left undefined.
//!
//! Not played: 08-error-write-enospc, which needs a full file system of its
//! own.

#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use common::{make_file, receive, start};
use ggate::wire::{ClientInitial, Reply, Request, ServerInitial, Version};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use testkit::process::Sandbox;

/// One direction of a connection.
fn stream(capture: &Path, name: &str) -> Option<Vec<u8>> {
    fs::read(capture.join(name)).ok()
}

/// The exports line that the capture's README quotes.
fn exports(capture: &Path) -> (String, String) {
    let readme = fs::read_to_string(capture.join("README")).unwrap();
    let line = readme
        .lines()
        .find_map(|line| line.strip_prefix("exports file: "))
        .unwrap();
    let (client, path) = line.rsplit_once(' ').unwrap();
    (client.to_owned(), file_name(path.as_bytes()))
}

fn file_name(path: &[u8]) -> String {
    let path = std::str::from_utf8(path).unwrap();
    path.rsplit('/').next().unwrap().to_owned()
}

/// A capture being played.
struct Play {
    name: String,
    capture: PathBuf,
    server: common::Server,
}

impl Play {
    fn new(capture: PathBuf) -> Self {
        let name = capture.file_name().unwrap().to_str().unwrap().to_owned();
        let (client, exported) = exports(&capture);
        let sandbox = Sandbox::new();
        match &name[..2] {
            "16" => {}
            "19" => fs::create_dir(sandbox.file(&exported)).unwrap(),
            "20" => drop(make_file(&sandbox, &exported, 0)),
            _ => drop(make_file(&sandbox, &exported, 64 << 20)),
        }
        let server = start(sandbox, &format!("{client} DIR/{exported}\n"));
        Self {
            name,
            capture,
            server,
        }
    }

    /// Plays a connection's handshake. Returns it and what is left of the
    /// capture's two directions, or `None` when the server refused.
    fn handshake(&self, connection: &str) -> Option<(TcpStream, Vec<u8>, Vec<u8>)> {
        let sent = stream(&self.capture, &format!("{connection}.c2s.bin"))?;
        let expected = stream(&self.capture, &format!("{connection}.s2c.bin"))?;
        let mut socket = self.server.connect();
        let (version, sent) = sent.split_at(Version::SIZE);
        let (answer, expected) = expected.split_at(Version::SIZE);
        socket.write_all(version).unwrap();
        assert_eq!(receive::<{ Version::SIZE }>(&mut socket), *answer);

        let (initial, sent) = sent.split_at(ClientInitial::SIZE);
        let (answer, expected) = expected.split_at(ServerInitial::SIZE);
        socket.write_all(&self.relocate(initial)).unwrap();
        let ours = receive::<{ ServerInitial::SIZE }>(&mut socket);
        // Base leaves the flags, and in an error all but the error, undefined.
        let failed = answer[13..] != [0, 0];
        let defined = if failed { 13 } else { 1 };
        assert_eq!(ours[defined..], answer[defined..], "{}", self.name);
        assert!(!failed || ours[..13] == [0; 13], "{}", self.name);
        (!failed).then(|| (socket, sent.to_vec(), expected.to_vec()))
    }

    /// The packet with the path made one of the sandbox; what base sent
    /// behind the NUL stays there.
    fn relocate(&self, initial: &[u8]) -> Vec<u8> {
        let mut initial = initial.to_vec();
        let end = initial.iter().position(|b| *b == 0).unwrap();
        let path = self.server.sandbox.file(&file_name(&initial[..end]));
        let path = path.to_str().unwrap().as_bytes();
        initial[..path.len()].copy_from_slice(path);
        initial[path.len()] = 0;
        initial
    }

    /// Request after request, each with its reply.
    fn transfer(&self, requests: (TcpStream, Vec<u8>), replies: (TcpStream, Vec<u8>)) {
        let ((mut to_server, sent), (mut to_client, expected)) = (requests, replies);
        let (mut sent, mut expected) = (&sent[..], &expected[..]);
        let mut count = 0;
        while let Some((header, _)) = sent.split_first_chunk() {
            let len = Request::SIZE + Request::decode(header).payload_len() as usize;
            to_server.write_all(&sent[..len]).unwrap();
            sent = &sent[len..];
            let (header, _) = expected.split_first_chunk().unwrap();
            let len = Reply::SIZE + Reply::decode(header).payload_len() as usize;
            let mut reply = vec![0; len];
            to_client.read_exact(&mut reply).unwrap();
            assert!(reply == expected[..len], "{}: reply {count}", self.name);
            expected = &expected[len..];
            count += 1;
            if self.name.starts_with("07") && count == 1 {
                // There the file was cut behind the server's back.
                let file = self.server.sandbox.file("gold.img");
                let file = fs::File::options().write(true).open(file).unwrap();
                file.set_len(1 << 20).unwrap();
            }
        }
        assert!(sent.is_empty() && expected.is_empty(), "{}", self.name);
    }
}

#[test]
fn ggated_answers_what_base_s_answered() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/ggate");
    let mut played = 0;
    for entry in fs::read_dir(root).unwrap() {
        let capture = entry.unwrap().path();
        if !capture.is_dir() || capture.ends_with("08-error-write-enospc") {
            continue;
        }
        let play = Play::new(capture);
        let first = play.handshake("01");
        let second = play.handshake("02");
        if let (Some((replies, _, expected)), Some((requests, sent, _))) = (first, second) {
            play.transfer((requests, sent), (replies, expected));
        }
        played += 1;
    }
    assert_eq!(played, 16);
}
