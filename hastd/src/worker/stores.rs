//! The map and the metadata on their way to the component, on a thread of
//! their own: they wait for the disk, and whoever causes them must not.

use super::local::Local;
use crate::log;
use ggate::media::Media;
use hast_core::metadata::BLOCK_LENGTH;
use nix::errno::Errno;
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// What the machine stores.
pub(super) trait Storing {
    /// The block of this moment, or why there is none.
    fn begin_metadata(&self, block: &mut [u8; BLOCK_LENGTH]) -> Result<(), String>;

    /// It is on stable storage, or failed.
    fn metadata_stored(&self, stored: bool);

    /// The sectors of the map that changed, one behind the other, with their
    /// offsets in the component and lengths.
    fn begin_map(&self, bytes: &mut Vec<u8>, sectors: &mut Vec<(u64, usize)>);

    /// They are on stable storage, or failed.
    fn map_stored(&self, stored: bool);
}

/// What is to be stored. Of each, one store is under way at a time; the
/// machine asks for the next after it was told of the last.
#[derive(Default)]
pub(super) struct Stores {
    wanted: Mutex<Wanted>,
    something: Condvar,
    /// Stores of the map that failed, and flushes after them.
    map_errors: AtomicU64,
    flush_errors: AtomicU64,
    /// The map is stored without a flush (`metaflush off`).
    unflushed: AtomicBool,
}

#[derive(Clone, Copy, Default)]
struct Wanted {
    map: bool,
    metadata: bool,
}

impl Stores {
    /// `metaflush`: the administrator may say that the map's writes need none.
    pub(super) fn set_metaflush(&self, on: bool) {
        self.unflushed.store(!on, Ordering::Relaxed);
    }

    /// Stores of the map that could not be written.
    pub(super) fn map_errors(&self) -> u64 {
        self.map_errors.load(Ordering::Relaxed)
    }

    /// Stores of the map that were written and could not be flushed.
    pub(super) fn flush_errors(&self) -> u64 {
        self.flush_errors.load(Ordering::Relaxed)
    }

    pub(super) fn want_map(&self) {
        self.wanted.lock().map = true;
        self.something.notify_one();
    }

    pub(super) fn want_metadata(&self) {
        self.wanted.lock().metadata = true;
        self.something.notify_one();
    }

    /// The thread `storetd`; never returns.
    pub(super) fn run(&self, machine: &impl Storing, local: &Local) {
        let (component, path) = (&*local.media, &local.path);
        let mut store = Store {
            component,
            bytes: Vec::new(),
            sectors: Vec::new(),
        };
        loop {
            let wanted = self.wait();
            let map = wanted.map.then(|| store.map(machine));
            let metadata = wanted.metadata.then(|| Store::metadata(machine, component));
            // The administrator may change his mind meanwhile.
            let unflushed = self.unflushed.load(Ordering::Relaxed);
            // One flush for both. What failed already needs none.
            let needs_flush = metadata == Some(Ok(())) || map == Some(Ok(())) && !unflushed;
            let flushed = if needs_flush {
                local.flushes.flush()
            } else {
                Ok(())
            };
            if let Some(written) = map {
                let result = written.and(if unflushed { Ok(()) } else { flushed });
                if let Err(errno) = result {
                    let errors = if written.is_err() {
                        &self.map_errors
                    } else {
                        &self.flush_errors
                    };
                    errors.fetch_add(1, Ordering::Relaxed);
                    log::error!(
                        "{path}: the map of what differs cannot be stored: {}; writes fail until it can.",
                        errno.desc()
                    );
                }
                machine.map_stored(result.is_ok());
            }
            if let Some(written) = metadata {
                let result = written.and(flushed);
                if let Err(errno) = result {
                    log::warning!("{path}: the metadata cannot be stored: {}.", errno.desc());
                }
                machine.metadata_stored(result.is_ok());
            }
            if flushed.is_err() {
                local.flushes.told();
            }
        }
    }

    fn wait(&self) -> Wanted {
        let mut wanted = self.wanted.lock();
        while !wanted.map && !wanted.metadata {
            self.something.wait(&mut wanted);
        }
        std::mem::take(&mut wanted)
    }
}

struct Store<'a> {
    component: &'a dyn Media,
    bytes: Vec<u8>,
    sectors: Vec<(u64, usize)>,
}

impl Store<'_> {
    fn map(&mut self, machine: &impl Storing) -> nix::Result<()> {
        self.bytes.clear();
        self.sectors.clear();
        machine.begin_map(&mut self.bytes, &mut self.sectors);
        let mut bytes = &self.bytes[..];
        let mut sectors = self.sectors.iter().copied().peekable();
        while let Some((offset, mut length)) = sectors.next() {
            // Neighbours go together.
            while let Some((_, more)) =
                sectors.next_if(|next| Some(next.0) == offset.checked_add(length as u64))
            {
                length += more;
            }
            let (run, rest) = bytes.split_at(length);
            self.component.write_at(run, offset)?;
            bytes = rest;
        }
        Ok(())
    }

    fn metadata(machine: &impl Storing, component: &dyn Media) -> nix::Result<()> {
        let mut block = [0; BLOCK_LENGTH];
        // Names that are too long were refused when the worker began.
        machine
            .begin_metadata(&mut block)
            .map_err(|_| Errno::EINVAL)?;
        write_block(component, &block)
    }
}

/// Writes the metadata; a flush must follow. Only the first sector ever
/// changes, and a sector is written whole or not at all: a power cut leaves
/// the old block or the new one.
pub(super) fn write_block(component: &dyn Media, block: &[u8; BLOCK_LENGTH]) -> nix::Result<()> {
    let sector = usize::try_from(component.geometry().sector_size).unwrap_or(BLOCK_LENGTH);
    component.write_at(&block[..sector.clamp(512, BLOCK_LENGTH)], 0)
}
