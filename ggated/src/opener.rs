//! Who opens the media.
//!
//! Regular files are opened for each session anew: a file that was replaced is
//! seen. A GEOM provider is held: one descriptor per provider and way to open
//! it, from the start until it is exported no more. No session is then the
//! first writer or the last closer of it, so that no session, and no end of
//! one, makes GEOM taste it again and waits for that
//! (`spec/geom-gate-kernel.md` 7.7, rules 4 and 6). Helpers open it, see
//! [`ggate::opener`]; a handshake waits for one on its own thread, and for no
//! longer than [`PATIENCE`].

use ggate::daemon;
use ggate::log;
use ggate::media::{self, Media, MediaError, OpenOptions};
use ggate::opener::{Held, Launcher};
use ggate::wire::ExportPath;
use nix::errno::Errno;
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long a handshake waits for a descriptor. Less than a client of ours
/// waits for its answer, so that the reason reaches it; the next one finds what
/// came meanwhile.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A path out of the exports file and how to open it.
pub type Opening = (ExportPath, OpenOptions);

/// Opens the medium behind an export.
pub trait Opener: Send + Sync {
    /// Called on the thread of one handshake, which it may keep waiting.
    fn open(&self, path: &ExportPath, options: OpenOptions) -> Result<Arc<dyn Media>, MediaError>;

    /// What is exported from now on, for who holds media.
    fn exported(&self, openings: &[Opening]) {
        let _ = openings;
    }
}

/// Opens files, and holds providers.
pub struct Keeper {
    launcher: Arc<dyn Launcher>,
    patience: Duration,
    slots: Mutex<HashMap<Opening, Arc<Slot>>>,
}

/// A provider that is held, or on its way.
#[derive(Default)]
struct Slot {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Clone, Default)]
enum State {
    #[default]
    Opening,
    Held(Arc<Held>),
    Failed(MediaError),
}

impl Keeper {
    /// Holds nothing yet. Handshakes wait for a descriptor as long as
    /// `patience`.
    #[must_use]
    pub fn new(launcher: Arc<dyn Launcher>, patience: Duration) -> Self {
        Self {
            launcher,
            patience,
            slots: Mutex::default(),
        }
    }

    /// The slot of a provider. Makes one, and has it filled, if there is none
    /// or only one that failed.
    fn slot(&self, opening: &Opening) -> Arc<Slot> {
        let slot = {
            let mut slots = self.slots.lock();
            match slots.get(opening) {
                Some(slot) if !slot.has_failed() => return Arc::clone(slot),
                _ => {}
            }
            let slot = Arc::<Slot>::default();
            slots.insert(opening.clone(), Arc::clone(&slot));
            slot
        };
        self.fill(&slot, opening);
        slot
    }

    /// Has the provider opened, for as long as that takes.
    fn fill(&self, slot: &Arc<Slot>, (path, options): &Opening) {
        let launcher = Arc::clone(&self.launcher);
        let (filled, path, options) = (Arc::clone(slot), path.clone(), *options);
        let spawned = daemon::spawn("opener", move || {
            let held = Held::open(launcher.as_ref(), path.as_path(), options);
            filled.set(match held {
                Ok(held) => State::Held(Arc::new(held)),
                Err(error) => State::Failed(error),
            });
        });
        if spawned.is_err() {
            slot.set(State::Failed(MediaError::Open(Errno::EAGAIN)));
        }
    }

    /// Lets go of what `slot` holds.
    fn forget(&self, opening: &Opening, slot: &Arc<Slot>) {
        let mut slots = self.slots.lock();
        if slots.get(opening).is_some_and(|now| Arc::ptr_eq(now, slot)) {
            slots.remove(opening);
        }
    }

    fn provider(&self, opening: &Opening) -> Result<Arc<dyn Media>, MediaError> {
        let deadline = Instant::now() + self.patience;
        let path = opening.0.as_path();
        loop {
            let slot = self.slot(opening);
            if let Some(shared) = slot.wait(deadline)?.share(path) {
                return Ok(Arc::new(shared));
            }
            // The provider went, and perhaps there is another one.
            self.forget(opening, &slot);
            if Instant::now() >= deadline || !self.launcher.is_provider(path) {
                return Err(MediaError::Open(Errno::ENXIO));
            }
            log::info!("{}: gone; opening it again.", opening.0);
        }
    }
}

impl Opener for Keeper {
    fn open(&self, path: &ExportPath, options: OpenOptions) -> Result<Arc<dyn Media>, MediaError> {
        if self.launcher.is_provider(path.as_path()) {
            self.provider(&(path.clone(), options))
        } else {
            Ok(Arc::new(media::open(path.as_path(), options)?))
        }
    }

    fn exported(&self, openings: &[Opening]) {
        let gone: Vec<_> = {
            let mut slots = self.slots.lock();
            let exported = |path: &ExportPath| openings.iter().any(|(other, _)| other == path);
            slots.extract_if(|(path, _), _| !exported(path)).collect()
        };
        drop(gone);
        for opening in openings {
            if self.launcher.is_provider(opening.0.as_path()) {
                self.slot(opening);
            }
        }
    }
}

impl Slot {
    fn set(&self, state: State) {
        *self.state.lock() = state;
        self.changed.notify_all();
    }

    fn has_failed(&self) -> bool {
        matches!(*self.state.lock(), State::Failed(_))
    }

    fn wait(&self, deadline: Instant) -> Result<Arc<Held>, MediaError> {
        let mut state = self.state.lock();
        let opening = |state: &mut State| matches!(state, State::Opening);
        self.changed.wait_while_until(&mut state, opening, deadline);
        match &*state {
            State::Held(held) => Ok(Arc::clone(held)),
            State::Failed(error) => Err(*error),
            State::Opening => Err(MediaError::Open(Errno::ETIMEDOUT)),
        }
    }
}

#[cfg(test)]
mod tests;
