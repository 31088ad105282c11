//! What arrives at a node, in any pieces.

use crate::base;
use crate::buffers::Buffers;
use crate::disk::Disk;
use crate::net::{Link, Stream, Way};
use crate::node::{Machine, Node, to_usize};
use crate::rng::Rng;
use hast_core::bitmap::Bitmap;
use hast_core::decision::{self, Refusal};
use hast_core::frame::Event;
use hast_core::message::{
    Extensions, Map, Node as Peer, Opening, Reply, Request, Step2Reply, Step2Request,
};
use hast_core::payload::Header;
use hast_core::primary::{self, Follows, Millis, Op, Primary};
use hast_core::secondary::{self, Hello, Secondary, Taken};
use hast_core::slab::RequestId;
use hast_core::units::ByteRange;

/// What the payload being received is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Coming {
    Write(RequestId, ByteRange, Header),
    Read(RequestId, ByteRange, Header),
    Map(Step2),
    /// For a node of base: a WRITE, or the answer to a READ.
    BaseWrite(Request),
    BaseRead(Reply, usize),
    Nothing,
}

/// An accepted handshake whose map is still to come.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step2 {
    node: Peer,
    source: hast_core::role::SyncSource,
    map: Map,
}

/// Some bytes reach the secondary. An error ends the link.
pub(crate) fn to_secondary(node: &mut Node, link: &mut Link, rng: &mut Rng) -> Result<(), String> {
    let bytes = link.arrive(Way::ToSecondary, rng);
    if let Machine::BaseSecondary(secondary) = &mut node.machine {
        let stream = link.stream(Way::ToSecondary);
        return each(stream, &bytes, |stream, piece| {
            to_base_secondary(secondary, &mut node.disk, stream, piece)
        });
    }
    let mut session = link.secondary;
    let extensions = link.listener.extensions;
    let stream = link.stream(Way::ToSecondary);
    let result = node.secondary_with_data(|secondary, buffers, out| {
        each(stream, &bytes, |stream, event| match event {
            Piece::Message(entries) if !stream.greeted => {
                stream.greeted = true;
                let Ok(Opening::Step2(step2)) = Opening::decode(&entries) else {
                    return Err("no step 2".into());
                };
                session = Some(secondary.hello(hello(&step2, extensions), out));
                Ok(())
            }
            Piece::Message(entries) => {
                let session = session.ok_or("no session")?;
                request(secondary, session, &entries, stream, out)
            }
            Piece::Payload(piece) => {
                let session = session.ok_or("no session")?;
                data(secondary, session, &piece, buffers, stream, out)
            }
        })
    });
    link.secondary = session;
    result.unwrap_or(Ok(()))
}

/// A message, or some of the payload behind one.
enum Piece {
    Message(Vec<u8>),
    Payload(Vec<u8>),
}

/// Hands out what the bytes complete.
fn each(
    stream: &mut Stream,
    bytes: &[u8],
    mut take: impl FnMut(&mut Stream, Piece) -> Result<(), String>,
) -> Result<(), String> {
    let mut rest = bytes;
    loop {
        let (taken, event) = stream.decoder.next(rest).map_err(|e| e.to_string())?;
        rest = &rest[taken..];
        let piece = match event {
            None => return Ok(()),
            Some(Event::Message(entries)) => Piece::Message(entries.to_vec()),
            Some(Event::Payload(bytes)) => Piece::Payload(bytes.to_vec()),
        };
        take(stream, piece)?;
    }
}

fn hello(step2: &Step2Request<'_>, extensions: Extensions) -> Hello {
    Hello {
        primary: decision::Primary {
            virgin: step2.virgin,
            resuid: step2.resuid,
            counters: step2.counters,
            generation: step2.generation,
            consistency: step2.consistency,
        },
        extensions,
        dirty: step2.dirty,
    }
}

fn expect(stream: &mut Stream, size: u32, coming: Coming) {
    stream.payload.clear();
    stream.decoder.expect_payload(size);
    stream.coming = coming;
}

fn request(
    secondary: &mut Secondary,
    session: secondary::Session,
    entries: &[u8],
    stream: &mut Stream,
    out: &mut Vec<secondary::Action>,
) -> Result<(), String> {
    let request = Request::decode(entries).map_err(|e| e.to_string())?;
    if !secondary.has_room() {
        return Err("more requests than the secondary can take".into());
    }
    match secondary.request(session, &request, out) {
        Taken::Payload(id) => {
            let Request::Write { payload, range, .. } = request else {
                return Err("payload of no write".into());
            };
            expect(stream, payload.size, Coming::Write(id, range, payload));
        }
        Taken::Taken | Taken::Buffer(_) => {}
        Taken::Refused(refusal) => return Err(format!("refused {refusal:?}")),
        Taken::Stale => expect(stream, request.payload_size(), Coming::Nothing),
    }
    Ok(())
}

fn data(
    secondary: &mut Secondary,
    session: secondary::Session,
    piece: &[u8],
    buffers: &mut Buffers,
    stream: &mut Stream,
    out: &mut Vec<secondary::Action>,
) -> Result<(), String> {
    let Coming::Write(id, range, header) = stream.coming else {
        return Ok(());
    };
    if !secondary.is_connected() {
        // It has given the link up, and the buffer with it.
        return Ok(());
    }
    let data = buffers.piece(id, range);
    if header.is_verbatim() {
        // Straight to where it belongs, as a shell reads it.
        let done = stream.payload.len();
        data[done..done + piece.len()].copy_from_slice(piece);
    }
    stream.payload.extend_from_slice(piece);
    if stream.decoder.payload_left() == 0 {
        stream.coming = Coming::Nothing;
        let received = header.receive(&stream.payload, data);
        received.map_err(|e| e.to_string())?;
        secondary.received(session, id, out);
    }
    Ok(())
}

/// Some bytes reach the primary. An error ends the link.
pub(crate) fn to_primary(node: &mut Node, link: &mut Link, rng: &mut Rng) -> Result<(), String> {
    let bytes = link.arrive(Way::ToPrimary, rng);
    if let Machine::BasePrimary(primary) = &mut node.machine {
        let stream = link.stream(Way::ToPrimary);
        return each(stream, &bytes, |stream, piece| {
            to_base_primary(primary, &mut node.disk, stream, piece)
        });
    }
    let session = link.primary;
    let longest = link.listener.longest;
    let stream = link.stream(Way::ToPrimary);
    let result = node.primary_with_data(|primary, buffers, out| {
        each(stream, &bytes, |stream, event| match event {
            Piece::Message(entries) if !stream.greeted => {
                stream.greeted = true;
                answer(primary, session, &entries, longest, stream, out)
            }
            Piece::Message(entries) => reply(primary, session, &entries, stream, out),
            Piece::Payload(piece) => payload(primary, session, &piece, buffers, stream, out),
        })
    });
    result.unwrap_or(Ok(()))
}

fn answer(
    primary: &mut Primary,
    session: primary::Session,
    entries: &[u8],
    longest: Option<u32>,
    stream: &mut Stream,
    out: &mut Vec<primary::Action>,
) -> Result<(), String> {
    // No node says so little, but only so are requests of this size cut.
    let cut = |node: Peer| Peer {
        longest: longest.unwrap_or(node.longest),
        ..node
    };
    match Step2Reply::decode(entries).map_err(|e| e.to_string())? {
        Step2Reply::Refused { reason, node } => {
            let refusal = Refusal::from_errmsg(reason.0);
            primary.refused(session, refusal, node, out);
            Err(format!("refused: {refusal:?}"))
        }
        Step2Reply::Accepted {
            node,
            source,
            map: None,
        } => {
            primary.peer_up(session, cut(node), source, None, Millis(0), out);
            Ok(())
        }
        Step2Reply::Accepted {
            node,
            source,
            map: Some(map),
        } => {
            let node = cut(node);
            let coming = Coming::Map(Step2 { node, source, map });
            expect(stream, map.payload.size, coming);
            Ok(())
        }
    }
}

fn reply(
    primary: &mut Primary,
    session: primary::Session,
    entries: &[u8],
    stream: &mut Stream,
    out: &mut Vec<primary::Action>,
) -> Result<(), String> {
    let reply = Reply::decode(entries).map_err(|e| e.to_string())?;
    match primary.reply(session, &reply, out) {
        Follows::Nothing => {}
        Follows::Skip(size) => expect(stream, size, Coming::Nothing),
        Follows::Data { id, piece, payload } => {
            expect(stream, payload.size, Coming::Read(id, piece, payload));
        }
    }
    Ok(())
}

fn payload(
    primary: &mut Primary,
    session: primary::Session,
    piece: &[u8],
    buffers: &mut Buffers,
    stream: &mut Stream,
    out: &mut Vec<primary::Action>,
) -> Result<(), String> {
    stream.payload.extend_from_slice(piece);
    if stream.decoder.payload_left() > 0 {
        return Ok(());
    }
    match std::mem::replace(&mut stream.coming, Coming::Nothing) {
        Coming::Read(id, range, header) => {
            let data = buffers.piece(id, range);
            let received = header.receive(&stream.payload, data);
            received.map_err(|e| e.to_string())?;
            primary.data_received(session, out);
        }
        Coming::Map(step2) => {
            let map = step2.map(&stream.payload)?;
            primary.peer_up(
                session,
                step2.node,
                step2.source,
                Some(&map),
                Millis(0),
                out,
            );
        }
        _ => {}
    }
    Ok(())
}

impl Step2 {
    fn map(&self, payload: &[u8]) -> Result<Bitmap, String> {
        let mut bytes = vec![0; to_usize(self.map.size.into())];
        let received = self.map.payload.receive(payload, &mut bytes);
        received.map_err(|e| e.to_string())?;
        let extents = self.node.datasize.div_ceil(self.node.extentsize.into());
        Ok(Bitmap::from_map(extents, &bytes))
    }
}

fn to_base_secondary(
    secondary: &mut base::Secondary,
    disk: &mut Disk,
    stream: &mut Stream,
    piece: Piece,
) -> Result<(), String> {
    match piece {
        Piece::Message(entries) if !stream.greeted => {
            stream.greeted = true;
            let Ok(Opening::Step2(step2)) = Opening::decode(&entries) else {
                return Err("no step 2".into());
            };
            secondary.hello(&step2, disk);
        }
        Piece::Message(entries) => {
            let request = Request::decode(&entries).map_err(|e| e.to_string())?;
            let size = request.payload_size();
            if size > 0 {
                expect(stream, size, Coming::BaseWrite(request));
            } else {
                secondary.request(&request, Vec::new());
            }
        }
        Piece::Payload(piece) => {
            stream.payload.extend(piece);
            if let Coming::BaseWrite(request) = stream.coming
                && stream.decoder.payload_left() == 0
            {
                stream.coming = Coming::Nothing;
                let data = written(&request, &stream.payload)?;
                secondary.request(&request, data);
            }
        }
    }
    Ok(())
}

/// The data of a WRITE.
fn written(request: &Request, wire: &[u8]) -> Result<Vec<u8>, String> {
    let Request::Write { range, payload, .. } = request else {
        return Err("payload of no write".into());
    };
    let mut data = vec![0; to_usize(range.length())];
    let received = payload.receive(wire, &mut data);
    received.map_err(|e| e.to_string())?;
    Ok(data)
}

/// A WRITE whose data did not end, with what has come of it.
pub(crate) fn torn(stream: &Stream) -> Option<(Op, Vec<u8>)> {
    let Coming::BaseWrite(Request::Write { range, payload, .. }) = stream.coming else {
        return None;
    };
    let mut data = stream.payload.clone();
    // The rest is what the buffer held before.
    data.resize(to_usize(range.length()), 0xdb);
    payload.is_verbatim().then_some((Op::Write(range), data))
}

fn to_base_primary(
    primary: &mut base::Primary,
    disk: &mut Disk,
    stream: &mut Stream,
    piece: Piece,
) -> Result<(), String> {
    match piece {
        Piece::Message(entries) if !stream.greeted => {
            stream.greeted = true;
            match Step2Reply::decode(&entries).map_err(|e| e.to_string())? {
                Step2Reply::Refused { .. } => return Err("refused".into()),
                Step2Reply::Accepted { node, source, map } => match map {
                    None => primary.peer_up(node, source, None, disk),
                    Some(map) => {
                        let coming = Coming::Map(Step2 { node, source, map });
                        expect(stream, map.payload.size, coming);
                    }
                },
            }
        }
        Piece::Message(entries) => {
            let reply = Reply::decode(&entries).map_err(|e| e.to_string())?;
            let size = reply.payload_size();
            if size > 0 {
                let length = primary.length(&reply).ok_or("data nobody asked for")?;
                expect(stream, size, Coming::BaseRead(reply, length));
            } else {
                primary.reply(&reply, Vec::new(), disk);
            }
        }
        Piece::Payload(piece) => {
            stream.payload.extend(piece);
            if stream.decoder.payload_left() > 0 {
                return Ok(());
            }
            match std::mem::replace(&mut stream.coming, Coming::Nothing) {
                Coming::Map(step2) => {
                    let map = step2.map(&stream.payload)?;
                    primary.peer_up(step2.node, step2.source, Some(&map), disk);
                }
                Coming::BaseRead(reply, length) => {
                    let mut data = vec![0; length];
                    let header = reply.payload.ok_or("no payload")?;
                    let received = header.receive(&stream.payload, &mut data);
                    received.map_err(|e| e.to_string())?;
                    primary.reply(&reply, data, disk);
                }
                _ => {}
            }
        }
    }
    Ok(())
}
