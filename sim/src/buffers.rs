//! The data of requests, at the index of their names.

use crate::node::to_usize;
use hast_core::slab::RequestId;
use hast_core::units::ByteRange;

/// More than either machine has requests.
const PLACES: usize = 1024;

#[derive(Debug)]
pub(crate) struct Buffers {
    places: Vec<Place>,
}

#[derive(Clone, Default, Debug)]
struct Place {
    data: Vec<u8>,
    /// Where a client's request begins, of which there may be pieces. Other
    /// requests have none.
    start: Option<u64>,
}

impl Buffers {
    pub(crate) fn new() -> Self {
        Self {
            places: vec![Place::default(); PLACES],
        }
    }

    /// Takes the data of a client's request.
    pub(crate) fn hold(&mut self, id: RequestId, start: Option<u64>, data: Vec<u8>) {
        self.places[id.index()] = Place { data, start };
    }

    /// The request's place is free; what is in the buffer stays there.
    pub(crate) fn release(&mut self, id: RequestId) {
        self.places[id.index()].start = None;
    }

    /// So are all places: another machine takes them.
    pub(crate) fn release_all(&mut self) {
        for place in &mut self.places {
            place.start = None;
        }
    }

    /// All data of a request.
    pub(crate) fn whole(&self, id: RequestId) -> &[u8] {
        &self.places[id.index()].data
    }

    /// The data of a request, or of a piece of it.
    pub(crate) fn piece(&mut self, id: RequestId, range: ByteRange) -> &mut [u8] {
        let Place { data, start } = &mut self.places[id.index()];
        let length = to_usize(range.length());
        let Some(start) = *start else {
            data.resize(length, 0);
            return data;
        };
        let at = to_usize(range.offset() - start);
        &mut data[at..at + length]
    }
}
