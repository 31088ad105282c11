//! Captured sessions of FreeBSD 12.1's programs, replayed with ggatec in the
//! client's role: a client of the provider asks for what base's kernel asked
//! for, ggatec must send what base's ggatec sent, and believes what base's
//! ggated answered.
//!
//! What differs on purpose: the extension offered in the version packet, the
//! token, and FLUSH, for which 12.1 sends the command byte of the request
//! before it. The DELETE of capture 05 looks like a READ and is one here.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use ggate::wire::{ClientInitial, Command, Direction, Reply, Request, ServerInitial, Version};
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::thread;
use testkit::nbd::{self, Client};
use testkit::process::{DEADLINE, Sandbox};

/// The four byte streams of a capture.
struct Capture {
    name: String,
    replies_c2s: Vec<u8>,
    replies_s2c: Vec<u8>,
    requests_c2s: Vec<u8>,
    requests_s2c: Vec<u8>,
}

impl Capture {
    fn load(path: &Path) -> Option<Self> {
        let stream = |name: &str| fs::read(path.join(name)).ok();
        Some(Self {
            name: path.file_name()?.to_string_lossy().into_owned(),
            replies_c2s: stream("01.c2s.bin")?,
            replies_s2c: stream("01.s2c.bin")?,
            requests_c2s: stream("02.c2s.bin")?,
            requests_s2c: stream("02.s2c.bin")?,
        })
    }

    /// Requests with payload, and the whole reply to each.
    fn exchanges(&self) -> Vec<Exchange> {
        let mut requests = &self.requests_c2s[Version::SIZE + ClientInitial::SIZE..];
        let mut replies = &self.replies_s2c[Version::SIZE + ServerInitial::SIZE..];
        let mut exchanges = Vec::new();
        while !requests.is_empty() {
            let request = Request::decode(take(&mut requests));
            let payload = split(&mut requests, request.payload_len());
            let header = Reply::decode(take(&mut replies));
            assert_eq!(header.request, request, "12.1 answers in order");
            let data = split(&mut replies, header.payload_len());
            exchanges.push(Exchange {
                request,
                payload,
                reply: header,
                data,
            });
        }
        exchanges
    }
}

struct Exchange {
    request: Request,
    payload: Vec<u8>,
    reply: Reply,
    data: Vec<u8>,
}

fn take<'a, const N: usize>(bytes: &mut &'a [u8]) -> &'a [u8; N] {
    let (head, rest) = bytes.split_first_chunk().expect("a whole packet");
    *bytes = rest;
    head
}

fn split(bytes: &mut &[u8], length: u32) -> Vec<u8> {
    let (head, rest) = bytes.split_at(usize::try_from(length).unwrap());
    *bytes = rest;
    head.to_vec()
}

/// Plays the server's part of one handshake with the captured answers; what
/// the client sends must be what the captured client sent.
fn handshake(listener: &TcpListener, c2s: &[u8], s2c: &[u8]) -> (TcpStream, ClientInitial) {
    let (mut stream, _) = listener.accept().unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut sent = [0; Version::SIZE + ClientInitial::SIZE];
    stream.read_exact(&mut sent[..Version::SIZE]).unwrap();
    stream.write_all(&s2c[..Version::SIZE]).unwrap();
    stream.read_exact(&mut sent[Version::SIZE..]).unwrap();
    assert_eq!(sent[..18], c2s[..18], "magic and version");
    let ours = ClientInitial::decode(sent[Version::SIZE..].try_into().unwrap()).unwrap();
    let theirs = c2s[Version::SIZE..][..ClientInitial::SIZE].try_into();
    let theirs = ClientInitial::decode(theirs.unwrap()).unwrap();
    let token = theirs.token;
    assert_eq!(
        ClientInitial {
            token,
            ..ours.clone()
        },
        theirs
    );
    stream
        .write_all(&s2c[Version::SIZE..][..ServerInitial::SIZE])
        .unwrap();
    (stream, ours)
}

/// Asks the provider for what the captured request asked for.
fn ask(client: &mut Client, exchange: &Exchange) -> nbd::Reply {
    let Request {
        command,
        offset,
        length,
        ..
    } = exchange.request;
    let (command, offset) = match command {
        _ if length == 0 => (nbd::FLUSH, 0),
        Command::Write => (nbd::WRITE, offset),
        _ => (nbd::READ, offset),
    };
    client
        .call(command, 0, offset, length, &exchange.payload)
        .unwrap()
}

/// Answers one request with the captured reply.
fn answer(requests: &mut TcpStream, replies: &mut TcpStream, exchange: &Exchange) {
    let mut header = [0; Request::SIZE];
    requests.read_exact(&mut header).unwrap();
    let sent = Request::decode(&header);
    let mut payload = vec![0; usize::try_from(sent.payload_len()).unwrap()];
    requests.read_exact(&mut payload).unwrap();
    let expected = exchange.request;
    if expected.length == 0 {
        let command = Command::Flush;
        assert_eq!(
            sent,
            Request {
                command,
                ..expected
            }
        );
    } else {
        assert_eq!(header, expected.encode());
        assert_eq!(payload, exchange.payload);
    }
    let reply = Reply {
        request: sent,
        error: exchange.reply.error,
    };
    let bytes = [&reply.encode()[..], &exchange.data].concat();
    replies.write_all(&bytes).unwrap();
}

fn replay(capture: &Capture) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let initial = capture.replies_c2s[Version::SIZE..][..ClientInitial::SIZE].try_into();
    let initial = ClientInitial::decode(initial.unwrap()).unwrap();
    let access = match initial.access {
        ggate::gate::Access::ReadOnly => "ro",
        ggate::gate::Access::WriteOnly => "wo",
        ggate::gate::Access::ReadWrite => "rw",
    };
    let sandbox = Sandbox::new();
    let port = listener.local_addr().unwrap().port().to_string();
    let path = initial.path.to_string();
    let args = [
        "create",
        "-v",
        "-o",
        access,
        "-p",
        &port,
        "127.0.0.1",
        &path,
    ];
    let ggatec = sandbox.spawn("ggatec", args);
    let (mut replies, first) = handshake(&listener, &capture.replies_c2s, &capture.replies_s2c);
    let (mut requests, second) = handshake(&listener, &capture.requests_c2s, &capture.requests_s2c);
    assert_eq!(first.token, second.token);
    assert_eq!(
        (first.direction, second.direction),
        (Direction::Send, Direction::Recv)
    );
    if capture.name == "20-empty-file" {
        let failed = ggatec.finish().expect_code(1);
        assert!(failed.stdout.contains("0 bytes"), "{failed:?}");
        return;
    }
    ggatec.wait_for_line("ggate0");
    let exchanges = capture.exchanges();
    assert!(!exchanges.is_empty());
    let socket = sandbox.run_dir().join("ggate0");
    thread::scope(|scope| {
        let asking = scope.spawn(|| {
            let mut client = Client::connect(&socket).unwrap();
            for exchange in &exchanges {
                let reply = ask(&mut client, exchange);
                let error = exchange.reply.error.map_or(0, |e| e.get().into());
                assert_eq!(reply.error, error, "{:?}", exchange.request);
                assert_eq!(reply.data, exchange.data);
            }
        });
        for exchange in &exchanges {
            answer(&mut requests, &mut replies, exchange);
        }
        asking.join().unwrap();
    });
}

#[test]
fn every_captured_session() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/ggate");
    let mut replayed = Vec::new();
    for entry in fs::read_dir(&root).expect("tests/vectors/ggate") {
        let Some(capture) = Capture::load(&entry.unwrap().path()) else {
            continue;
        };
        replay(&capture);
        replayed.push(capture.name);
    }
    replayed.sort();
    // The others were refused in the first handshake.
    assert_eq!(replayed.len(), 10, "{replayed:?}");
}

/// Sessions that the server refused: status 1, and its reason in words.
#[test]
fn every_captured_refusal() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/ggate");
    for (name, reason) in [
        ("14-denied-path", "Operation not permitted"),
        ("15-denied-ip", "Operation not permitted"),
        ("16-missing-file", "No such file or directory"),
        ("19-dir-export", "Is a directory"),
    ] {
        let stream = |file: &str| fs::read(root.join(name).join(file)).unwrap();
        let (c2s, s2c) = (stream("01.c2s.bin"), stream("01.s2c.bin"));
        let initial = c2s[Version::SIZE..][..ClientInitial::SIZE].try_into();
        let path = ClientInitial::decode(initial.unwrap()).unwrap().path;
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port().to_string();
        let sandbox = Sandbox::new();
        let args = ["create", "-p", &port, "127.0.0.1", &path.to_string()];
        let ggatec = sandbox.spawn("ggatec", args);
        handshake(&listener, &c2s, &s2c);
        let failed = ggatec.finish().expect_code(1);
        assert!(failed.stderr.contains(reason), "{name}: {failed:?}");
        assert_eq!(failed.stdout, "");
    }
}
