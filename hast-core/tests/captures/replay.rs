//! Connections.

use crate::streams::{Message, Stream};
use crate::{assert_same_entries, decoded, list, name, text};
use hast_core::frame::HEADER;
use hast_core::message::{
    BASE_LONGEST, ControlReply, ControlRequest, Limits, Opening, Reply, Request, RequestError,
    Step1Reply, Step2Reply,
};
use hast_core::payload::{self, Checksum, Compression, PayloadError, Workspace};
use hast_core::units::{Token, Version};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::Path;

/// What was replayed.
#[derive(Default)]
pub(crate) struct Summary {
    pub(crate) files: usize,
    pub(crate) messages: usize,
    /// Bytes as they travelled.
    pub(crate) payload: usize,
    pub(crate) refused: usize,
    pub(crate) blocks: usize,
}

/// What is wrong on purpose, all in one scenario: where, and why we refuse.
/// The secondary of these captures has 16 MiB and takes 128 KiB at a time.
pub(crate) const WRONG: [(&str, usize, &str); 14] = [
    (
        "01.c2s.bin",
        1426,
        "request of impossible offset and length",
    ),
    ("01.c2s.bin", 1519, "request is too long"),
    ("01.c2s.bin", 1612, "request is not aligned to sectors"),
    ("01.c2s.bin", 1705, "request is not aligned to sectors"),
    (
        "01.c2s.bin",
        1798,
        "request reaches beyond the end of the data",
    ),
    ("01.c2s.bin", 1891, "request lacks the entry \"offset\""),
    ("01.c2s.bin", 2175, "payload of the wrong length"),
    ("01.c2s.bin", 2268, "payload does not match its checksum"),
    (
        "03.c2s.bin",
        57,
        "message has an impossible value in \"cmd\"",
    ),
    ("05.c2s.bin", 57, "message lacks the entry \"cmd\""),
    ("07.c2s.bin", 57, "request without a number"),
    (
        "09.c2s.bin",
        57,
        "message of protocol version 3, only 2 and below are spoken here",
    ),
    ("11.c2s.bin", 57, "message has an entry of unknown type"),
    (
        "24.c2s.bin",
        0,
        "message has an impossible value in \"token\"",
    ),
];

/// Replays all connections in a folder.
pub(crate) fn replay(folder: &Path, sum: &mut Summary) -> io::Result<()> {
    let mut reads = HashMap::new();
    for path in list(folder)
        .iter()
        .filter(|p| name(p).ends_with(".c2s.bin"))
    {
        let answers = path.with_file_name(name(path).replace("c2s", "s2c"));
        if name(folder) == "control" {
            control(path, &answers, sum)?;
        } else {
            connection(path, &answers, &mut reads, sum)?;
        }
        sum.files += 2;
    }
    Ok(())
}

/// Lengths of the READs on connection A, in order, by the token that ties it
/// to connection B.
type Reads = HashMap<Token, Vec<(u64, u64)>>;

fn connection(path: &Path, answers: &Path, reads: &mut Reads, sum: &mut Summary) -> io::Result<()> {
    let (sent, received) = (fs::read(path)?, fs::read(answers)?);
    let mut lines = Lines::new(path);
    let mut answer_lines = Lines::new(answers);
    let mut c2s = Stream::new(&sent);
    let mut s2c = Stream::new(&received);

    let opening = c2s.next(|_| 0).unwrap().expect("somebody opened it");
    lines.check(&opening, sum);
    let decoded = match Opening::decode(opening.entries()) {
        Ok(decoded) => decoded,
        Err(error) => {
            refused(path, &opening, &error.to_string(), sum);
            return Ok(());
        }
    };
    let version = Version::negotiate(opening.version);
    assert_same(&opening, |buffer| match decoded {
        Opening::Step1(step1) => {
            let length = step1.encode(buffer)?;
            // Base repeats the version it negotiated last, and is then refused
            // by a peer that was downgraded. We always begin with 1.
            assert_eq!(buffer[0], 1);
            buffer[0] = opening.version;
            Ok(length)
        }
        Opening::Step2(step2) => step2.encode(version, buffer),
    });
    match decoded {
        Opening::Step1(_) => {
            let token = step1_reply(&mut s2c, &mut answer_lines, sum);
            let asked = requests(path, &mut c2s, &mut lines, sum);
            if let Some(token) = token {
                reads.insert(token, asked);
                step2_reply(answers, &mut s2c, &mut answer_lines, sum);
            }
        }
        Opening::Step2(step2) => {
            let asked = reads.remove(&step2.token).unwrap_or_default();
            replies(answers, &mut s2c, asked, &mut answer_lines, sum);
        }
    }
    assert!(s2c.next(|_| 0).unwrap().is_none(), "{}", answers.display());
    Ok(())
}

fn step1_reply(stream: &mut Stream<'_>, lines: &mut Lines, sum: &mut Summary) -> Option<Token> {
    let message = stream.next(|_| 0).unwrap()?;
    lines.check(&message, sum);
    let reply = Step1Reply::decode(message.entries()).unwrap();
    assert_same(&message, |buffer| reply.encode(buffer));
    match reply {
        Step1Reply::Accepted { token, .. } => Some(token),
        Step1Reply::Refused { .. } => None,
    }
}

fn step2_reply(path: &Path, stream: &mut Stream<'_>, lines: &mut Lines, sum: &mut Summary) {
    let size = |entries: &[u8]| match Step2Reply::decode(entries).unwrap() {
        Step2Reply::Accepted { map: Some(map), .. } => map.payload.size,
        _ => 0,
    };
    let Some(message) = stream.next(size).unwrap() else {
        return;
    };
    lines.check(&message, sum);
    let reply = Step2Reply::decode(message.entries()).unwrap();
    let version = Version::negotiate(message.version);
    assert_same(&message, |buffer| reply.encode(version, buffer));
    if let Step2Reply::Accepted { map: Some(map), .. } = reply {
        data(path, &message, &map.payload, map.size.into());
    }
}

/// Replays requests; returns number and length of each READ.
fn requests(
    path: &Path,
    stream: &mut Stream<'_>,
    lines: &mut Lines,
    sum: &mut Summary,
) -> Vec<(u64, u64)> {
    let limits = Limits {
        datasize: (16 << 20) - 4608,
        sectorsize: 512,
        longest: BASE_LONGEST,
    };
    let mut reads = Vec::new();
    loop {
        let size = |entries: &[u8]| match Request::decode(entries) {
            Ok(request) => request.payload_size(),
            Err(RequestError::Refused(refusal)) => refusal.drain,
            Err(RequestError::Fatal(_)) => 0,
        };
        let at = lines.taken;
        let message = match stream.next(size) {
            Ok(None) => return reads,
            Ok(Some(message)) => message,
            Err(error) => {
                // The decoder gave up on what the text shows as a message.
                assert_eq!(at, 57);
                expect_wrong(path, at, &error.to_string());
                sum.refused += 1;
                return reads;
            }
        };
        let decoded = Request::decode(message.entries());
        if !matches!(&decoded, Err(RequestError::Fatal(error)) if error.to_string().contains("type"))
        {
            lines.check(&message, sum);
        }
        let request = match decoded {
            Ok(request) => request,
            Err(error) => {
                refused(path, &message, &error.to_string(), sum);
                continue;
            }
        };
        let version = Version::negotiate(message.version);
        assert_same(&message, |buffer| request.encode(version, buffer));
        if let Err(refusal) = request.validate(&limits) {
            refused(path, &message, &refusal.reason.to_string(), sum);
            continue;
        }
        match request {
            Request::Read { seq, range } => reads.push((seq.get(), range.length())),
            Request::Write { payload, range, .. } => {
                if let Err(error) = payload.verify(message.payload)
                    && message.missing == 0
                {
                    refused(path, &message, &error.to_string(), sum);
                    continue;
                }
                data(path, &message, &payload, range.length());
            }
            _ => {}
        }
    }
}

fn replies(
    path: &Path,
    stream: &mut Stream<'_>,
    mut reads: Vec<(u64, u64)>,
    lines: &mut Lines,
    sum: &mut Summary,
) {
    loop {
        // A bad step 2 is refused here, in the form of step 1's answer.
        let size = |entries: &[u8]| Reply::decode(entries).unwrap().payload_size();
        let Some(message) = stream.next(size).unwrap() else {
            return;
        };
        lines.check(&message, sum);
        if let Ok(refusal @ Step1Reply::Refused { .. }) = Step1Reply::decode(message.entries()) {
            assert_same(&message, |buffer| refusal.encode(buffer));
            continue;
        }
        let reply = Reply::decode(message.entries()).unwrap();
        let version = Version::negotiate(message.version);
        assert_same(&message, |buffer| reply.encode(version, buffer));
        if let Some(payload) = reply.payload {
            let seq = reply.seq.unwrap().get();
            let asked = reads.iter().position(|(n, _)| *n == seq);
            let (_, length) = reads.remove(asked.expect("the READ was captured, too"));
            data(path, &message, &payload, length);
        }
    }
}

fn control(path: &Path, answers: &Path, sum: &mut Summary) -> io::Result<()> {
    let (sent, received) = (fs::read(path)?, fs::read(answers)?);
    let mut stream = Stream::new(&sent);
    let message = stream.next(|_| 0).unwrap().expect("hastctl asks");
    Lines::new(path).check(&message, sum);
    let request = ControlRequest::decode(message.entries()).unwrap().unwrap();
    assert_same(&message, |buffer| request.encode(buffer));
    assert!(stream.next(|_| 0).unwrap().is_none());

    let mut stream = Stream::new(&received);
    let message = stream.next(|_| 0).unwrap().expect("hastd answers");
    Lines::new(answers).check(&message, sum);
    let reply = ControlReply::decode(message.entries()).unwrap();
    assert_same(&message, |buffer| reply.encode(buffer));
    assert!(stream.next(|_| 0).unwrap().is_none());
    Ok(())
}

/// A payload becomes data of the exact length, and that data is sent again as
/// base sent it.
fn data(path: &Path, message: &Message<'_>, header: &payload::Header, length: u64) {
    let mut data = vec![0xaa; usize::try_from(length).unwrap()];
    if message.missing > 0 {
        // Base's secondary was killed meanwhile. What came must not become
        // data: base writes such buffers (K8).
        assert_eq!(
            header.receive(message.payload, &mut data),
            Err(PayloadError::Length)
        );
        assert!(path.ends_with("bug-lost-write-on-disconnect-fullsync/tcp-a2b/01.c2s.bin"));
        return;
    }
    header.receive(message.payload, &mut data).unwrap();
    let scenario = name(path.parent().unwrap().parent().unwrap());
    if scenario == "raw-primary-errors" && name(path).contains("c2s") {
        return; // a hand-made primary compresses nothing
    }
    let has = |part| scenario.starts_with("io-") && scenario.contains(part);
    let compression = match scenario.rsplit('-').next() {
        Some("none") if scenario.starts_with("io-") => Compression::None,
        Some("lzf") if scenario.starts_with("io-") => Compression::Lzf,
        _ => Compression::Hole,
    };
    let checksum = match () {
        () if has("-crc32-") => Checksum::Crc32,
        () if has("-sha256-") => Checksum::Sha256,
        () => Checksum::None,
    };
    let mut workspace = Workspace::new(1 << 17);
    let (ours, wire) = payload::prepare(&data, compression, checksum, &mut workspace);
    assert_eq!(ours.compression, header.compression);
    if header.compression == Compression::Lzf {
        // Any stream that expands to the data is fine; ours is no worse than
        // a tenth longer.
        let mut back = vec![0; data.len()];
        ours.receive(wire, &mut back).unwrap();
        assert_eq!(back, data);
        assert!(wire.len() <= message.payload.len() * 11 / 10);
    } else {
        assert_eq!(&ours, header);
        assert_eq!(wire, message.payload);
    }
}

fn assert_same(
    message: &Message<'_>,
    encode: impl FnOnce(&mut [u8]) -> Result<usize, hast_core::nv::Full>,
) {
    let mut buffer = vec![0xaa; 1 << 16];
    let length = encode(&mut buffer).unwrap();
    let what = format!("message at {}", message.at);
    assert_eq!(buffer[..HEADER], message.bytes[..HEADER], "{what}");
    assert_same_entries(&buffer[HEADER..length], message.entries(), &what);
}

/// Counts a refusal, which must be one of those meant to be.
fn refused(path: &Path, message: &Message<'_>, reason: &str, sum: &mut Summary) {
    expect_wrong(path, message.at, reason);
    sum.refused += 1;
}

fn expect_wrong(path: &Path, at: usize, reason: &str) {
    let scenario = name(path.parent().unwrap().parent().unwrap());
    assert_eq!(scenario, "raw-primary-errors", "{at}: {reason}");
    assert!(
        WRONG.contains(&(name(path), at, reason)),
        "{} at {at}: {reason}",
        name(path)
    );
}

/// What the independent decoder says about a stream, line by line.
struct Lines {
    said: Vec<String>,
    next: usize,
    /// Bytes of the stream the lines taken were about.
    taken: usize,
}

impl Lines {
    fn new(path: &Path) -> Self {
        Self {
            said: decoded(path).lines().map(String::from).collect(),
            next: 0,
            taken: 0,
        }
    }

    fn check(&mut self, message: &Message<'_>, sum: &mut Summary) {
        let line = text::message(
            message.at,
            message.version,
            message.entries(),
            message.payload,
            message.missing,
        );
        assert_eq!(self.said[self.next], line);
        self.next += 1;
        self.taken = message.at + message.bytes.len() + message.payload.len();
        sum.messages += 1;
        sum.payload += message.payload.len();
    }
}
