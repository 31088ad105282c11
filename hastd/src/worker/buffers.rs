//! The payloads of requests, at the places the machine gives them.
//!
//! A WRITE's payload is read by two at once: whoever writes it to the
//! component and whoever sends it to the peer. A READ's is filled by one, who
//! takes it out for that long. The machine says when a place is free, but a
//! send of an ended link may still look into it: every access names the
//! request, and finds nothing when the place is another's by then.

use ggate::buffer::{Buf, Pool};
use ggate::disk::Data;
use ggate::media::Media;
use ggate::range::ByteRange as MediaRange;
use hast_core::slab::RequestId;
use hast_core::units::ByteRange;
use nix::errno::Errno;
use parking_lot::RwLock;
use std::sync::Arc;

/// All payloads of a worker.
#[derive(Debug)]
pub(super) struct Buffers {
    places: Box<[RwLock<Place>]>,
}

#[derive(Default, Debug)]
struct Place {
    of: Option<RequestId>,
    /// Where the request begins on the provider, in bytes.
    start: u64,
    data: Option<Buf>,
}

impl Buffers {
    /// Places for so many requests.
    pub(super) fn new(places: u32) -> Self {
        Self {
            places: (0..places).map(|_| RwLock::default()).collect(),
        }
    }

    /// Gives a request its buffer. Whoever had the place is done with it.
    pub(super) fn put(&self, id: RequestId, start: u64, data: Buf) {
        *self.places[id.index()].write() = Place {
            of: Some(id),
            start,
            data: Some(data),
        };
    }

    /// Takes the buffer out, to fill it or to pass it on.
    pub(super) fn take(&self, id: RequestId) -> Option<Buf> {
        let mut place = self.places[id.index()].write();
        (place.of == Some(id)).then(|| place.data.take()).flatten()
    }

    /// [`Self::take`], or a new one for a request that copies: nobody brings a
    /// buffer for these. It never waits: whoever copies may be who makes room.
    pub(super) fn take_or_make(&self, id: RequestId, range: ByteRange, pool: &Pool) -> Buf {
        let length = to_usize(range.length());
        let mut place = self.places[id.index()].write();
        // A later request of the same place has a greater name.
        if place.of < Some(id) {
            *place = Place {
                of: Some(id),
                start: range.offset(),
                data: None,
            };
        }
        let data = (place.of == Some(id)).then(|| place.data.take()).flatten();
        drop(place);
        data.filter(|data| data.len() >= length)
            .unwrap_or_else(|| pool.get_now(length))
    }

    /// Puts a buffer back that was taken out, unless the request has ended.
    pub(super) fn put_back(&self, id: RequestId, data: Buf) {
        let mut place = self.places[id.index()].write();
        if place.of == Some(id) {
            place.data = Some(data);
        }
    }

    /// The request has ended.
    pub(super) fn release(&self, id: RequestId) {
        let mut place = self.places[id.index()].write();
        if place.of == Some(id) {
            let gone = std::mem::take(&mut *place);
            drop(place);
            drop(gone);
        }
    }

    /// Looks at a part of a payload. `None` if the request has ended.
    pub(super) fn with<R>(
        &self,
        id: RequestId,
        range: ByteRange,
        look: impl FnOnce(&[u8]) -> R,
    ) -> Option<R> {
        let place = self.places[id.index()].read();
        let data = place.data.as_deref().filter(|_| place.of == Some(id))?;
        let begin = to_usize(range.offset().checked_sub(place.start)?);
        data.get(begin..begin.checked_add(to_usize(range.length()))?)
            .map(look)
    }

    /// Where a piece of the request lies in its buffer.
    pub(super) fn place_of(&self, id: RequestId, piece: ByteRange) -> Option<usize> {
        let place = self.places[id.index()].read();
        (place.of == Some(id)).then(|| piece.offset().checked_sub(place.start).map(to_usize))?
    }
}

/// Lengths of requests are far below what memory can have.
pub(super) fn to_usize(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// What a request brings to the disk.
#[derive(Debug)]
pub(super) enum Payload {
    /// FLUSH and DELETE.
    Nothing,
    /// A READ's buffer, taken out of its place.
    Own(Buf),
    /// A WRITE's, which may be being sent at the same time.
    Shared(Arc<Buffers>, RequestId, ByteRange),
}

impl Data for Payload {
    fn read_from(&mut self, medium: &dyn Media, range: MediaRange) -> nix::Result<()> {
        match self {
            Self::Own(data) => data.read_from(medium, range),
            _ => Err(Errno::EINVAL),
        }
    }

    fn write_to(&self, medium: &dyn Media, range: MediaRange) -> nix::Result<()> {
        match self {
            Self::Shared(buffers, id, data) => buffers
                .with(*id, *data, |bytes| medium.write_at(bytes, range.offset))
                .unwrap_or(Err(Errno::EINVAL)),
            _ => Err(Errno::EINVAL),
        }
    }
}
