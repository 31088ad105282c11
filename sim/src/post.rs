//! What the nodes send each other, as bytes.

use crate::net::Link;
use crate::node::{Machine, Node, Post, to_usize};
use crate::rng::Rng;
use hast_core::bitmap::Bitmap;
use hast_core::decision;
use hast_core::frame::Event;
use hast_core::message::{LONGEST, Map, Opening, Reply, Request, Step2Reply, Step2Request};
use hast_core::nv::Text;
use hast_core::payload::{Checksum, Compression, Header, Workspace, prepare};
use hast_core::primary::{self, Follows, Op, Outgoing, Primary};
use hast_core::secondary::{self, Answer, Hello, Outcome, Secondary, Taken};
use hast_core::slab::RequestId;
use hast_core::units::{ByteRange, Token, Version};

const LONGEST_PAYLOAD: usize = 64 << 10;

/// What the payload being received is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Coming {
    Write(RequestId, Header),
    Read(RequestId, ByteRange, Header),
    Map(Step2),
    Nothing,
}

/// An accepted handshake whose map is still to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step2 {
    node: hast_core::message::Node,
    source: hast_core::role::SyncSource,
    map: Map,
}

fn wire(data: &[u8]) -> (Header, Vec<u8>) {
    let mut workspace = Workspace::new(LONGEST_PAYLOAD);
    let (header, bytes) = prepare(data, Compression::Hole, Checksum::Crc32, &mut workspace);
    (header, bytes.to_vec())
}

/// The first of what a node has to send leaves it.
pub(crate) fn send(node: &mut Node, link: &mut Option<Link>, peer_listens: bool) {
    match node.posts.pop_front() {
        Some(Post::Primary(action)) => send_primary(node, link, action, peer_listens),
        Some(Post::Secondary(action)) => send_secondary(node, link, action),
        None => {}
    }
}

fn send_primary(
    node: &mut Node,
    link: &mut Option<Link>,
    action: primary::Action,
    peer_listens: bool,
) {
    let mut buffer = [0; LONGEST];
    let mut bytes = Vec::new();
    match action {
        primary::Action::Connect(session) => {
            let Machine::Primary(primary) = &mut node.machine else {
                return;
            };
            let mut out = Vec::new();
            if peer_listens {
                *link = Some(Link::new(session));
                primary.accepted(session, secondary::EXTENSIONS, &mut out);
            } else {
                primary.peer_down(session, &mut out);
            }
            node.queue_primary(out);
            return;
        }
        primary::Action::Disconnect(session, _) => {
            if let Some(link) = link.as_mut().filter(|link| link.primary == session) {
                link.told_primary = true;
                link.cut = true;
            }
            return;
        }
        primary::Action::Hello(_, hello) => {
            let request = Step2Request {
                resource: Text(b"shared"),
                token: Token([7; Token::LEN]),
                virgin: hello.virgin,
                resuid: hello.resuid,
                counters: hello.counters,
                generation: hello.generation,
                consistency: hello.consistency,
                dirty: Some(hello.dirty),
            };
            let mut long = [0; 512];
            let length = request.encode(Version::MAX, &mut long).expect("it fits");
            bytes.extend_from_slice(&long[..length]);
        }
        primary::Action::Send { seq, what, .. } => {
            let (request, payload) = request(node, seq, what);
            let length = request.encode(Version::MAX, &mut buffer).expect("it fits");
            bytes.extend_from_slice(&buffer[..length]);
            bytes.extend_from_slice(&payload);
        }
        _ => unreachable!("only what is sent is posted"),
    }
    let (primary::Action::Hello(session, _) | primary::Action::Send { session, .. }) = action
    else {
        return;
    };
    let link = link
        .as_mut()
        .filter(|link| link.primary == session && link.carries());
    if let Some(link) = link {
        link.requests.bytes.extend(bytes);
    }
}

fn request(node: &Node, seq: Option<hast_core::units::Seq>, what: Outgoing) -> (Request, Vec<u8>) {
    let number = || seq.expect("requests have numbers");
    match what {
        Outgoing::Keepalive => (Request::Keepalive { seq }, Vec::new()),
        Outgoing::State {
            consistency,
            generation,
            raise,
        } => {
            let seq = number();
            let state = Request::State {
                seq,
                consistency,
                generation,
                raise,
            };
            (state, Vec::new())
        }
        Outgoing::Request { id, op, memsync } => {
            let seq = number();
            match op {
                Op::Read(range) => (Request::Read { seq, range }, Vec::new()),
                Op::Delete(range) => (Request::Delete { seq, range }, Vec::new()),
                Op::Flush => (Request::Flush { seq }, Vec::new()),
                Op::Write(range) => {
                    let (payload, bytes) = wire(&node.buffers[id.index()]);
                    let write = Request::Write {
                        seq,
                        range,
                        memsync,
                        payload,
                    };
                    (write, bytes)
                }
            }
        }
    }
}

fn send_secondary(node: &mut Node, link: &mut Option<Link>, action: secondary::Action) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 512];
    let session = match action {
        secondary::Action::Close(session) => {
            if let Some(link) = link.as_mut().filter(|link| link.secondary == Some(session)) {
                link.told_secondary = true;
                link.cut = true;
            }
            return;
        }
        secondary::Action::Answer(session, _, answer) => {
            let Machine::Secondary(secondary) = &node.machine else {
                return;
            };
            let mut map = Vec::new();
            let length = match answer {
                Answer::Refused(own) => Step2Reply::Refused {
                    node: Some(own),
                    reason: Text(b"refused"),
                }
                .encode(Version::MAX, &mut buffer),
                Answer::Accepted {
                    node: own,
                    source,
                    map: which,
                } => {
                    secondary.write_map(which, &mut map);
                    let size = u32::try_from(map.len()).expect("small");
                    let (payload, sent) = wire(&map);
                    map = if size > 0 { sent } else { Vec::new() };
                    Step2Reply::Accepted {
                        node: own,
                        source,
                        map: (size > 0).then_some(Map { size, payload }),
                    }
                    .encode(Version::MAX, &mut buffer)
                }
            };
            bytes.extend_from_slice(&buffer[..length.expect("it fits")]);
            bytes.extend(map);
            session
        }
        secondary::Action::Reply(session, seq, outcome) => {
            let mut payload = Vec::new();
            let reply = match outcome {
                Outcome::Received => Reply::received(seq),
                Outcome::Done => Reply::done(seq),
                Outcome::Failed(error) => Reply::failed(seq, error),
                Outcome::Data(id, _) => {
                    let (header, sent) = wire(&node.buffers[id.index()]);
                    payload = sent;
                    if let Machine::Secondary(secondary) = &mut node.machine {
                        let mut out = Vec::new();
                        secondary.sent(id, &mut out);
                        node.queue_secondary(out);
                    }
                    Reply::data(seq, header)
                }
            };
            let length = reply.encode(Version::MAX, &mut buffer).expect("it fits");
            bytes.extend_from_slice(&buffer[..length]);
            bytes.extend(payload);
            session
        }
        _ => unreachable!("only what is sent is posted"),
    };
    let link = link
        .as_mut()
        .filter(|link| link.secondary == Some(session) && link.carries());
    if let Some(link) = link {
        link.replies.bytes.extend(bytes);
    }
}

/// Some bytes reach the secondary. An error ends the link.
pub(crate) fn to_secondary(
    node: &mut Node,
    link: &mut Link,
    coming: &mut Coming,
    rng: &mut Rng,
) -> Result<(), String> {
    let Machine::Secondary(secondary) = &mut node.machine else {
        return Ok(());
    };
    let mut out = Vec::new();
    let result = feed_secondary(secondary, &mut node.buffers, link, coming, rng, &mut out);
    node.queue_secondary(out);
    result
}

fn feed_secondary(
    secondary: &mut Secondary,
    buffers: &mut [Vec<u8>],
    link: &mut Link,
    coming: &mut Coming,
    rng: &mut Rng,
    out: &mut Vec<secondary::Action>,
) -> Result<(), String> {
    let bytes = link.requests.arrive(rng);
    let mut rest = bytes.as_slice();
    let stream = &mut link.requests;
    loop {
        let (taken, event) = stream.decoder.next(rest).map_err(|e| e.to_string())?;
        rest = &rest[taken..];
        match event {
            None => break,
            Some(Event::Message(entries)) if !stream.greeted => {
                stream.greeted = true;
                let Ok(Opening::Step2(hello)) = Opening::decode(entries) else {
                    return Err("no step 2".into());
                };
                let session = secondary.hello(
                    Hello {
                        primary: decision::Primary {
                            virgin: hello.virgin,
                            resuid: hello.resuid,
                            counters: hello.counters,
                            generation: hello.generation,
                            consistency: hello.consistency,
                        },
                        extensions: secondary::EXTENSIONS,
                        dirty: hello.dirty,
                    },
                    out,
                );
                link.secondary = Some(session);
            }
            Some(Event::Message(entries)) => {
                let request = Request::decode(entries).map_err(|e| e.to_string())?;
                let session = link.secondary.ok_or("no session")?;
                match secondary.request(session, &request, out) {
                    Taken::Payload(id) => {
                        let Request::Write { payload, range, .. } = request else {
                            return Err("payload of no write".into());
                        };
                        buffers[id.index()].resize(to_usize(range.length()), 0);
                        stream.payload.clear();
                        stream.decoder.expect_payload(payload.size);
                        *coming = Coming::Write(id, payload);
                    }
                    Taken::Taken | Taken::Buffer(_) => {}
                    Taken::Refused(refusal) => return Err(format!("refused {refusal:?}")),
                    Taken::Stale => stream.decoder.expect_payload(request.payload_size()),
                }
            }
            Some(Event::Payload(piece)) => {
                stream.payload.extend_from_slice(piece);
                if let (0, Coming::Write(id, header)) = (stream.decoder.payload_left(), *coming) {
                    *coming = Coming::Nothing;
                    let data = &mut buffers[id.index()];
                    header
                        .receive(&stream.payload, data)
                        .map_err(|e| e.to_string())?;
                    let session = link.secondary.ok_or("no session")?;
                    secondary.received(session, id, out);
                }
            }
        }
    }
    Ok(())
}

/// Some bytes reach the primary. An error ends the link.
pub(crate) fn to_primary(
    node: &mut Node,
    link: &mut Link,
    coming: &mut Coming,
    rng: &mut Rng,
) -> Result<(), String> {
    let Machine::Primary(primary) = &mut node.machine else {
        return Ok(());
    };
    let mut out = Vec::new();
    let result = feed_primary(primary, &mut node.buffers, link, coming, rng, &mut out);
    node.queue_primary(out);
    result
}

fn feed_primary(
    primary: &mut Primary,
    buffers: &mut [Vec<u8>],
    link: &mut Link,
    coming: &mut Coming,
    rng: &mut Rng,
    out: &mut Vec<primary::Action>,
) -> Result<(), String> {
    let bytes = link.replies.arrive(rng);
    let mut rest = bytes.as_slice();
    let stream = &mut link.replies;
    loop {
        let (taken, event) = stream.decoder.next(rest).map_err(|e| e.to_string())?;
        rest = &rest[taken..];
        match event {
            None => break,
            Some(Event::Message(entries)) if !stream.greeted => {
                stream.greeted = true;
                match Step2Reply::decode(entries).map_err(|e| e.to_string())? {
                    Step2Reply::Refused { reason, .. } => return Err(format!("{reason:?}")),
                    Step2Reply::Accepted { node, source, map } => match map {
                        None => primary.peer_up(link.primary, node, source, None, out),
                        Some(map) => {
                            stream.payload.clear();
                            stream.decoder.expect_payload(map.payload.size);
                            *coming = Coming::Map(Step2 { node, source, map });
                        }
                    },
                }
            }
            Some(Event::Message(entries)) => {
                let reply = Reply::decode(entries).map_err(|e| e.to_string())?;
                match primary.reply(link.primary, &reply, out) {
                    Follows::Nothing => {}
                    Follows::Skip(size) => stream.decoder.expect_payload(size),
                    Follows::Data { id, piece, payload } => {
                        stream.payload.clear();
                        stream.decoder.expect_payload(payload.size);
                        *coming = Coming::Read(id, piece, payload);
                    }
                }
            }
            Some(Event::Payload(piece)) => {
                stream.payload.extend_from_slice(piece);
                if stream.decoder.payload_left() > 0 {
                    continue;
                }
                match core::mem::replace(coming, Coming::Nothing) {
                    Coming::Read(id, range, header) => {
                        let data = &mut buffers[id.index()];
                        data.resize(to_usize(range.length()), 0);
                        header
                            .receive(&stream.payload, data)
                            .map_err(|e| e.to_string())?;
                        primary.data_received(link.primary, out);
                    }
                    Coming::Map(Step2 { node, source, map }) => {
                        let mut bytes = vec![0; to_usize(map.size.into())];
                        let received = map.payload.receive(&stream.payload, &mut bytes);
                        received.map_err(|e| e.to_string())?;
                        let extents = node.datasize.div_ceil(node.extentsize.into());
                        let bitmap = Bitmap::from_map(extents, &bytes);
                        primary.peer_up(link.primary, node, source, Some(&bitmap), out);
                    }
                    _ => {}
                }
            }
        }
    }
    Ok(())
}
