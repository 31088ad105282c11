//! GEOM as far as a gate can get into trouble with it, in software.
//!
//! `spec/geom-gate-kernel.md` section 7: one thread executes events in the
//! order of their arrival; who posts one waits, before it returns to user
//! level, until the queue has been seen completely empty; a new provider, and
//! one whose last writer closed it, is tasted, which reads its first and last
//! sector; the device node appears by a taste. [`Gates`] are the six calls of
//! `/dev/ggctl` on such a system: requests go through the gate in software, so
//! that whoever serves them does it with the code that serves the kernel's.
//!
//! The differences from the kernel, none of which can hide a deadlock: a wait
//! ends when a test ends the gate it hangs on, as in the kernel, but nothing
//! ends by itself; only one class tastes; the topology lock does not exist.

// Helpers assert inside; what they give back is often not needed.
#![allow(clippy::must_use_candidate, clippy::missing_panics_doc)]

mod gates;
mod queue;

pub use gates::{Gates, Handout, Kernel};
pub use queue::{Geom, Opened};
