//! Two nodes, the link between them, clients, an operator and misfortune.
//! One step at a time, chosen at random; then the misfortune ends, and the
//! pair must come to rest with both copies the same.

use crate::checker::Checker;
use crate::client::ClientOp;
use crate::disk::Health;
use crate::faults::{Fault, Faults, Kind};
use crate::net::{Link, Way};
use crate::node::{DATA_SECTORS, Machine, Make, Node, Standing};
use crate::operator::{Claim, Rival, mode, name};
use crate::rng::Rng;
use crate::shell::Todo;
use crate::{images, receive, send, trace};
use hast_core::primary::{Behind, Millis, Replication};
use std::collections::{BTreeMap, BTreeSet};

/// Steps with misfortune.
pub(crate) const STEPS: usize = 2000;
/// Milliseconds of a tick while the nodes talk: short, since a message takes
/// many steps.
const TICK: u64 = 500;
/// The same while they do not, and hardly anything happens.
const PAUSE: u64 = 3000;
/// Things that happen in a step; and the most that a shell does, or sends, at
/// a time.
const BATCH: usize = 4;
/// Steps between two looks at everything a power cut could leave, besides those
/// at every store of the map or the metadata.
const LOOK: usize = 80;

#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) faults: Faults,
    pub(crate) cast: Cast,
    /// The second may be base's.
    pub(crate) nodes: [Node; 2],
    pub(crate) link: Option<Link>,
    pub(crate) now: Millis,
    pub(crate) replication: Replication,
    /// It was another one before.
    pub(crate) reconfigured: bool,
    /// The operator changes more than it must.
    pub(crate) restless: bool,
    /// Clients ask for nothing.
    pub(crate) resting: bool,
    pub(crate) serving: Option<usize>,
    /// Who serves is to stop.
    pub(crate) draining: bool,
    pub(crate) claims: [Claim; 2],
    /// What the clients of who serves, or served last, know.
    pub(crate) history: Checker,
    pub(crate) rival: Option<Rival>,
    /// The operator was foolish, so the nodes may refuse each other.
    pub(crate) discord: bool,
    /// The secondary has lost power, and the primary does not know yet.
    pub(crate) peer_lost_cache: bool,
    pub(crate) lost_while_connected: bool,
    /// What was confirmed is gone; a FLUSH that began later must say so.
    pub(crate) flush_must_fail: Option<u64>,
    pub(crate) ops: BTreeMap<u64, ClientOp>,
    pub(crate) next_key: u64,
    /// Requests below this number are nobody's.
    pub(crate) forgotten: u64,
    tracing: bool,
}

/// How a run ended, and what had struck until then.
pub(crate) struct Outcome {
    pub(crate) result: Result<(), String>,
    pub(crate) struck: Vec<Fault>,
}

/// Who plays.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Cast {
    /// Two nodes of ours, in any role.
    Ours,
    /// Base is secondary, and never anything else: what our primary does with
    /// it is checked like everything else.
    BaseSecondary,
    /// Base is primary, and never anything else. What it does to its own
    /// clients nobody can prevent.
    BasePrimary,
}

/// Runs one seed, without some of its faults.
pub(crate) fn run(seed: u64, cast: Cast, left_out: &BTreeSet<Fault>, tracing: bool) -> Outcome {
    let mut world = World::new(seed, cast, left_out.clone(), tracing);
    let result = world.live();
    Outcome {
        result,
        struck: world.faults.struck().to_vec(),
    }
}

impl World {
    fn new(seed: u64, cast: Cast, left_out: BTreeSet<Fault>, tracing: bool) -> Self {
        let mut rng = Rng::new(seed);
        let replication = mode(rng.below(3));
        let restless = rng.one_in(2);
        let makes = [false, cast != Cast::Ours].map(|is_base| Make {
            is_base,
            is_file: rng.one_in(4),
            writes_through: rng.one_in(6),
            longest: rng.one_in(4).then_some(1024),
        });
        let claim = Claim {
            current: true,
            lost: false,
            behind: false,
        };
        Self {
            rng,
            faults: Faults::new(seed, left_out),
            cast,
            nodes: makes.map(Node::new),
            link: None,
            now: Millis(0),
            replication,
            reconfigured: false,
            restless,
            resting: false,
            serving: None,
            draining: false,
            claims: [claim; 2],
            history: Checker::new([0; DATA_SECTORS]),
            rival: None,
            discord: false,
            peer_lost_cache: false,
            lost_while_connected: false,
            flush_must_fail: None,
            ops: BTreeMap::new(),
            // Base gives all its own requests number 1 (K18).
            next_key: 2,
            forgotten: 0,
            tracing,
        }
    }

    pub(crate) fn say(&self, what: impl FnOnce() -> String) {
        if self.tracing {
            println!("{:>8} ms  {}", self.now.0, what());
        }
    }

    pub(crate) fn standing(&self) -> Option<Standing> {
        self.nodes[self.serving?].standing()
    }

    fn live(&mut self) -> Result<(), String> {
        for step in 0..STEPS {
            self.step(step).map_err(|e| format!("step {step}: {e}"))?;
        }
        self.heal()?;
        if self.cast == Cast::BasePrimary || self.is_stuck_with_base() {
            return Ok(());
        }
        self.fail_over()
    }

    fn step(&mut self, step: usize) -> Result<(), String> {
        self.misfortune()?;
        self.kernel()?;
        for _ in 0..BATCH {
            match self.rng.below(32) {
                0 | 1 => self.client()?,
                2 => self.time_goes_by(),
                3 => self.operator()?,
                4..=14 => self.work()?,
                15..=20 => self.send(),
                _ => self.arrive(),
            }
        }
        if step.is_multiple_of(LOOK) && self.cast != Cast::BasePrimary {
            images::check(self)?;
        }
        self.check()
    }

    pub(crate) fn check(&mut self) -> Result<(), String> {
        self.nodes.iter_mut().for_each(Node::queue_base);
        self.notice_lost_cache()?;
        self.check_meeting()?;
        if let Some(error) = self.nodes.iter().find_map(|node| node.broken_rule.clone()) {
            return Err(error);
        }
        self.check_claim()
    }

    fn misfortune(&mut self) -> Result<(), String> {
        self.link_breaks();
        if self.faults.strikes(Kind::PowerCut) {
            let n = self.faults.rng(Kind::PowerCut).below(2);
            self.power_cut(n);
        }
        if self.faults.strikes(Kind::Kill) {
            let n = self.faults.rng(Kind::Kill).below(2);
            self.kill(n)?;
        }
        for (kind, health) in [(Kind::Broken, Health::Broken), (Kind::Full, Health::Full)] {
            if self.faults.strikes(kind) {
                let n = self.faults.rng(kind).below(2);
                self.say(|| format!("{}'s disk is {health:?}", name(n)));
                self.nodes[n].disk.health = health;
            }
        }
        for n in 0..2 {
            if self.nodes[n].disk.health != Health::Fine && self.rng.one_in(100) {
                self.say(|| format!("{}'s disk works again", name(n)));
                self.nodes[n].disk.health = Health::Fine;
            }
        }
        Ok(())
    }

    fn link_breaks(&mut self) {
        for kind in [Kind::Cut, Kind::HalfOpen, Kind::Slow] {
            if !self.faults.strikes(kind) {
                continue;
            }
            let Some(link) = self.link.as_mut().filter(|link| !link.is_cut()) else {
                continue;
            };
            let rng = self.faults.rng(kind);
            match kind {
                Kind::Cut => link.cut(rng),
                Kind::HalfOpen => link.break_silently(rng),
                _ => link.slow_down(),
            }
            self.say(|| format!("the link: {kind:?}"));
        }
    }

    pub(crate) fn power_cut(&mut self, n: usize) {
        self.say(|| format!("{} loses power", name(n)));
        if let Some(rival) = self.rival.as_mut().filter(|rival| rival.node == n) {
            rival.checker.crashed();
        }
        match self.serving {
            Some(serving) if serving == n => self.stop_serving(true),
            Some(_) => {
                self.peer_lost_cache = true;
                self.lost_while_connected = self.standing().is_some_and(|s| s.connected);
            }
            None => self.claims[n].lost = true,
        }
        self.nodes[n].power_cut(self.faults.rng(Kind::PowerCut));
        self.hang_up(n);
    }

    /// The primary notices that it has lost a peer which had lost power. If
    /// only the peer's component counted, what was not flushed there is gone.
    /// The client is warned by its next FLUSH; answers on their way were given
    /// before.
    fn notice_lost_cache(&mut self) -> Result<(), String> {
        let (Some(serving), Some(standing)) = (self.serving, self.standing()) else {
            return Ok(());
        };
        if !self.peer_lost_cache || standing.connected {
            return Ok(());
        }
        self.peer_lost_cache = false;
        if standing.behind == Behind::Local {
            self.deliver_answers(serving)?;
            // The primary flushes on its own, too.
            if self.lost_while_connected && self.lacks_something(1 - serving) {
                self.flush_must_fail = Some(self.history.now());
            }
            self.history.crashed();
        }
        Ok(())
    }

    fn kill(&mut self, n: usize) -> Result<(), String> {
        if matches!(self.nodes[n].machine, Machine::Off) {
            return Ok(());
        }
        self.say(|| format!("{}'s worker is killed", name(n)));
        let behind = self.standing().is_some_and(|s| s.behind == Behind::Local);
        let may_serve = !behind || !self.nodes[n].says_consistent();
        let taken_over = self.faults.rng(Kind::Kill).one_in(2);
        let taken_over = taken_over && may_serve && self.serving == Some(n);
        match self.serving {
            Some(serving) if serving == n && !taken_over => self.stop_serving(false),
            None => self.claims[n].lost |= !self.nodes[n].is_idle(),
            Some(_) => {}
        }
        self.nodes[n].kill(self.faults.rng(Kind::Kill));
        self.hang_up(n);
        if taken_over {
            self.take_over(n)?;
        }
        Ok(())
    }

    /// The kernel has kept every request for the next worker.
    fn take_over(&mut self, n: usize) -> Result<(), String> {
        let (entropy, mode, now) = (self.rng.next(), self.replication, self.now);
        self.draining = false;
        if self.nodes[n].says_consistent() {
            // The next worker cannot know what its predecessor had noticed.
            self.flush_must_fail = None;
        }
        if let Err(error) = self.nodes[n].become_primary(true, mode, entropy, now) {
            self.stop_serving(false);
            return self.may_fail_to_open(n, &error);
        }
        self.say(|| format!("{}'s next worker takes over", name(n)));
        let ops: Vec<_> = self.ops.values().copied().collect();
        ops.into_iter().try_for_each(|op| self.submit(op))
    }

    /// A process has gone: its end of the link, too.
    fn hang_up(&mut self, n: usize) {
        if let Some(link) = &mut self.link {
            let to_secondary = self.serving.is_some_and(|serving| serving != n);
            link.hang_up(if to_secondary {
                Way::ToSecondary
            } else {
                Way::ToPrimary
            });
        }
    }

    pub(crate) fn time_goes_by(&mut self) {
        let talking = self.standing().is_some_and(|standing| standing.connected);
        self.now.0 += if talking { TICK } else { PAUSE };
        for node in &mut self.nodes {
            node.tick(self.now);
        }
    }

    pub(crate) fn work(&mut self) -> Result<(), String> {
        let n = self.rng.below(2);
        let batch = 1 + self.rng.below(BATCH);
        (0..batch).try_for_each(|_| self.work_on(n))
    }

    fn work_on(&mut self, n: usize) -> Result<(), String> {
        let Some(todo) = self.rng.take(&mut self.nodes[n].todo) else {
            return Ok(());
        };
        if let Todo::Complete(data, key, result) = todo {
            self.deliver_failures(n)?;
            return self.completed(&data, key, result);
        }
        let stored = matches!(
            todo,
            Todo::MapWritten(_) | Todo::MetadataWritten(_) | Todo::FillMap
        );
        if stored && self.cast != Cast::BasePrimary {
            // The old state and the new one may be found until it is flushed.
            images::check(self)?;
        }
        let begins = matches!(
            todo,
            Todo::LocalDone(..) | Todo::StoreMap | Todo::StoreMetadata
        );
        let fails = !begins && self.faults.strikes(Kind::Operation);
        self.say(|| format!("{}: {}", name(n), trace::todo(&todo, fails)));
        let rng = self.faults.rng(Kind::Operation);
        self.nodes[n].perform(&todo, fails, rng);
        Ok(())
    }

    pub(crate) fn send(&mut self) {
        let n = self.rng.below(2);
        let batch = 1 + self.rng.below(BATCH);
        (0..batch).for_each(|_| self.send_from(n));
    }

    fn send_from(&mut self, n: usize) {
        if let Some(post) = self.nodes[n].posts.front() {
            self.say(|| format!("{} says: {}", name(n), trace::post(post)));
        }
        let listens = self.nodes[1 - n].listens();
        send::send(&mut self.nodes[n], &mut self.link, listens);
    }

    pub(crate) fn arrive(&mut self) {
        let (Some(link), Some(serving)) = (&mut self.link, self.serving) else {
            return;
        };
        let way = if self.rng.one_in(2) {
            Way::ToSecondary
        } else {
            Way::ToPrimary
        };
        let n = if way == Way::ToPrimary {
            serving
        } else {
            1 - serving
        };
        let node = &mut self.nodes[n];
        let result = match way {
            Way::ToSecondary => receive::to_secondary(node, link, &mut self.rng),
            Way::ToPrimary => receive::to_primary(node, link, &mut self.rng),
        };
        if result.is_err() {
            link.hang_up(way);
        } else if !link.ends(way) {
            return;
        }
        let (primary, secondary) = (link.primary, link.secondary);
        match way {
            Way::ToPrimary => {
                node.forget_sends(primary);
                node.primary(|machine, out| machine.peer_down(primary, out));
                if let Machine::BasePrimary(machine) = &mut node.machine {
                    machine.peer_down(&mut node.disk);
                }
            }
            Way::ToSecondary => {
                if let Some(session) = secondary {
                    node.secondary(|machine, out| machine.peer_down(session, out));
                }
                if let Machine::BaseSecondary(machine) = &mut node.machine {
                    let torn = receive::torn(link.stream(way));
                    machine.link_ended(torn, &mut node.disk, &mut self.rng);
                }
            }
        }
        self.say(|| format!("{} sees the end of the link {result:?}", name(n)));
    }
}
