//! The end of a primary, in order. Facts: design section 6.3.

use super::Shell;
use crate::ipc::FromWorker;
use crate::log;
use ggate::gate::GateId;
use hast_core::primary::Primary;
use nix::errno::Errno;
use std::sync::atomic::Ordering;
use std::time::Instant;

impl Shell {
    /// Drains, flushes, stores, and destroys the provider, by force like base.
    /// Ends the process, unless the provider is to be closed and is not.
    pub(super) fn stop(&self, if_closed: bool) {
        // An attempt that comes to nothing must not swallow the next order.
        let _one_at_a_time = self.stop.lock();
        self.ending.store(true, Ordering::SeqCst);
        // One that nobody has open can go first: there is nothing to drain.
        // Until that is known, requests are served.
        if if_closed && self.destroy(false) == Err(Errno::EBUSY) {
            log::info!("Device hast/{} is open and stays.", self.provider);
            self.ending.store(false, Ordering::SeqCst);
            return self.parent.tell(&FromWorker::InUse);
        }
        self.draining.store(true, Ordering::SeqCst);
        log::info!("Stopping: finishing what was begun.");
        self.drain();
        if !if_closed {
            if self.destroy(false) == Err(Errno::EBUSY) {
                let name = &self.provider;
                log::warning!("Device hast/{name} is open; destroying it by force.");
            }
            // What the run directory still says of it the daemon has removed.
            let _ = self.destroy(true);
        }
        crate::worker::exit(&self.parent, 0);
    }

    fn drain(&self) {
        let patience = self.settings.lock().timeout;
        let deadline = Instant::now() + patience;
        self.event(Primary::stop);
        let mut state = self.state.lock();
        while !state.has_stopped {
            if self.stopped.wait_until(&mut state, deadline).timed_out() {
                drop(state);
                return log::warning!(
                    "Requests are still under way after {} s; stopping without them.",
                    patience.as_secs()
                );
            }
        }
    }

    fn destroy(&self, force: bool) -> nix::Result<()> {
        let name = GateId::Named(format!("hast/{}", self.provider));
        match self.gate.ctl.destroy(&name, force) {
            Err(Errno::ENXIO) => Ok(()),
            result => result,
        }
    }
}
