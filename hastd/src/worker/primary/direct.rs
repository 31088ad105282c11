//! Direct reads: the kernel serves reads straight from the local component
//! while the machine allows it. Facts: spec/hast-behaviour.md section 4.1.
//!
//! Only the kernel's gate over a GEOM provider can do that. It opens and
//! closes the provider for it, which may wait for a taste: so a thread asks
//! that nothing depends on.

use super::Shell;
use crate::log;
use crate::worker::local::Local;
use ggate::gate::Modify;
use ggate::range::Geometry;
use parking_lot::{Condvar, Mutex};

pub(super) struct DirectReads {
    /// How to switch them on; none where that is impossible.
    on: Option<Modify>,
    wanted: Mutex<Option<bool>>,
    changed: Condvar,
}

impl DirectReads {
    pub(super) fn new(local: &Local, gate: Geometry) -> Self {
        let provider = local.path.strip_prefix("/dev/");
        let provider = provider.filter(|_| cfg!(target_os = "freebsd") && local.is_provider());
        Self {
            on: provider.map(|name| Modify::ReadProvider {
                name: name.into(),
                offset: local.metadata.localoff,
                size: local.media.geometry().media_size,
                gate,
            }),
            wanted: Mutex::default(),
            changed: Condvar::new(),
        }
    }
}

impl Shell {
    /// The machine asks at most once at a time.
    pub(super) fn set_direct_reads(&self, on: bool) {
        if self.direct_reads.on.is_some() {
            *self.direct_reads.wanted.lock() = Some(on);
            self.direct_reads.changed.notify_one();
        } else {
            // They are off, and stay off.
            self.event(|machine, out| machine.direct_reads_set(on, !on, out));
        }
    }

    /// The thread `modifytd`; never returns.
    pub(super) fn run_direct_reads(&self) {
        let direct = &self.direct_reads;
        loop {
            let on = {
                let mut wanted = direct.wanted.lock();
                loop {
                    if let Some(on) = wanted.take() {
                        break on;
                    }
                    direct.changed.wait(&mut wanted);
                }
            };
            let change = match &direct.on {
                Some(change) if on => change,
                _ => &Modify::NoReadProvider,
            };
            let result = self.gate.ctl.modify(self.gate.unit, change);
            match result {
                Ok(()) => log::debug!(1, "Direct reads are {}.", if on { "on" } else { "off" }),
                Err(errno) => log::warning!(
                    "Direct reads cannot be switched {}: {}.",
                    if on { "on" } else { "off" },
                    errno.desc()
                ),
            }
            self.event(|machine, out| machine.direct_reads_set(on, result.is_ok(), out));
        }
    }
}
