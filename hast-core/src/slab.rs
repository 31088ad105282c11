//! Requests in a fixed number of places, each with a name that is never used
//! twice.

use alloc::vec::Vec;

/// Name of a request: its place, and which of the requests in that place it
/// is. The shell keeps the request's buffer at [`RequestId::index`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RequestId {
    index: u32,
    turn: u32,
}

impl RequestId {
    /// Its place: below the number of requests there can be.
    #[must_use]
    pub fn index(self) -> usize {
        crate::index(self.index.into())
    }
}

#[derive(Clone, Debug)]
struct Place<T> {
    turn: u32,
    value: Option<T>,
}

/// The places. All memory is taken when it is made.
#[derive(Clone, Debug)]
pub(crate) struct Slab<T> {
    places: Vec<Place<T>>,
    free: Vec<u32>,
}

impl<T> Slab<T> {
    pub(crate) fn new(most: u32) -> Self {
        let empty = || Place {
            turn: 0,
            value: None,
        };
        Self {
            places: (0..most).map(|_| empty()).collect(),
            free: (0..most).rev().collect(),
        }
    }

    /// Gives the value a name; `None` if every place is taken.
    pub(crate) fn insert(&mut self, value: T) -> Option<RequestId> {
        let index = self.free.pop()?;
        let place = &mut self.places[crate::index(index.into())];
        place.turn = place.turn.wrapping_add(1);
        place.value = Some(value);
        Some(RequestId {
            index,
            turn: place.turn,
        })
    }

    /// `None` if the request has ended.
    pub(crate) fn get_mut(&mut self, id: RequestId) -> Option<&mut T> {
        let place = self.places.get_mut(id.index())?;
        place.value.as_mut().filter(|_| place.turn == id.turn)
    }

    pub(crate) fn remove(&mut self, id: RequestId) -> Option<T> {
        let place = self.places.get_mut(id.index())?;
        let value = place.value.take_if(|_| place.turn == id.turn)?;
        self.free.push(id.index);
        Some(value)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (RequestId, &T)> {
        (0..).zip(&self.places).filter_map(|(index, place)| {
            let turn = place.turn;
            let id = RequestId { index, turn };
            place.value.as_ref().map(|value| (id, value))
        })
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        let places = self.places.iter_mut();
        places.filter_map(|place| place.value.as_mut())
    }

    pub(crate) fn len(&self) -> usize {
        self.places.len() - self.free.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_outlives_its_request_and_means_nothing_then() {
        let mut slab = Slab::new(1);
        let first = slab.insert('a').unwrap();
        assert_eq!(slab.insert('b'), None);
        assert_eq!(slab.remove(first), Some('a'));
        assert_eq!(slab.remove(first), None);
        let second = slab.insert('b').unwrap();
        assert_eq!(first.index(), second.index());
        assert_eq!(slab.get_mut(first), None);
        assert_eq!(slab.remove(first), None);
        assert!(slab.iter().eq([(second, &'b')]));
        assert_eq!(slab.len(), 1);
    }
}
