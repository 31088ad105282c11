//! What a node says, as bytes on the link.

use crate::base;
use crate::net::{Link, Listener, Way};
use crate::node::Node;
use crate::shell::Post;
use hast_core::decision::{MapSent, errmsg};
use hast_core::message::{Extensions, LONGEST, Map, Reply, Request, Step2Reply, Step2Request};
use hast_core::nv::Text;
use hast_core::payload::{Checksum, Compression, Header, Workspace, prepare};
use hast_core::primary::{self, Op, Outgoing};
use hast_core::secondary::{self, Answer, Outcome};
use hast_core::units::{Seq, Token, Version};

/// Longer than the longest request, and than the map.
const LONGEST_PAYLOAD: usize = 4 << 10;
/// Longer than the longest message of the handshake.
const HANDSHAKE: usize = 1024;

pub(crate) fn wire(data: &[u8]) -> (Header, Vec<u8>) {
    let mut workspace = Workspace::new(LONGEST_PAYLOAD);
    let (header, bytes) = prepare(data, Compression::Hole, Checksum::Crc32, &mut workspace);
    (header, bytes.to_vec())
}

/// The first of what a node has to send leaves it.
///
/// What the peer would be found to be by a primary that connects.
pub(crate) fn send(node: &mut Node, link: &mut Option<Link>, listens: Option<Listener>) {
    if let Some((post, way)) = node.base_post() {
        return send_base(post, way, link, listens);
    }
    match node.posts.pop_front() {
        Some(Post::Primary(action)) => send_primary(node, link, action, listens),
        Some(Post::Secondary(action)) => send_secondary(node, link, action),
        None => {}
    }
}

fn send_base(post: base::Post, way: Way, link: &mut Option<Link>, listens: Option<Listener>) {
    match (post, link) {
        (base::Post::Connect(step2), link) => {
            if let Some(listener) = listens {
                let listener = Listener {
                    extensions: Extensions::NONE,
                    ..listener
                };
                let mut new = Link::new(primary::Session::default(), listener);
                new.send(way, step2);
                *link = Some(new);
            }
        }
        (base::Post::Bytes(bytes), Some(link)) => link.send(way, bytes),
        (base::Post::HangUp, Some(link)) => link.hang_up(way.back()),
        (_, None) => {}
    }
}

fn send_primary(
    node: &mut Node,
    link: &mut Option<Link>,
    action: primary::Action,
    listens: Option<Listener>,
) {
    let (session, bytes) = match action {
        primary::Action::Connect(session) => {
            node.primary(|primary, out| {
                if let Some(listener) = listens {
                    *link = Some(Link::new(session, listener));
                    primary.accepted(session, listener.extensions, out);
                } else {
                    primary.peer_down(session, out);
                }
            });
            return;
        }
        primary::Action::Disconnect(session, _) => {
            if let Some(link) = link.as_mut().filter(|link| link.primary == session) {
                link.hang_up(Way::ToPrimary);
            }
            return;
        }
        primary::Action::Hello(session, hello) => (session, step2(&hello)),
        primary::Action::Send { session, seq, what } => (session, request(node, seq, what)),
        _ => unreachable!("only what is sent is posted"),
    };
    if let Some(link) = link.as_mut().filter(|link| link.primary == session) {
        link.send(Way::ToSecondary, bytes);
    }
}

pub(crate) fn step2(hello: &primary::Hello) -> Vec<u8> {
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
    let mut buffer = [0; HANDSHAKE];
    let length = request.encode(Version::MAX, &mut buffer).expect("it fits");
    buffer[..length].to_vec()
}

fn request(node: &mut Node, seq: Option<Seq>, what: Outgoing) -> Vec<u8> {
    let number = || seq.expect("requests have numbers");
    let mut data = Vec::new();
    let request = match what {
        Outgoing::Keepalive => Request::Keepalive { seq },
        Outgoing::State {
            consistency,
            generation,
            raise,
        } => Request::State {
            seq: number(),
            consistency,
            generation,
            raise,
        },
        Outgoing::Request { id, op, memsync } => {
            let seq = number();
            match op {
                Op::Read(range) => Request::Read { seq, range },
                Op::Delete(range) => Request::Delete { seq, range },
                Op::Flush => Request::Flush { seq },
                Op::Write(range) => {
                    let (payload, bytes) = wire(node.buffers.piece(id, range));
                    data = bytes;
                    Request::Write {
                        seq,
                        range,
                        memsync,
                        payload,
                    }
                }
            }
        }
    };
    let mut bytes = encode_request(&request);
    bytes.extend(data);
    bytes
}

pub(crate) fn encode_request(request: &Request) -> Vec<u8> {
    let mut buffer = [0; LONGEST];
    let length = request.encode(Version::MAX, &mut buffer).expect("it fits");
    buffer[..length].to_vec()
}

fn send_secondary(node: &mut Node, link: &mut Option<Link>, action: secondary::Action) {
    let (session, bytes) = match action {
        secondary::Action::Close(session) => {
            if let Some(link) = link.as_mut().filter(|link| link.secondary == Some(session)) {
                link.hang_up(Way::ToSecondary);
            }
            return;
        }
        secondary::Action::Answer(session, rule, answer) => {
            let map = |node: &mut Node, which| {
                let mut map = Vec::new();
                node.secondary(|secondary, _| secondary.write_map(which, &mut map));
                map
            };
            let bytes = match answer {
                Answer::Refused(own) => refusal(rule, own),
                Answer::Accepted {
                    node: own,
                    source,
                    map: which,
                } => {
                    let map = if which == MapSent::None {
                        Vec::new()
                    } else {
                        map(node, which)
                    };
                    accepted(own, source, &map)
                }
            };
            (session, bytes)
        }
        secondary::Action::Reply(session, seq, outcome) => (session, reply(node, seq, outcome)),
        _ => unreachable!("only what is sent is posted"),
    };
    let sessions = |link: &&mut Link| link.secondary == Some(session);
    if let Some(link) = link.as_mut().filter(sessions) {
        link.send(Way::ToPrimary, bytes);
    }
}

pub(crate) fn refusal(rule: hast_core::decision::Rule, own: hast_core::message::Node) -> Vec<u8> {
    // The numbers in some of the texts are of no interest here.
    let nobody = hast_core::decision::Primary {
        virgin: false,
        resuid: hast_core::units::ResUid::new(1).expect("not 0"),
        counters: own.counters,
        generation: None,
        consistency: own.consistency,
    };
    let us = hast_core::decision::Secondary {
        resuid: None,
        counters: own.counters,
        generation: None,
        consistency: own.consistency,
        discard: false,
    };
    let text = errmsg(rule, &nobody, &us);
    let reply = Step2Reply::Refused {
        node: Some(own),
        reason: Text(text.as_bytes()),
    };
    let mut buffer = [0; HANDSHAKE];
    let length = reply.encode(Version::MAX, &mut buffer).expect("it fits");
    buffer[..length].to_vec()
}

pub(crate) fn accepted(
    node: hast_core::message::Node,
    source: hast_core::role::SyncSource,
    map: &[u8],
) -> Vec<u8> {
    let size = u32::try_from(map.len()).expect("small");
    let (payload, sent) = wire(map);
    let reply = Step2Reply::Accepted {
        node,
        source,
        map: (size > 0).then_some(Map { size, payload }),
    };
    let mut buffer = [0; HANDSHAKE];
    let length = reply.encode(Version::MAX, &mut buffer).expect("it fits");
    let mut bytes = buffer[..length].to_vec();
    if size > 0 {
        bytes.extend(sent);
    }
    bytes
}

fn reply(node: &mut Node, seq: Seq, outcome: Outcome) -> Vec<u8> {
    let mut data = Vec::new();
    let reply = match outcome {
        Outcome::Received => Reply::received(seq),
        Outcome::Done => Reply::done(seq),
        Outcome::Failed(error) => Reply::failed(seq, error),
        Outcome::Data(id, _) => {
            let (header, bytes) = wire(node.buffers.whole(id));
            data = bytes;
            node.secondary(|secondary, out| secondary.sent(id, out));
            Reply::data(seq, header)
        }
    };
    let mut bytes = encode_reply(&reply);
    bytes.extend(data);
    bytes
}

pub(crate) fn encode_reply(reply: &Reply) -> Vec<u8> {
    let mut buffer = [0; LONGEST];
    let length = reply.encode(Version::MAX, &mut buffer).expect("it fits");
    buffer[..length].to_vec()
}
