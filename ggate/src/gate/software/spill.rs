//! Payloads that had to be taken from a client before anybody wanted them,
//! within one limit per gate.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// Bytes of such payloads per gate: two of the largest requests.
pub(super) const SPILL_LIMIT: usize = 64 << 20;

/// The bytes in use.
#[derive(Debug, Default)]
pub(super) struct Spill(AtomicUsize);

/// One payload; gives its bytes back to the limit when dropped.
#[derive(Debug)]
pub(super) struct SpillBuf {
    data: Vec<u8>,
    length: usize,
    spill: Arc<Spill>,
}

impl Spill {
    /// An empty buffer for `length` bytes, if the limit allows.
    pub(super) fn reserve(self: &Arc<Self>, length: usize) -> Option<SpillBuf> {
        self.0
            .fetch_update(Relaxed, Relaxed, |used| {
                used.checked_add(length).filter(|&sum| sum <= SPILL_LIMIT)
            })
            .ok()?;
        Some(SpillBuf {
            data: Vec::new(),
            length,
            spill: self.clone(),
        })
    }

    pub(super) fn is_used(&self) -> bool {
        self.0.load(Relaxed) > 0
    }
}

impl SpillBuf {
    pub(super) fn bytes(&self) -> &[u8] {
        &self.data
    }

    /// How many bytes are still to come.
    pub(super) fn missing(&self) -> usize {
        self.length - self.data.len()
    }

    /// For bytes to be appended, at most [`Self::missing`]. It grows with what
    /// has really come: announcing much costs us nothing.
    pub(super) fn data(&mut self) -> &mut Vec<u8> {
        &mut self.data
    }
}

impl Drop for SpillBuf {
    fn drop(&mut self) {
        self.spill.0.fetch_sub(self.length, Relaxed);
    }
}
