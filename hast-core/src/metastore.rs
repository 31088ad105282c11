//! The metadata of a running worker, and which of its states the disk has.
//!
//! **Invariant:** at most one store is under way. A state is called durable
//! only after a store that began with it, or with a later one, was confirmed
//! together with its flush (base writes counters without a flush, K10).

use crate::metadata::{BLOCK_LENGTH, Metadata, MetadataError};

/// Number of a state; later ones are greater.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Revision(u64);

impl Revision {
    /// The state the worker began with.
    pub(crate) const FIRST: Self = Self(0);
}

#[derive(Clone, Debug)]
pub(crate) struct MetadataStore {
    current: Metadata,
    revision: Revision,
    durable: Revision,
    storing: Option<Revision>,
    /// A flush failed while it was under way, and its own may not tell.
    doubted: bool,
    /// A store was asked for and has not begun.
    asked: bool,
    /// The last store failed; the next waits for something new, or for time
    /// to go by, lest a broken disk keeps a processor busy.
    failed: bool,
}

impl MetadataStore {
    pub(crate) const fn new(metadata: Metadata) -> Self {
        Self {
            current: metadata,
            revision: Revision::FIRST,
            durable: Revision::FIRST,
            storing: None,
            doubted: false,
            asked: false,
            failed: false,
        }
    }

    pub(crate) const fn get(&self) -> &Metadata {
        &self.current
    }

    pub(crate) fn change(&mut self, change: impl FnOnce(&mut Metadata)) {
        change(&mut self.current);
        self.revision.0 += 1;
        self.failed = false;
    }

    /// Whether the last store failed and none was begun since.
    pub(crate) const fn has_failed(&self) -> bool {
        self.failed
    }

    /// Whether nothing is being stored or about to be.
    pub(crate) fn is_idle(&self) -> bool {
        self.storing.is_none() && !self.asked && (self.failed || self.is_durable())
    }

    /// Time has gone by: a store that failed may be tried again.
    pub(crate) const fn retry(&mut self) {
        self.failed = false;
    }

    /// The current state, to be waited for.
    pub(crate) const fn revision(&self) -> Revision {
        self.revision
    }

    pub(crate) fn has(&self, revision: Revision) -> bool {
        revision <= self.durable
    }

    pub(crate) fn is_durable(&self) -> bool {
        self.has(self.revision)
    }

    /// Whether the shell must now be asked for a store.
    pub(crate) fn ask(&mut self) -> bool {
        let idle = self.storing.is_none() && !self.asked && !self.failed;
        let ask = idle && !self.is_durable();
        self.asked |= ask;
        ask
    }

    /// A store begins, with the state of this moment.
    pub(crate) fn begin(&mut self, block: &mut [u8; BLOCK_LENGTH]) -> Result<(), MetadataError> {
        assert!(self.asked && self.storing.is_none(), "one store at a time");
        self.asked = false;
        self.storing = Some(self.revision);
        self.current.encode(block)
    }

    /// A flush of the component failed: a system tells that once, and perhaps
    /// not to the store that it concerns.
    pub(crate) const fn doubt(&mut self) {
        self.doubted = self.storing.is_some();
    }

    /// It ended; whether the state is stored. After a failure the disk has the
    /// old state or the new one.
    pub(crate) fn done(&mut self, stored: bool) -> bool {
        let stored = stored && !core::mem::take(&mut self.doubted);
        let revision = self.storing.take().expect("a store was begun");
        self.failed = !stored && revision == self.revision;
        if stored {
            self.durable = revision;
        }
        stored
    }
}
