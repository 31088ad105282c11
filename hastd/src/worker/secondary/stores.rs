//! The metadata and the map of an earlier life as primary, on a thread of
//! their own: they wait for the disk.

use super::Shell;
use crate::log;
use crate::worker::stores::write_block;
use hast_core::decision::MapSent;
use hast_core::metadata::{BLOCK, BLOCK_LENGTH};
use hast_core::secondary::{Action, Secondary};
use nix::errno::Errno;
use parking_lot::{Condvar, Mutex};

#[derive(Default)]
pub(super) struct Stores {
    wanted: Mutex<Wanted>,
    something: Condvar,
}

/// Each at most once: the machine is told of the last before it asks again.
#[derive(Clone, Copy, Default)]
struct Wanted {
    metadata: bool,
    clear: bool,
    fill: bool,
}

impl Stores {
    pub(super) fn want_metadata(&self) {
        self.want(|wanted| wanted.metadata = true);
    }

    pub(super) fn want_clear(&self) {
        self.want(|wanted| wanted.clear = true);
    }

    pub(super) fn want_fill(&self) {
        self.want(|wanted| wanted.fill = true);
    }

    fn want(&self, what: impl FnOnce(&mut Wanted)) {
        what(&mut self.wanted.lock());
        self.something.notify_one();
    }

    fn wait(&self) -> Wanted {
        let mut wanted = self.wanted.lock();
        while !(wanted.metadata || wanted.clear || wanted.fill) {
            self.something.wait(&mut wanted);
        }
        std::mem::take(&mut wanted)
    }
}

impl Shell {
    /// The thread `storetd`; never returns.
    pub(super) fn run_stores(&self) {
        let mut map = Vec::new();
        loop {
            let wanted = self.stores.wait();
            if wanted.clear {
                // The primary has stored what was here; what a power cut
                // brings back is only copied once more.
                map.clear();
                map.resize(self.local.map.len(), 0);
                let cleared = self.local.media.write_at(&map, BLOCK);
                self.complain("the map", cleared);
                self.event(|machine, out| machine.map_cleared(cleared.is_ok(), out));
            }
            if wanted.fill {
                self.state.lock().machine.write_map(MapSent::Full, &mut map);
                map.resize(self.local.map.len(), 0);
                let write = self.local.media.write_at(&map, BLOCK);
                self.flush("the map", write, Secondary::map_filled);
            }
            if wanted.metadata {
                let write = self.write_metadata();
                self.flush("the metadata", write, Secondary::metadata_stored);
            }
        }
    }

    /// What was written becomes permanent, and the machine hears of it.
    fn flush(
        &self,
        what: &str,
        written: nix::Result<()>,
        report: fn(&mut Secondary, bool, &mut Vec<Action>),
    ) {
        let flushed = written.and_then(|()| self.local.flushes.flush());
        self.complain(what, flushed);
        self.event(|machine, out| report(machine, flushed.is_ok(), out));
        if written.is_ok() && flushed.is_err() {
            self.local.flushes.told();
        }
    }

    fn write_metadata(&self) -> nix::Result<()> {
        let mut block = [0; BLOCK_LENGTH];
        let begun = self.state.lock().machine.begin_metadata_store(&mut block);
        // Names that are too long were refused when the worker began.
        begun.map_err(|_| Errno::EINVAL)?;
        write_block(&*self.local.media, &block)
    }

    fn complain(&self, what: &str, stored: nix::Result<()>) {
        if let Err(errno) = stored {
            let path = &self.local.path;
            log::warning!("{path}: {what} cannot be stored: {}.", errno.desc());
        }
    }
}
