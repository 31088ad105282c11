//! Who gives roles to nodes, and takes them: sometimes foolish, and sometimes
//! it has to decide whose data is given up.

use crate::checker::Checker;
use crate::faults::Kind;
use crate::node::{Machine, Node, Standing};
use crate::world::{Cast, World};
use hast_core::primary::{Behind, Primary, Replication};
use hast_core::secondary;

/// What the clients of the node know that does not serve, once there are two
/// histories: it has confirmed something that the other lacks.
#[derive(Debug)]
pub(crate) struct Rival {
    /// The node with the other history.
    pub(crate) node: usize,
    pub(crate) checker: Checker,
    /// Nodes that have confirmed something since the histories parted.
    pub(crate) wrote: [bool; 2],
    /// The node whose data the operator last gave up.
    pub(crate) given_up: Option<usize>,
}

/// What an operator knows of the nodes while none serves.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Claim {
    /// The node may be promoted, if what was claimed is true.
    pub(crate) current: bool,
    /// It has lost what was not flushed, or never had it.
    pub(crate) lost: bool,
    /// It lacked something when it last served.
    pub(crate) behind: bool,
}

impl World {
    pub(crate) fn operator(&mut self) -> Result<(), String> {
        let n = self.rng.below(2);
        if !self.nodes[n].powered {
            if self.rng.one_in(4) {
                self.nodes[n].powered = true;
                self.say(|| format!("{} is back", name(n)));
            }
            return Ok(());
        }
        match self.serving {
            None => self.without_primary(n),
            Some(serving) if serving == n => self.with_primary(n),
            Some(_) => self.with_secondary(n),
        }
    }

    fn without_primary(&mut self, n: usize) -> Result<(), String> {
        let promote = match self.cast {
            Cast::Ours => self.may_serve(n) || self.faults.strikes(Kind::Folly),
            Cast::BaseSecondary => n == 0,
            Cast::BasePrimary => n == 1,
        };
        match self.nodes[n].machine {
            Machine::Off if promote => self.promote(n),
            Machine::Off if self.rng.one_in(8) => self.become_secondary(n),
            Machine::Secondary(_) if self.nodes[n].has_stopped => {
                self.nodes[n].end();
                Ok(())
            }
            Machine::Secondary(_) if promote => {
                self.say(|| format!("{} is to stop being secondary", name(n)));
                self.nodes[n].secondary(secondary::Secondary::stop);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn with_primary(&mut self, n: usize) -> Result<(), String> {
        if self.nodes[n].has_stopped {
            return self.finish_stop(n);
        }
        if self.draining || !self.restless || self.nodes[n].make.is_base {
            return Ok(());
        }
        match self.rng.below(120) {
            0..=3 => {
                self.say(|| format!("{} is to stop being primary", name(n)));
                self.draining = true;
                self.nodes[n].primary(Primary::stop);
            }
            4 => {
                self.replication = mode(self.rng.below(3));
                self.reconfigured = true;
                let mode = self.replication;
                self.say(|| format!("{} changes to {mode:?}", name(n)));
                self.nodes[n].primary(|primary, out| primary.reconfigure(mode, 20_000, out));
            }
            5 => {
                self.say(|| format!("{} is to reconnect", name(n)));
                self.nodes[n].primary(Primary::reconnect);
            }
            _ => {}
        }
        Ok(())
    }

    fn with_secondary(&mut self, n: usize) -> Result<(), String> {
        let Machine::Secondary(secondary) = &self.nodes[n].machine else {
            return match self.nodes[n].machine {
                Machine::Off => self.become_secondary(n),
                _ => Ok(()),
            };
        };
        if self.nodes[n].has_stopped {
            // The operator had meant to promote it.
            self.nodes[n].end();
            return Ok(());
        }
        let refused = matches!(secondary.report().state, secondary::State::Refused(_));
        if refused && self.discord && self.rng.one_in(20) {
            self.resolve(n);
        }
        Ok(())
    }

    /// Ends a quarrel: for the node that serves, unless it says itself that
    /// its copy is not to be used.
    pub(crate) fn resolve(&mut self, secondary: usize) {
        let behind = self.standing().map(|standing| standing.behind);
        if behind != Some(Behind::Local) {
            return self.give_up(secondary);
        }
        self.say(|| format!("{} is to serve after all", name(secondary)));
        self.stop_serving(false);
        self.nodes[1 - secondary].end();
        self.claims[1 - secondary].current = false;
        self.claims[secondary].current = true;
    }

    /// Ends a split-brain for the node that serves.
    fn give_up(&mut self, n: usize) {
        if let Some(rival) = &mut self.rival {
            rival.given_up = Some(n);
        }
        if self.rng.one_in(3) || !matches!(self.nodes[n].machine, Machine::Secondary(_)) {
            self.say(|| format!("{} is created anew", name(n)));
            self.nodes[n] = Node::new(self.nodes[n].make);
            self.rival = None;
        } else {
            self.say(|| format!("the data of {} is given up", name(n)));
            self.nodes[n].secondary(secondary::Secondary::discard);
        }
    }

    fn become_secondary(&mut self, n: usize) -> Result<(), String> {
        self.say(|| format!("{} becomes secondary", name(n)));
        let now = self.now;
        self.nodes[n].become_secondary(now).or_else(|error| {
            self.say(|| format!("it does not: {error}"));
            self.may_fail_to_open(n, &error)
        })
    }

    /// Only a broken disk keeps a node from its role.
    pub(crate) fn may_fail_to_open(&self, n: usize, error: &str) -> Result<(), String> {
        if self.nodes[n].disk.health == crate::disk::Health::Broken {
            return Ok(());
        }
        Err(format!("{} cannot be opened: {error}", name(n)))
    }

    /// Whether the node may be promoted without folly. A node that lacks
    /// something says so itself, unless its disk failed to: then only the peer
    /// knows, and whoever was told.
    pub(crate) fn may_serve(&self, n: usize) -> bool {
        let Claim {
            current, behind, ..
        } = self.claims[n];
        current && !(behind && self.nodes[n].says_consistent())
    }

    /// What the primary claims as it goes is what the operator goes by.
    pub(crate) fn stop_serving(&mut self, loses_power: bool) {
        let Some(n) = self.serving.take() else { return };
        let other = 1 - n;
        let (current, answered, behind) = match self.nodes[n].standing() {
            Some(standing) => (
                standing.peer_is_current,
                self.peer_has_what_was_answered(standing, other),
                standing.behind == Behind::Local,
            ),
            // It was killed and nothing takes its place.
            None => (false, false, false),
        };
        self.claims[n] = Claim {
            current: true,
            lost: loses_power,
            behind,
        };
        self.claims[other] = Claim {
            current,
            lost: !answered,
            behind: false,
        };
        self.draining = false;
        self.peer_lost_cache = false;
        self.flush_must_fail = None;
        self.history.interrupted();
        self.ops.clear();
    }

    /// Whether the peer has everything that was answered, flushed or not.
    fn peer_has_what_was_answered(&self, primary: Standing, other: usize) -> bool {
        let promised = match primary.behind {
            Behind::Neither => self.replication != Replication::Async && !self.reconfigured,
            Behind::Local => true,
            Behind::Peer => false,
        };
        // Base throws away what is in its queues.
        let peer = &self.nodes[other];
        promised && primary.connected && peer.follows() && !peer.make.is_base
    }

    fn finish_stop(&mut self, n: usize) -> Result<(), String> {
        self.deliver_answers(n)?;
        if !self.ops.is_empty() {
            return Err(format!(
                "stopped with {} requests unanswered",
                self.ops.len()
            ));
        }
        let clean = matches!(&self.nodes[n].machine, Machine::Primary(p) if p.is_clean());
        self.say(|| {
            format!(
                "{} is primary no more{}",
                name(n),
                if clean { ", clean" } else { "" }
            )
        });
        self.stop_serving(false);
        if clean {
            // Every answered write is on both disks for good.
            let now = self.history.now();
            self.history.flushed(now);
            self.claims[1 - n].lost = false;
            self.check_equal("they were left clean")?;
        }
        self.nodes[n].end();
        self.nodes[n].direct_reads = false;
        Ok(())
    }

    fn promote(&mut self, n: usize) -> Result<(), String> {
        let foolish = !self.may_serve(n);
        self.say(|| {
            format!(
                "{} becomes primary{}",
                name(n),
                if foolish { ", foolishly" } else { "" }
            )
        });
        let stale = !self.nodes[n].says_consistent();
        if foolish {
            self.discord = true;
        }
        // What an inconsistent node lacks it reads from the other.
        let lost = self.claims[n].lost || self.nodes[n].failed_write;
        let lost = lost || stale && self.claims[1 - n].lost;
        let left = self.claims[1 - n].lost;
        if self.rival.as_ref().is_some_and(|rival| rival.node == n) {
            self.change_sides();
        }
        if lost {
            self.history.crashed();
        }
        if foolish && self.rival.is_none() && self.lacks_something(n) {
            self.part(n);
        }
        if let Some(rival) = self.rival.as_mut().filter(|_| left) {
            rival.checker.crashed();
        }
        let (entropy, mode, now) = (self.rng.next(), self.replication, self.now);
        if let Err(error) = self.nodes[n].become_primary(false, mode, entropy, now) {
            self.say(|| format!("it does not: {error}"));
            return self.may_fail_to_open(n, &error);
        }
        self.serving = Some(n);
        Ok(())
    }

    pub(crate) fn lacks_something(&mut self, n: usize) -> bool {
        let began = self.history.now();
        let values = self.nodes[n].values();
        let mut sectors = values.into_iter().enumerate();
        sectors.any(|(sector, value)| !self.history.may_read(sector, value, began))
    }

    /// A copy that does not say otherwise is of one state, however old (K12).
    pub(crate) fn check_one_state(&self, n: usize) -> Result<(), String> {
        let (history, given_up) = match &self.rival {
            Some(rival) if rival.node == n => (&rival.checker, rival.given_up),
            Some(rival) => (&self.history, rival.given_up),
            None => (&self.history, None),
        };
        // A disk that failed to say that it lacks something leaves that to the
        // peer.
        let behind = match self.nodes[n].standing() {
            Some(standing) => standing.behind == Behind::Local,
            None => self.claims[n].behind,
        };
        if given_up.is_some() || behind || self.nodes[n].make.is_base {
            return Ok(());
        }
        match history.mixture(&self.nodes[n].possible_values()) {
            Some((sector, value)) => Err(format!(
                "{} may call itself consistent and have {value}, but not what was flushed \
                 before in sector {sector}; writes: {}",
                name(n),
                history.describe(sector)
            )),
            None => Ok(()),
        }
    }

    /// From here on there are two histories: this node's clients read what is
    /// as old as it is.
    fn part(&mut self, n: usize) {
        self.say(|| format!("{} lacks something: there are two histories now", name(n)));
        let ours = Checker::new(self.nodes[n].values());
        let mut wrote = [true; 2];
        wrote[n] = false;
        self.rival = Some(Rival {
            node: 1 - n,
            checker: std::mem::replace(&mut self.history, ours),
            wrote,
            given_up: None,
        });
    }

    /// The other history goes on.
    fn change_sides(&mut self) {
        if let Some(rival) = &mut self.rival {
            std::mem::swap(&mut self.history, &mut rival.checker);
            rival.node = 1 - rival.node;
            self.forgotten = self.next_key;
        }
    }

    /// Two nodes that both wrote what the other lacks never meet as if
    /// nothing had happened. If only one did, its data is what counts.
    pub(crate) fn check_meeting(&mut self) -> Result<(), String> {
        let connected = self.standing().is_some_and(|standing| standing.connected);
        let (Some(rival), Some(serving), true) = (&self.rival, self.serving, connected) else {
            return Ok(());
        };
        let loser = rival.given_up.or_else(|| {
            let silent = |n: &usize| !rival.wrote[*n];
            [serving, rival.node].into_iter().find(silent)
        });
        let Some(loser) = loser else {
            return Err("two primaries' data were merged silently".into());
        };
        if loser == serving {
            self.say(|| "the other history is the one that counts".into());
            self.return_to_rival();
        }
        self.rival = None;
        Ok(())
    }

    /// Only the other history ever happened, but what is still being written
    /// here is written there.
    fn return_to_rival(&mut self) {
        self.change_sides();
        self.ops.retain(|_, op| op.op.modifies());
        let ops: Vec<_> = self.ops.values().copied().collect();
        for op in ops {
            for sector in crate::client::sectors(op.op) {
                self.history.write_began(sector, op.key, op.value());
            }
        }
    }
}

pub(crate) fn name(n: usize) -> &'static str {
    ["a", "b"][n]
}

pub(crate) fn mode(n: usize) -> Replication {
    [
        Replication::Fullsync,
        Replication::Memsync,
        Replication::Async,
    ][n]
}
