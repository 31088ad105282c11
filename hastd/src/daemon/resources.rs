//! All resources, in the order of the configuration.

use super::Around;
use super::poll::Interests;
use super::resource::Event;
use super::unit::Unit;
use crate::config;
use std::time::Instant;

/// The resources of this node.
#[derive(Default)]
pub(super) struct Resources {
    units: Vec<Unit>,
    next: u64,
}

impl Resources {
    pub(super) fn new(configs: Vec<config::Resource>) -> Self {
        let mut resources = Self::default();
        for config in configs {
            resources.add(config);
        }
        resources
    }

    fn add(&mut self, config: config::Resource) {
        self.units.push(Unit::new(self.next, config));
        self.next += 1;
    }

    /// All but those that are being removed.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Unit> {
        self.units.iter().filter(|unit| !unit.removing)
    }

    /// The one of this name.
    pub(super) fn find(&mut self, name: &[u8]) -> Option<&mut Unit> {
        let mut units = self.units.iter_mut().filter(|unit| !unit.removing);
        units.find(|unit| unit.config.name.as_bytes() == name)
    }

    /// The one with this id.
    pub(super) fn get(&mut self, id: u64) -> Option<&mut Unit> {
        self.units.iter_mut().find(|unit| unit.id == id)
    }

    pub(super) fn interests<'fd>(&'fd self, interests: &mut Interests<'fd>) {
        for unit in &self.units {
            unit.interests(interests);
        }
    }

    /// Looks after all of them.
    pub(super) fn attend(&mut self, now: Instant, around: &mut Around) {
        for unit in &mut self.units {
            unit.attend(now, around);
        }
        self.units.retain(|unit| !unit.gone);
    }

    /// Stops all workers.
    pub(super) fn end(&mut self, now: Instant, around: &mut Around) {
        for unit in &mut self.units {
            unit.event(Event::End, now, around);
        }
    }

    /// Whether there is no worker any more.
    pub(super) fn are_idle(&self) -> bool {
        self.units.iter().all(|unit| unit.worker.is_none())
    }
}
