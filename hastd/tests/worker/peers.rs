//! Peers that say and do what a test wants, over real connections.

use crate::harness::{Worker, tcp};
use hast_core::errno::Errno;
use hast_core::frame::HEADER;
use hast_core::message::{
    BASE_LONGEST, Extensions, Map, Node, Opening, Reply, Request, Step1Reply, Step2Reply,
};
use hast_core::metadata::{Consistency, Metadata};
use hast_core::payload::{Checksum, Compression, Header, Workspace, prepare};
use hast_core::role::SyncSource;
use hast_core::units::{Counters, Token, Version};
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::ops::Range;
use std::thread::JoinHandle;
use testkit::process::DEADLINE;

/// A message, and its payload if it said that one follows.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    pub(crate) version: u8,
    pub(crate) entries: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl Message {
    /// As it came.
    pub(crate) fn bytes(&self) -> Vec<u8> {
        let size = u32::try_from(self.entries.len()).unwrap();
        let header = [&[self.version][..], &size.to_le_bytes()].concat();
        [&header[..], &self.entries, &self.payload].concat()
    }
}

/// Reads a message; `payload` tells from its entries what follows.
pub(crate) fn receive(
    stream: &mut TcpStream,
    payload: impl FnOnce(&[u8]) -> u32,
) -> io::Result<Message> {
    stream.set_read_timeout(Some(DEADLINE))?;
    let mut header = [0; HEADER];
    stream.read_exact(&mut header)?;
    let [version, size @ ..] = header;
    let mut bytes = |size: u32| -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; usize::try_from(size).unwrap()];
        stream.read_exact(&mut bytes)?;
        Ok(bytes)
    };
    let entries = bytes(u32::from_le_bytes(size))?;
    let payload = bytes(payload(&entries))?;
    Ok(Message {
        version,
        entries,
        payload,
    })
}

/// Waits until the other side has closed, whatever it still says.
pub(crate) fn wait_for_end(stream: &mut TcpStream) {
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    match stream.read_to_end(&mut Vec::new()) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("not closed: {error}"),
    }
}

/// A message as bytes.
fn bytes(encode: impl FnOnce(&mut [u8]) -> Result<usize, hast_core::nv::Full>) -> Vec<u8> {
    let mut bytes = vec![0; 1024];
    let length = encode(&mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

/// Data as it travels without checksum or compression.
pub(crate) fn verbatim(data: &[u8]) -> Header {
    let mut workspace = Workspace::new(0);
    prepare(data, Compression::None, Checksum::None, &mut workspace).0
}

/// A primary.
pub(crate) struct FakePrimary {
    pub(crate) requests: TcpStream,
    pub(crate) replies: TcpStream,
    pub(crate) answer: Message,
}

impl FakePrimary {
    /// Connects as a primary of base.
    pub(crate) fn connect(secondary: &mut Worker) -> Self {
        Self::with(secondary, Worker::greet)
    }

    /// Connects however `greet` does it.
    pub(crate) fn with(
        secondary: &mut Worker,
        greet: impl FnOnce(&mut Worker, TcpStream, TcpStream),
    ) -> Self {
        let (mut requests, a) = tcp();
        let (replies, b) = tcp();
        greet(secondary, a, b);
        let map = |entries: &[u8]| match Step2Reply::decode(entries) {
            Ok(Step2Reply::Accepted { map: Some(map), .. }) => map.payload.size,
            _ => 0,
        };
        let answer = receive(&mut requests, map).unwrap();
        Self {
            requests,
            replies,
            answer,
        }
    }

    pub(crate) fn send(&mut self, request: &Request, payload: &[u8]) {
        let message = bytes(|room| request.encode(Version::V2, room));
        self.raw(&[&message, payload].concat());
    }

    /// Sends anything.
    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.requests.write_all(bytes).unwrap();
    }

    /// The next reply, with its data as it travelled.
    pub(crate) fn reply(&mut self) -> (Reply, Vec<u8>) {
        let size = |entries: &[u8]| Reply::decode(entries).unwrap().payload_size();
        let message = receive(&mut self.replies, size).unwrap();
        (Reply::decode(&message.entries).unwrap(), message.payload)
    }

    /// The secondary hangs up, on both connections.
    pub(crate) fn loses_its_link(mut self) {
        wait_for_end(&mut self.requests);
        wait_for_end(&mut self.replies);
    }
}

/// Step 1 was asked; the connection it came on.
pub(crate) fn first_step(primary: &mut Worker) -> TcpStream {
    let attempt = primary.asks_to_connect();
    let (theirs, mut ours) = tcp();
    primary.connected(attempt, Some(theirs));
    let asked = receive(&mut ours, |_| 0).unwrap();
    assert_eq!(asked.version, 1);
    let opening = Opening::decode(&asked.entries).unwrap();
    assert!(matches!(opening, Opening::Step1(_)));
    ours
}

/// Answers step 1, and waits for step 2, which was said on this connection.
pub(crate) fn second_step(
    primary: &mut Worker,
    requests: &mut TcpStream,
    version: Version,
    extensions: Extensions,
) -> (TcpStream, Message) {
    let accepted = Step1Reply::Accepted {
        version,
        token: Token([7; 16]),
        extensions,
    };
    requests
        .write_all(&bytes(|room| accepted.encode(room)))
        .unwrap();
    let attempt = primary.asks_to_connect();
    let (theirs, mut ours) = tcp();
    primary.connected(attempt, Some(theirs));
    let hello = receive(&mut ours, |_| 0).unwrap();
    assert_eq!(hello.version, version.to_byte());
    let opening = Opening::decode(&hello.entries).unwrap();
    let Opening::Step2(step2) = opening else {
        panic!("not step 2: {opening:?}");
    };
    assert_eq!(step2.token, Token([7; 16]));
    (ours, hello)
}

/// What a secondary of base says of itself: as old as the primary, and with
/// nothing to copy.
pub(crate) fn node(metadata: &Metadata) -> Node {
    Node {
        datasize: metadata.datasize,
        extentsize: metadata.extentsize,
        counters: Counters::default(),
        virgin: true,
        generation: None,
        consistency: Consistency::Consistent,
        longest: BASE_LONGEST,
        dirty: None,
    }
}

/// The answer to step 2.
pub(crate) fn accepted(node: Node, source: SyncSource, map: Option<&[u8]>) -> Vec<u8> {
    let reply = Step2Reply::Accepted {
        node,
        source,
        map: map.map(|map| Map {
            size: u32::try_from(map.len()).unwrap(),
            payload: verbatim(map),
        }),
    };
    let message = bytes(|room| reply.encode(Version::V2, room));
    [&message, map.unwrap_or_default()].concat()
}

/// What a [`FakeSecondary`] does with a request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Carries it out.
    Do,
    /// Fails it with this number.
    Fail(u16),
    /// Carries it out and never answers.
    Silence,
}

/// A secondary with its data in memory.
pub(crate) struct FakeSecondary {
    pub(crate) requests: TcpStream,
    pub(crate) replies: TcpStream,
    pub(crate) version: Version,
}

/// What became of a [`FakeSecondary`].
pub(crate) struct Past {
    pub(crate) data: Vec<u8>,
    /// All requests, in order.
    pub(crate) asked: Vec<Request>,
}

impl FakeSecondary {
    /// Lets a primary in that is to copy what this map says.
    pub(crate) fn accept(
        primary: &mut Worker,
        version: Version,
        node: Node,
        source: SyncSource,
        map: Option<&[u8]>,
    ) -> Self {
        let mut requests = first_step(primary);
        let (replies, _) = second_step(primary, &mut requests, version, Extensions::NONE);
        requests.write_all(&accepted(node, source, map)).unwrap();
        Self {
            requests,
            replies,
            version,
        }
    }

    pub(crate) fn request(&mut self) -> io::Result<(Request, Vec<u8>)> {
        let size = |entries: &[u8]| Request::decode(entries).unwrap().payload_size();
        let message = receive(&mut self.requests, size)?;
        assert_eq!(message.version, self.version.to_byte());
        Ok((Request::decode(&message.entries).unwrap(), message.payload))
    }

    pub(crate) fn reply(&mut self, reply: &Reply, data: &[u8]) {
        let message = bytes(|room| reply.encode(self.version, room));
        // The primary may have gone.
        let _ = self.replies.write_all(&[&message, data].concat());
    }

    /// Serves on a thread of its own until the primary goes.
    pub(crate) fn serve(
        mut self,
        data: Vec<u8>,
        mut judge: impl FnMut(&Request) -> Verdict + Send + 'static,
    ) -> JoinHandle<Past> {
        std::thread::spawn(move || {
            let mut past = Past {
                data,
                asked: Vec::new(),
            };
            while let Ok((request, payload)) = self.request() {
                past.asked.push(request);
                let verdict = judge(&request);
                self.carry_out(&request, &payload, &mut past.data, verdict);
            }
            past
        })
    }

    fn carry_out(&mut self, request: &Request, payload: &[u8], data: &mut [u8], verdict: Verdict) {
        let place = |offset: u64, length: u64| -> Range<usize> {
            let begin = usize::try_from(offset).unwrap();
            begin..begin + usize::try_from(length).unwrap()
        };
        let Some(seq) = request.seq() else { return };
        if let Verdict::Fail(error) = verdict {
            let failed = Reply {
                received: matches!(request, Request::Write { memsync: true, .. }),
                ..Reply::failed(seq, Errno::new(error).unwrap())
            };
            return self.reply(&failed, &[]);
        }
        let mut read = None;
        match request {
            Request::Write {
                range,
                payload: header,
                memsync,
                ..
            } => {
                assert!(!memsync || self.version.has_memsync());
                let place = place(range.offset(), range.length());
                header.receive(payload, &mut data[place]).unwrap();
                if *memsync && verdict == Verdict::Do {
                    self.reply(&Reply::received(seq), &[]);
                }
            }
            Request::Delete { range, .. } => data[place(range.offset(), range.length())].fill(0),
            Request::Read { range, .. } => {
                read = Some(data[place(range.offset(), range.length())].to_vec());
            }
            _ => {}
        }
        if verdict == Verdict::Silence {
            return;
        }
        match read {
            Some(data) => self.reply(&Reply::data(seq, verbatim(&data)), &data),
            None => self.reply(&Reply::done(seq), &[]),
        }
    }
}
