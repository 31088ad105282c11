//! Stopping in order: what was begun ends, both components are flushed, and
//! the next primary, wherever it is, has as little to copy as possible.
//! Facts: design section 6.3.
//!
//! | state | it ends when |
//! |---|---|
//! | draining | nothing is in flight, and a synchronisation that has copied everything is recorded |
//! | flushing | both components have answered a flush |
//! | storing | the map and the metadata are on disk, or could not be stored |
//!
//! Each of them waits for events that come whatever the peer and the disk do,
//! and none is entered twice, so it ends. How long it may take is for the
//! shell to say.

use super::{Action, Behind, Primary, Why};
use alloc::vec::Vec;

#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) enum Stop {
    #[default]
    Running,
    Draining,
    Flushing,
    Storing,
    Stopped,
}

impl Primary {
    /// Ends this life as primary: no connection is made and nothing more is
    /// copied, and when the rest is done [`Action::Stopped`] says so, once. The
    /// shell takes no request from the provider any more.
    pub fn stop(&mut self, out: &mut Vec<Action>) {
        if self.stop != Stop::Running {
            return;
        }
        self.stop = Stop::Draining;
        if self.link.is_coming_up() {
            self.disconnect(Why::Stopping, out);
        } else {
            self.pump(out);
        }
    }

    /// Whether both components have everything, on stable storage: no matter
    /// which of them serves next, nothing is lost and nothing to be copied.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let equal = self.standing.behind == Behind::Neither;
        equal && self.map.image().is_empty() && !self.map.has_changed()
    }

    pub(super) fn is_stopping(&self) -> bool {
        self.stop != Stop::Running
    }

    pub(super) fn pump_stop(&mut self, out: &mut Vec<Action>) {
        if self.slots.len() > 0 {
            return;
        }
        match self.stop {
            Stop::Draining if !self.is_ending_sync() => {
                self.stop = Stop::Flushing;
                self.flush_both(out);
            }
            Stop::Flushing => {
                self.stop = Stop::Storing;
                self.map.forget_kept();
                if self.map.has_changed() {
                    self.stores.want_map();
                }
                self.ask_for_stores(out);
                self.stop_if_stored(out);
            }
            Stop::Storing => self.stop_if_stored(out),
            Stop::Running | Stop::Draining | Stop::Stopped => {}
        }
    }

    /// Everything is copied and only has to be written down, which spares the
    /// next primary from finding a component that is not to be used.
    fn is_ending_sync(&self) -> bool {
        self.link.is_up()
            && self.standing.behind != Behind::Neither
            && self.sync_is_ending()
            && !self.stores.metadata.has_failed()
    }

    fn stop_if_stored(&mut self, out: &mut Vec<Action>) {
        if self.stores.is_idle() && !self.map.is_storing() {
            self.stop = Stop::Stopped;
            self.link.end(out);
            out.push(Action::Stopped);
        }
    }
}
