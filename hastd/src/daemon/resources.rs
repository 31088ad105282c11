//! All resources, in the order of the configuration.

use super::Around;
use super::poll::Interests;
use super::resource::Event;
use super::unit::{Fate, Unit};
use crate::config;
use crate::log;
use std::time::Instant;

/// The resources of this node.
pub(super) struct Resources {
    units: Vec<Unit>,
    next: u64,
    /// Workers give their privileges up.
    sandboxed: bool,
}

impl Resources {
    pub(super) fn new(configs: Vec<config::Resource>, sandboxed: bool) -> Self {
        let mut resources = Self {
            units: Vec::new(),
            next: 0,
            sandboxed,
        };
        for config in configs {
            resources.add(config);
        }
        resources
    }

    fn add(&mut self, config: config::Resource) {
        let unit = Unit::new(self.next, config, self.sandboxed);
        self.units.push(unit);
        self.next += 1;
    }

    /// Takes another configuration up. What a resource is in the middle of is
    /// finished first.
    pub(super) fn reload(
        &mut self,
        configs: Vec<config::Resource>,
        now: Instant,
        around: &mut Around,
    ) {
        let order: Vec<String> = configs.iter().map(|config| config.name.clone()).collect();
        let present = self
            .units
            .iter_mut()
            .filter(|unit| unit.fate == Fate::Stays);
        for unit in present.filter(|unit| !order.contains(&unit.config.name)) {
            log::info!("Resource {} removed.", unit.config.name);
            unit.remove(now, around);
        }
        for config in configs {
            if let Some(unit) = self.find(config.name.as_bytes()) {
                unit.reload(config, now, around);
            } else {
                log::info!("Resource {} added.", config.name);
                self.add(config);
            }
        }
        self.units.retain(|unit| unit.fate != Fate::Gone);
        let place = |unit: &Unit| order.iter().position(|name| *name == unit.config.name);
        self.units
            .sort_by_key(|unit| place(unit).unwrap_or(usize::MAX));
    }

    /// Says how all of them are.
    pub(super) fn tell(&self, now: Instant) {
        for unit in &self.units {
            log::info!("{}{}.", unit.about(), unit.summary(now));
        }
    }

    /// All but those that are being removed.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Unit> {
        self.units.iter().filter(|unit| unit.fate == Fate::Stays)
    }

    /// The one of this name.
    pub(super) fn find(&mut self, name: &[u8]) -> Option<&mut Unit> {
        let mut units = self
            .units
            .iter_mut()
            .filter(|unit| unit.fate == Fate::Stays);
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
        self.units.retain(|unit| unit.fate != Fate::Gone);
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
