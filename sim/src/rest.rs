//! The end of a run: misfortune ends, the pair comes to rest, and what it
//! claims is looked at.

use crate::disk::{Health, SECTOR};
use crate::node::{Machine, Node, Standing};
use crate::world::{Cast, World};
use hast_core::primary::Behind;

/// Steps within which the pair must be in sync without misfortune.
const REST: usize = 60_000;

impl World {
    /// Our primary lacks something and says so, which base does not hear:
    /// it offers to be copied to. That is refused for good; an operator
    /// changes the roles.
    pub(crate) fn is_stuck_with_base(&self) -> bool {
        let stuck = |s: Standing| s.behind == Behind::Local && !s.connected;
        self.cast == Cast::BaseSecondary && self.standing().is_some_and(stuck)
    }

    fn is_idle(&self) -> bool {
        self.nodes.iter().all(Node::is_idle)
    }

    fn in_sync(&self) -> bool {
        let claims = |s: Standing| s.connected && s.behind == Behind::Neither;
        // A peer that has just gone takes its part of the claim with it.
        let follows = self.nodes.iter().any(Node::follows);
        follows && self.standing().is_some_and(claims)
    }

    /// "In sync" means that both copies are the same, byte for byte.
    pub(crate) fn check_claim(&mut self) -> Result<(), String> {
        if !self.in_sync() || !self.is_idle() {
            return Ok(());
        }
        self.discord = false;
        for claim in &mut self.claims {
            claim.behind = false;
        }
        self.check_equal("the pair claims to be in sync")
    }

    pub(crate) fn check_equal(&self, claim: &str) -> Result<(), String> {
        let (a, b) = (self.nodes[0].data(), self.nodes[1].data());
        let mut sectors = a.chunks(SECTOR).zip(b.chunks(SECTOR));
        match sectors.position(|(a, b)| a != b) {
            None => Ok(()),
            Some(sector) => Err(format!(
                "{claim}, but sector {sector} differs; writes: {}",
                self.history.describe(sector)
            )),
        }
    }

    /// Everything works again; both copies become the same, and every sector
    /// is one the client may see.
    pub(crate) fn heal(&mut self) -> Result<(), String> {
        self.say(|| "misfortune ends".into());
        self.faults.end();
        self.restless = false;
        for node in &mut self.nodes {
            node.powered = true;
            node.disk.health = Health::Fine;
        }
        let mut rest = 0;
        while !(self.in_sync() && self.is_idle() && self.ops.is_empty()) {
            rest += 1;
            if rest % (REST / 4) == 0
                && self.discord
                && let Some(serving) = self.serving
            {
                self.resolve(1 - serving);
            }
            if rest > REST / 4 && self.is_stuck_with_base() {
                return Ok(());
            }
            if rest > REST {
                return Err(format!("no progress: {}", self.describe()));
            }
            match self.rng.below(8) {
                0 => self.time_goes_by(),
                1 => self.operator()?,
                2..=4 => self.work()?,
                5 => self.send(),
                _ => self.arrive(),
            }
            self.check()?;
        }
        self.check_equal("the pair claims to be in sync")?;
        let serving = self.serving.ok_or("nobody serves")?;
        self.check_all_values(serving)
    }

    /// In the end the secondary takes the place of the primary, whose machine
    /// is gone.
    pub(crate) fn fail_over(&mut self) -> Result<(), String> {
        let serving = self.serving.ok_or("nobody serves")?;
        self.power_cut(serving);
        if !self.claims[1 - serving].current {
            return Err("a pair in sync has a peer that may not be promoted".into());
        }
        if self.claims[1 - serving].lost {
            self.history.crashed();
        }
        self.check_all_values(1 - serving)
    }

    fn check_all_values(&mut self, n: usize) -> Result<(), String> {
        let began = self.history.now();
        let values = self.nodes[n].values();
        let mut sectors = values.into_iter().enumerate();
        sectors.try_for_each(|(sector, value)| self.check_value(sector, value, began))
    }

    fn describe(&self) -> String {
        let report = self.nodes.iter().find_map(|node| match &node.machine {
            Machine::Primary(primary) => Some(primary.report()),
            _ => None,
        });
        let rival = self.rival.as_ref().map(|rival| rival.node);
        let disk = |n: usize| {
            let metadata = self.nodes[n].metadata();
            metadata.map(|m| (m.counters, m.consistency, m.generation))
        };
        let (a, b) = (disk(0), disk(1));
        format!(
            "serving {:?}, rival {rival:?}, {report:?}, requests {:?}, to do {:?} {:?}, {a:?}, {b:?}",
            self.serving, self.ops, self.nodes[0].todo, self.nodes[1].todo
        )
    }
}
