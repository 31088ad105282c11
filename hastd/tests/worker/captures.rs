//! Base's nodes, played from what they really sent: `tests/vectors/hast/io-*`,
//! every mode, checksum and compression, in both roles; and its primaries that
//! synchronise, with one number for all of those requests, or say nothing but
//! KEEPALIVE.

use crate::harness::{Worker, create_named, entries, metadata, settings, tcp, try_metadata};
use hast::config::{Settings, Word as _};
use hast::ipc::{Event, Peer, ToWorker};
use hast_core::frame::HEADER;
use hast_core::message::{Reply, Request, Step2Reply};
use hast_core::payload::{Checksum, Compression, Header};
use hast_core::primary::Replication;
use hast_core::units::{Seq, Version};
use std::collections::{HashMap, VecDeque};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use testkit::nbd::{Client, FLUSH, TRIM};
use testkit::process::{Sandbox, wait_for};

/// The resource, and the size of its components.
const NAME: &str = "test";
const SIZE: u64 = 16 << 20;

/// Where the data of those components begins.
const DATA: usize = 4608;

/// More of what base's primaries did: the capture, the size of its components,
/// and which of its links our secondary sees, one after the other.
const PRIMARIES: [(&str, u64, &[usize]); 3] = [
    ("keepalive", SIZE, &[1]),
    ("sync-after-disconnect", SIZE, &[1, 3]),
    // The second is to a component that was created anew.
    ("sync-full-new-secondary", 4 << 20, &[3]),
];

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/hast")
}

fn captures() -> Vec<PathBuf> {
    let folder = folder();
    let all = std::fs::read_dir(folder).unwrap().flatten();
    let of_io = |path: &PathBuf| {
        path.file_name()
            .unwrap()
            .to_str()
            .unwrap()
            .starts_with("io-")
    };
    let captures: Vec<PathBuf> = all.map(|entry| entry.path()).filter(of_io).collect();
    assert!(captures.len() >= 19, "{} captures", captures.len());
    captures
}

/// The settings a capture's name tells.
fn settings_of(capture: &Path) -> Settings {
    let name = capture.file_name().unwrap().to_str().unwrap();
    let words: Vec<&str> = name.split('-').collect();
    if words[0] != "io" {
        return settings(Replication::Fullsync);
    }
    Settings {
        checksum: Checksum::from_word(words[2]).unwrap(),
        compression: Compression::from_word(words[3]).unwrap(),
        ..settings(Replication::from_word(words[1]).unwrap())
    }
}

/// One message with its payload, as it travelled.
#[derive(Clone)]
struct Message {
    bytes: Vec<u8>,
    entries: usize,
}

impl Message {
    fn entries(&self) -> &[u8] {
        &self.bytes[HEADER..self.entries]
    }

    fn payload(&self) -> &[u8] {
        &self.bytes[self.entries..]
    }

    /// The same for another request: the number is patched, nothing else.
    fn with_seq(&self, seq: Seq) -> Vec<u8> {
        let mut bytes = self.bytes.clone();
        // Type uint64, a name of 4 bytes padded to 8, then the number.
        let entry = [8, 4, 8, 0, 0, 0, b's', b'e', b'q', 0];
        let at = bytes
            .windows(entry.len())
            .position(|part| part == entry)
            .unwrap();
        bytes[at + 14..at + 22].copy_from_slice(&seq.get().to_le_bytes());
        bytes
    }
}

/// Cuts a stream; `payload` tells what follows the entries.
fn cut(path: &Path, skip: usize, payload: impl Fn(&[u8]) -> u32) -> Vec<Message> {
    let stream = std::fs::read(path).unwrap();
    let mut rest = &stream[..];
    let mut messages = Vec::new();
    while rest.len() >= HEADER {
        let size = u32::from_le_bytes([rest[1], rest[2], rest[3], rest[4]]);
        let entries = HEADER + usize::try_from(size).unwrap();
        let follows = if messages.len() < skip {
            0
        } else {
            payload(&rest[HEADER..entries])
        };
        let end = entries + usize::try_from(follows).unwrap();
        messages.push(Message {
            bytes: rest[..end].to_vec(),
            entries,
        });
        rest = &rest[end..];
    }
    messages
}

/// What a capture has of the link: the requests, and the replies.
struct Capture {
    /// Step 1, then requests.
    requests: Vec<Message>,
    /// Step 2.
    hello: Message,
    /// The answers to both steps, as they came.
    answers: Vec<u8>,
    replies: Vec<Message>,
}

impl Capture {
    /// The link whose requests go over this connection.
    fn read(folder: &Path, link: usize) -> Self {
        let file = |number: usize, direction: &str| {
            let name = format!("{number:02}.{direction}.bin");
            folder.join("tcp-a2b").join(name)
        };
        let requests = cut(&file(link, "c2s"), 1, |entries| {
            Request::decode(entries).unwrap().payload_size()
        });
        let replies = cut(&file(link + 1, "s2c"), 0, |entries| {
            Reply::decode(entries).unwrap().payload_size()
        });
        Self {
            requests,
            hello: cut(&file(link + 1, "c2s"), 0, |_| 0).remove(0),
            answers: std::fs::read(file(link, "s2c")).unwrap(),
            replies,
        }
    }

    /// The answer to step 2, without its map.
    fn second_answer(&self) -> &[u8] {
        let size = |bytes: &[u8]| usize::from(bytes[1]) + 256 * usize::from(bytes[2]);
        let rest = &self.answers[HEADER + size(&self.answers)..];
        &rest[HEADER..HEADER + size(rest)]
    }

    /// The replies to each request, by number.
    fn replies_by_seq(&self) -> HashMap<u64, VecDeque<Message>> {
        let mut all: HashMap<u64, VecDeque<Message>> = HashMap::new();
        for message in &self.replies {
            let seq = Reply::decode(message.entries()).unwrap().seq.unwrap();
            all.entry(seq.get()).or_default().push_back(message.clone());
        }
        all
    }
}

/// The data a payload stands for.
fn expand(header: Header, payload: &[u8], length: u64) -> Vec<u8> {
    let mut data = vec![0; usize::try_from(length).unwrap()];
    header.receive(payload, &mut data).unwrap();
    data
}

fn read_message(stream: &mut TcpStream, payload: impl Fn(&[u8]) -> u32) -> Message {
    let mut bytes = vec![0; HEADER];
    stream.read_exact(&mut bytes).unwrap();
    let entries = HEADER + usize::from(bytes[1]) + 256 * usize::from(bytes[2]);
    bytes.resize(entries, 0);
    stream.read_exact(&mut bytes[HEADER..]).unwrap();
    let follows = payload(&bytes[HEADER..]);
    bytes.resize(entries + usize::try_from(follows).unwrap(), 0);
    stream.read_exact(&mut bytes[entries..]).unwrap();
    Message { bytes, entries }
}

/// What counts of a reply, and its data.
fn gist(message: &Message) -> (u64, bool, Option<u16>, Vec<u8>) {
    let reply = Reply::decode(message.entries()).unwrap();
    let data = reply.payload.map(|_| message.payload().to_vec());
    (
        reply.seq.unwrap().get(),
        reply.received,
        reply.error.map(hast_core::errno::Errno::get),
        data.unwrap_or_default(),
    )
}

/// Lets base's primary in, once more.
fn play_primary(capture: &Capture, secondary: &mut Worker, folder: &Path) {
    let (mut requests, a) = tcp();
    let (mut replies, b) = tcp();
    let peer = Peer {
        address: "base".into(),
        version: 2,
        extensions: 0,
        hello: capture.hello.entries().to_vec(),
    };
    secondary.tell_with(&ToWorker::Peer(Box::new(peer)), vec![a.into(), b.into()]);
    let answer = read_message(&mut requests, |entries| match Step2Reply::decode(entries) {
        Ok(Step2Reply::Accepted { map: Some(map), .. }) => map.payload.size,
        _ => 0,
    });
    compare_answers(answer.entries(), capture.second_answer(), folder);
    for message in &capture.requests[1..] {
        // In two pieces, at a different place each time.
        let middle = message.bytes.len() / 3;
        requests.write_all(&message.bytes[..middle]).unwrap();
        requests.write_all(&message.bytes[middle..]).unwrap();
    }
    let size = |entries: &[u8]| Reply::decode(entries).unwrap().payload_size();
    let mut ours: Vec<_> = capture
        .replies
        .iter()
        .map(|_| gist(&read_message(&mut replies, size)))
        .collect();
    let mut theirs: Vec<_> = capture.replies.iter().map(gist).collect();
    ours.sort();
    theirs.sort();
    assert!(ours == theirs, "{}", folder.display());
    drop((requests, replies));
    secondary.event(Event::Disconnect);
}

fn compare_answers(ours: &[u8], theirs: &[u8], folder: &Path) {
    let decoded = (Step2Reply::decode(ours), Step2Reply::decode(theirs));
    let (
        Ok(Step2Reply::Accepted { node, source, map }),
        Ok(Step2Reply::Accepted {
            node: base,
            source: base_source,
            map: base_map,
        }),
    ) = decoded
    else {
        panic!("{}: {decoded:?}", folder.display());
    };
    assert_eq!(
        (node.datasize, node.extentsize),
        (base.datasize, base.extentsize)
    );
    assert_eq!((node.counters, node.virgin), (base.counters, base.virgin));
    assert_eq!((source, map.is_some()), (base_source, base_map.is_some()));
}

#[test]
fn our_secondary_answers_base_s_primary_as_base_s_secondary_did() {
    let more = PRIMARIES.map(|(name, size, links)| (folder().join(name), size, links));
    let of_io = captures().into_iter().map(|path| (path, SIZE, &[1][..]));
    for (folder, size, links) in of_io.chain(more) {
        let sandbox = Sandbox::new();
        let image = sandbox.file("b.img");
        create_named(NAME, &image, size);
        let settings = settings_of(&folder);
        let mut secondary = Worker::start_named(NAME, &sandbox, &image, false, settings);
        secondary.ready();
        for link in links {
            play_primary(&Capture::read(&folder, *link), &mut secondary, &folder);
        }
        assert!(secondary.stop().success());
        let end = std::fs::read(folder.join("disk-end-b.bin")).unwrap();
        let disk = std::fs::read(&image).unwrap();
        assert!(disk[DATA..end.len()] == end[DATA..], "{}", folder.display());
        let (ours, base) = (metadata(&image), metadata(&folder.join("disk-end-b.bin")));
        assert_eq!((ours.resuid, ours.counters), (base.resuid, base.counters));
        assert!(disk[4096..DATA] == end[4096..DATA], "the map");
    }
}

/// Plays base's secondary: takes our requests, which must be those base sent,
/// and answers them with the bytes it sent. Returns when the capture is over.
fn play_secondary(capture: &Capture, requests: &mut TcpStream, replies: &mut TcpStream) {
    let mut answers = capture.replies_by_seq();
    let size = |entries: &[u8]| Request::decode(entries).unwrap().payload_size();
    for theirs in &capture.requests[1..] {
        let base = Request::decode(theirs.entries()).unwrap();
        let (ours, request) = loop {
            let ours = read_message(requests, size);
            let request = Request::decode(ours.entries()).unwrap();
            match (request, base) {
                (_, Request::Flush { .. }) => break (ours, request),
                // Of our own: bits of the map are cleared after it.
                (Request::Flush { seq }, _) => {
                    let mut room = [0; 64];
                    let done = Reply::done(seq).encode(Version::V2, &mut room).unwrap();
                    replies.write_all(&room[..done]).unwrap();
                }
                _ => break (ours, request),
            }
        };
        assert_same(&request, &ours, &base, theirs);
        let (Some(seq), Some(base_seq)) = (request.seq(), base.seq()) else {
            continue;
        };
        let answers = answers.get_mut(&base_seq.get()).unwrap();
        let count = if matches!(base, Request::Write { memsync: true, .. }) {
            2
        } else {
            1
        };
        for answer in answers.drain(..count) {
            replies.write_all(&answer.with_seq(seq)).unwrap();
        }
    }
}

/// Nothing but the number differs; a compressed payload stands for the same.
fn assert_same(request: &Request, ours: &Message, base: &Request, theirs: &Message) {
    match (request, base) {
        (
            Request::Write {
                range,
                memsync,
                payload,
                ..
            },
            Request::Write {
                range: base_range,
                memsync: base_memsync,
                payload: base_payload,
                ..
            },
        ) => {
            assert_eq!((range, memsync), (base_range, base_memsync));
            assert_eq!(payload.compression, base_payload.compression);
            let data = expand(*payload, ours.payload(), range.length());
            assert!(data == expand(*base_payload, theirs.payload(), range.length()));
            if payload.compression != Compression::Lzf {
                assert_eq!(payload, base_payload);
            }
        }
        (Request::Read { range, .. }, Request::Read { range: base, .. })
        | (Request::Delete { range, .. }, Request::Delete { range: base, .. }) => {
            assert_eq!(range, base);
        }
        (Request::Flush { .. }, Request::Flush { .. }) => {}
        _ => panic!("{request:?} instead of {base:?}"),
    }
}

/// Asks our provider for what base's was asked for.
fn ask(client: &mut Client, message: &Message) {
    match Request::decode(message.entries()).unwrap() {
        Request::Write { range, payload, .. } => {
            let data = expand(payload, message.payload(), range.length());
            assert_eq!(client.write(range.offset(), &data).unwrap(), 0);
        }
        Request::Delete { range, .. } => {
            let length = u32::try_from(range.length()).unwrap();
            let reply = client.call(TRIM, 0, range.offset(), length, &[]).unwrap();
            assert_eq!(reply.error, 0);
        }
        Request::Flush { .. } => {
            assert_eq!(client.call(FLUSH, 0, 0, 0, &[]).unwrap().error, 0);
        }
        Request::Read { .. } | Request::Keepalive { .. } | Request::State { .. } => {}
    }
}

#[test]
fn our_primary_asks_base_s_secondary_as_base_s_primary_did() {
    for folder in captures() {
        let capture = Capture::read(&folder, 1);
        let sandbox = Sandbox::new();
        let image = sandbox.file("a.img");
        create_named(NAME, &image, SIZE);
        let settings = settings_of(&folder);
        let mut primary = Worker::start_named(NAME, &sandbox, &image, true, settings);
        primary.ready();
        let (ours, mut requests) = tcp();
        let attempt = primary.asks_to_connect();
        primary.connected(attempt, Some(ours));
        let _step1 = entries(&mut requests);
        let first =
            HEADER + usize::from(capture.answers[1]) + 256 * usize::from(capture.answers[2]);
        requests.write_all(&capture.answers[..first]).unwrap();
        let (ours, mut replies) = tcp();
        let attempt = primary.asks_to_connect();
        primary.connected(attempt, Some(ours));
        let _step2 = entries(&mut replies);
        requests.write_all(&capture.answers[first..]).unwrap();
        primary.event(Event::Connect);
        let socket = sandbox.run_dir().join("hast").join(NAME);
        std::thread::scope(|scope| {
            let played = scope.spawn(|| play_secondary(&capture, &mut requests, &mut replies));
            let mut client = Client::connect(&socket).unwrap();
            for message in &capture.requests[1..] {
                ask(&mut client, message);
            }
            played.join().unwrap();
        });
        let end = std::fs::read(folder.join("disk-end-a.bin")).unwrap();
        let disk = std::fs::read(&image).unwrap();
        assert!(disk[DATA..end.len()] == end[DATA..], "{}", folder.display());
        // Both nodes have the same: so say the counters, once that is stored.
        let base = metadata(&folder.join("disk-end-a.bin")).counters;
        wait_for("base's counters", || {
            (try_metadata(&image)?.counters == base).then_some(())
        });
    }
}
