//! Two nodes, the link between them, a client, an operator and misfortune.
//! One step at a time, chosen at random; then the misfortune ends, and the
//! pair must come to rest with both copies the same.

use crate::checker::Checker;
use crate::disk::SECTOR;
use crate::net::Link;
use crate::node::{DATA_SECTORS, Machine, Node, Post, Todo, to_usize};
use crate::post::{self, Coming};
use crate::rng::Rng;
use hast_core::errno::Errno;
use hast_core::primary::{self, Behind, Millis, Op, Replication};
use hast_core::units::ByteRange;
use std::collections::BTreeMap;

/// Steps with misfortune.
const STEPS: usize = 2000;
/// Steps within which the pair must be in sync without it.
const REST: usize = 60_000;
const MOST_REQUESTS: usize = 8;

/// How often things go wrong: once in so many steps, or operations.
#[derive(Clone, Copy, Debug)]
struct Misfortune {
    cut: usize,
    half_open: usize,
    crash: usize,
    disk: usize,
    /// The operator promotes a node that is not up to date.
    folly: usize,
}

const NEVER: usize = usize::MAX;

#[derive(Debug)]
struct ClientOp {
    op: Op,
    key: u64,
    began: u64,
}

/// A node was made primary although it lacks what was flushed on the other.
#[derive(Debug)]
struct Folly {
    node: usize,
    /// What the clients of the other node know.
    before: Checker,
    /// It confirmed something of its own.
    wrote: bool,
}

#[derive(Debug)]
pub(crate) struct World {
    rng: Rng,
    nodes: [Node; 2],
    link: Option<Link>,
    to_secondary: Coming,
    to_primary: Coming,
    now: Millis,
    replication: Replication,
    misfortune: Misfortune,
    serving: Option<usize>,
    /// Nodes an operator may promote who believes what was claimed.
    current: [bool; 2],
    checker: Checker,
    folly: Option<Folly>,
    /// There was a folly, so the nodes may refuse each other for good.
    discord: bool,
    /// An operator has chosen a side.
    discarded: bool,
    ops: BTreeMap<u64, ClientOp>,
    next_key: u64,
    /// Requests below this number are nobody's.
    forgotten: u64,
    trace: bool,
}

/// Runs one seed.
pub(crate) fn run(seed: u64, trace: bool) -> Result<(), String> {
    let mut world = World::new(seed, trace);
    for step in 0..STEPS {
        world.step().map_err(|e| format!("step {step}: {e}"))?;
    }
    world.heal()
}

impl World {
    fn new(seed: u64, trace: bool) -> Self {
        let mut rng = Rng::new(seed);
        let choices = [
            Replication::Fullsync,
            Replication::Memsync,
            Replication::Async,
        ];
        let replication = choices[rng.below(3)];
        let mut often = |n: usize| if rng.one_in(2) { n } else { NEVER };
        let misfortune = Misfortune {
            cut: often(150),
            half_open: often(400),
            crash: often(300),
            disk: often(40),
            folly: often(20),
        };
        Self {
            rng,
            nodes: [Node::new(), Node::new()],
            link: None,
            to_secondary: Coming::Nothing,
            to_primary: Coming::Nothing,
            now: Millis(0),
            replication,
            misfortune,
            serving: None,
            current: [true, true],
            checker: Checker::new(DATA_SECTORS),
            folly: None,
            discord: false,
            discarded: false,
            ops: BTreeMap::new(),
            next_key: 1,
            forgotten: 0,
            trace,
        }
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{:>8} ms  {}", self.now.0, what());
        }
    }

    fn step(&mut self) -> Result<(), String> {
        if self.rng.one_in(self.misfortune.cut)
            && let Some(link) = self.link.as_mut().filter(|link| !link.cut)
        {
            link.cut(&mut self.rng);
            self.say(|| "the link is cut".into());
        }
        if self.rng.one_in(self.misfortune.half_open)
            && let Some(link) = self.link.as_mut().filter(|link| !link.cut)
        {
            link.break_silently();
            self.say(|| "the link is half open".into());
        }
        if self.rng.one_in(self.misfortune.crash) {
            let node = self.rng.below(2);
            self.crash(node)?;
        }
        match self.rng.below(16) {
            0 | 1 => self.client()?,
            2 => self.time_goes_by(),
            3 => self.operator()?,
            4..=8 => self.work()?,
            9 | 10 => self.send(),
            _ => self.deliver(),
        }
        self.check_folly()?;
        self.check_claim()
    }

    fn crash(&mut self, node: usize) -> Result<(), String> {
        self.say(|| format!("node {node} loses power"));
        let other = 1 - node;
        if self.serving == Some(node) {
            self.stop_serving();
        } else if let Some(primary) = self.primary()
            && primary.behind() == Behind::Local
        {
            // Only what this node lost counts. The client is warned by its
            // next FLUSH; answers on their way were given before.
            self.deliver_answers(other)?;
            self.checker.crashed();
        }
        self.nodes[node].power_cut(&mut self.rng);
        if let Some(link) = &mut self.link {
            link.cut(&mut self.rng);
            let primary = self.serving == Some(other);
            link.told_primary |= !primary;
            link.told_secondary |= primary;
        }
        Ok(())
    }

    fn deliver_answers(&mut self, node: usize) -> Result<(), String> {
        let complete = |todo: &Todo| matches!(todo, Todo::Complete(..));
        while let Some(at) = self.nodes[node].todo.iter().position(complete) {
            if let Todo::Complete(data, key, result) = self.nodes[node].todo.swap_remove(at) {
                self.completed(&data, key, result)?;
            }
        }
        Ok(())
    }

    /// What the primary claims as it goes is what the operator goes by.
    fn stop_serving(&mut self) {
        let Some(node) = self.serving.take() else {
            return;
        };
        if let Machine::Primary(primary) = &self.nodes[node].machine {
            self.current = [true, true];
            self.current[1 - node] = primary.peer_is_current();
        }
        self.checker.crashed();
        self.ops.clear();
    }

    fn primary(&self) -> Option<&primary::Primary> {
        match &self.nodes[self.serving?].machine {
            Machine::Primary(primary) => Some(primary),
            _ => None,
        }
    }

    /// Turns machines on, gives them roles, sometimes changes them.
    fn operator(&mut self) -> Result<(), String> {
        let node = self.rng.below(2);
        if !self.nodes[node].powered {
            if self.rng.one_in(4) {
                self.nodes[node].powered = true;
                self.say(|| format!("node {node} is back"));
            }
            return Ok(());
        }
        match self.serving {
            None if self.current[node] => self.promote(node),
            None if !self.discord && self.rng.one_in(self.misfortune.folly) => {
                self.promote_foolishly(node)
            }
            Some(serving) if serving != node => {
                if matches!(self.nodes[node].machine, Machine::Off) {
                    self.say(|| format!("node {node} becomes secondary"));
                    self.nodes[node].become_secondary(self.now)?;
                }
                Ok(())
            }
            Some(_) if self.misfortune.crash != NEVER && self.rng.one_in(40) => {
                self.say(|| format!("node {node} is stopped"));
                self.stop_serving();
                self.nodes[node].stop();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn promote(&mut self, node: usize) -> Result<(), String> {
        self.say(|| format!("node {node} becomes primary"));
        if let Some(link) = &mut self.link {
            link.cut(&mut self.rng);
        }
        self.link = None;
        if self.folly.as_ref().is_some_and(|folly| folly.node != node) {
            self.undo_folly();
        }
        let entropy = self.rng.next();
        self.nodes[1 - node].stop();
        self.nodes[node].become_primary(self.replication, entropy, self.now)?;
        self.serving = Some(node);
        Ok(())
    }

    /// From here on there are two histories. What this node's clients read is
    /// as old as it is.
    fn promote_foolishly(&mut self, node: usize) -> Result<(), String> {
        self.say(|| format!("node {node} lacks something and becomes primary"));
        let began = self.checker.now();
        let data = self.nodes[node].data();
        let mut sectors = data.chunks(SECTOR).enumerate();
        self.discord = true;
        if sectors.any(|(n, data)| self.check_value(n, data, began).is_err()) {
            let before = std::mem::replace(&mut self.checker, Checker::new(DATA_SECTORS));
            self.folly = Some(Folly {
                node,
                before,
                wrote: false,
            });
        }
        self.promote(node)
    }

    /// Two nodes that both wrote what the other lacks never meet as if
    /// nothing had happened. If only one did, its data is what counts.
    fn check_folly(&mut self) -> Result<(), String> {
        let connected = self.primary().is_some_and(primary::Primary::is_connected);
        match &self.folly {
            _ if self.discarded => Ok(()),
            Some(folly) if connected && folly.wrote => {
                Err("two primaries' data were merged silently".into())
            }
            Some(_) if connected => {
                self.undo_folly();
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// Nothing was confirmed there: only the other history ever happened.
    fn undo_folly(&mut self) {
        if let Some(folly) = self.folly.take_if(|folly| !folly.wrote) {
            self.say(|| "nothing came of the folly".into());
            self.checker = folly.before;
            self.forgotten = self.next_key;
            // What is still being written there happens after all.
            self.ops.retain(|_, op| op.op.modifies());
            for op in self.ops.values() {
                let value = if matches!(op.op, Op::Write(_)) {
                    op.key
                } else {
                    0
                };
                for sector in sectors(op.op) {
                    self.checker.write_began(sector, op.key, value);
                }
            }
        }
    }

    fn time_goes_by(&mut self) {
        self.now.0 += 1000;
        let now = self.now;
        for node in &mut self.nodes {
            match &mut node.machine {
                Machine::Primary(primary) => {
                    let mut out = Vec::new();
                    primary.tick(now, &mut out);
                    node.queue_primary(out);
                }
                Machine::Secondary(secondary) => {
                    let mut out = Vec::new();
                    secondary.tick(now, &mut out);
                    node.queue_secondary(out);
                }
                Machine::Off => {}
            }
        }
    }

    fn client(&mut self) -> Result<(), String> {
        let Some(serving) = self.serving else {
            return Ok(());
        };
        if self.ops.len() >= MOST_REQUESTS {
            return Ok(());
        }
        let first = self.rng.below(DATA_SECTORS);
        let count = 1 + self.rng.below(6.min(DATA_SECTORS - first));
        let bytes = |n: usize| u64::try_from(n * SECTOR).expect("small");
        let range = ByteRange::new(bytes(first), bytes(count)).ok_or("no range")?;
        let op = match self.rng.below(10) {
            0..=4 => Op::Write(range),
            5 => Op::Delete(range),
            6 | 7 => Op::Flush,
            _ => Op::Read(range),
        };
        self.submit(serving, op)
    }

    fn submit(&mut self, serving: usize, op: Op) -> Result<(), String> {
        let key = self.next_key;
        self.next_key += 1;
        let began = self.checker.now();
        if op.modifies() {
            let value = if matches!(op, Op::Write(_)) { key } else { 0 };
            for sector in sectors(op) {
                self.checker.write_began(sector, key, value);
            }
        }
        self.say(|| format!("client: {key} {op:?}"));
        self.ops.insert(key, ClientOp { op, key, began });
        let node = &mut self.nodes[serving];
        let Machine::Primary(primary) = &mut node.machine else {
            return Err("who serves is primary".into());
        };
        let mut out = Vec::new();
        let id = primary.request(key, op, &mut out).map_err(|_| "full")?;
        let buffer = &mut node.buffers[id.index()];
        buffer.clear();
        buffer.resize(sectors(op).len() * SECTOR, 0);
        if matches!(op, Op::Write(_)) {
            for sector in buffer.chunks_mut(SECTOR) {
                sector[..8].copy_from_slice(&key.to_le_bytes());
            }
        }
        node.queue_primary(out);
        Ok(())
    }

    fn work(&mut self) -> Result<(), String> {
        let node = self.rng.below(2);
        let Some(todo) = self.rng.take(&mut self.nodes[node].todo) else {
            return Ok(());
        };
        let fail = !matches!(
            todo,
            Todo::LocalDone(..) | Todo::StoreMap | Todo::StoreMetadata
        ) && self.rng.one_in(self.misfortune.disk);
        if let Todo::Complete(data, key, result) = todo {
            return self.completed(&data, key, result);
        }
        self.say(|| format!("node {node}: {todo:?}{}", if fail { " fails" } else { "" }));
        self.nodes[node].perform(&todo, fail, &mut self.rng);
        Ok(())
    }

    fn completed(
        &mut self,
        data: &[u8],
        key: u64,
        result: Result<(), Errno>,
    ) -> Result<(), String> {
        let Some(op) = self.ops.remove(&key) else {
            return self.answered_before(key);
        };
        self.say(|| format!("client: {key} ended, {result:?}"));
        match op.op {
            Op::Read(_) if result.is_ok() => {
                for (sector, data) in sectors(op.op).zip(data.chunks(SECTOR)) {
                    self.check_value(sector, data, op.began)?;
                }
            }
            Op::Write(_) | Op::Delete(_) => {
                if let Some(folly) = &mut self.folly {
                    folly.wrote |= result.is_ok();
                }
                for sector in sectors(op.op) {
                    self.checker.write_ended(sector, op.key, result.is_ok());
                }
            }
            Op::Flush if result.is_ok() => self.checker.flushed(op.began),
            Op::Read(_) | Op::Flush => {}
        }
        Ok(())
    }

    /// Requests of before a folly was undone are nobody's any more.
    fn answered_before(&self, key: u64) -> Result<(), String> {
        if key < self.forgotten {
            return Ok(());
        }
        Err(format!("request {key} is answered twice"))
    }

    fn check_value(&self, sector: usize, data: &[u8], began: u64) -> Result<(), String> {
        let value = u64::from_le_bytes(data[..8].try_into().expect("8 bytes"));
        // The other history's values are unknown to this one.
        if self.folly.is_some() || self.checker.may_read(sector, value, began) {
            return Ok(());
        }
        let history = self.checker.describe(sector);
        Err(format!(
            "sector {sector} reads as {value}; writes: {history}"
        ))
    }

    fn send(&mut self) {
        let node = self.rng.below(2);
        if self.trace
            && let Some(post) = self.nodes[node].posts.front()
        {
            match post {
                Post::Primary(action) => self.say(|| format!("node {node}: {action:?}")),
                Post::Secondary(action) => self.say(|| format!("node {node}: {action:?}")),
            }
        }
        let listens = matches!(self.nodes[1 - node].machine, Machine::Secondary(_));
        let before = self.link.as_ref().map(|link| link.primary);
        post::send(&mut self.nodes[node], &mut self.link, listens);
        if self.link.as_ref().map(|link| link.primary) != before {
            self.to_secondary = Coming::Nothing;
            self.to_primary = Coming::Nothing;
        }
    }

    fn deliver(&mut self) {
        let (Some(link), Some(serving)) = (&mut self.link, self.serving) else {
            return;
        };
        if link.half_open {
            return;
        }
        let (primary, secondary) = {
            let [a, b] = &mut self.nodes;
            if serving == 0 { (a, b) } else { (b, a) }
        };
        let rng = &mut self.rng;
        if rng.one_in(2) {
            let result = post::to_secondary(secondary, link, &mut self.to_secondary, rng);
            let end = link.cut && link.requests.bytes.is_empty();
            link.cut |= result.is_err();
            if (end || result.is_err()) && !link.told_secondary {
                link.told_secondary = true;
                if let (Machine::Secondary(machine), Some(session)) =
                    (&mut secondary.machine, link.secondary)
                {
                    let mut out = Vec::new();
                    machine.peer_down(session, &mut out);
                    secondary.queue_secondary(out);
                }
            }
        } else {
            let result = post::to_primary(primary, link, &mut self.to_primary, rng);
            let end = link.cut && link.replies.bytes.is_empty();
            link.cut |= result.is_err();
            if (end || result.is_err()) && !link.told_primary {
                link.told_primary = true;
                if let Machine::Primary(machine) = &mut primary.machine {
                    let mut out = Vec::new();
                    machine.peer_down(link.primary, &mut out);
                    primary.queue_primary(out);
                }
            }
        }
    }

    fn idle(&self) -> bool {
        let quiet = |node: &Node| {
            let busy = match &node.machine {
                Machine::Primary(primary) => primary.in_flight(),
                Machine::Secondary(secondary) => secondary.in_flight(),
                Machine::Off => 0,
            };
            busy == 0 && node.todo.is_empty() && node.posts.is_empty()
        };
        self.nodes.iter().all(quiet)
    }

    fn in_sync(&self) -> bool {
        let claims = |p: &primary::Primary| p.is_connected() && p.behind() == Behind::Neither;
        self.primary().is_some_and(claims)
    }

    /// "In sync" means that both copies are the same, byte for byte.
    fn check_claim(&self) -> Result<(), String> {
        let secondary = |node: &Node| match &node.machine {
            Machine::Secondary(machine) => machine.is_connected(),
            _ => true,
        };
        if !self.in_sync() || !self.idle() || !self.nodes.iter().all(secondary) {
            return Ok(());
        }
        let (a, b) = (self.nodes[0].data(), self.nodes[1].data());
        match a
            .chunks(SECTOR)
            .zip(b.chunks(SECTOR))
            .position(|(a, b)| a != b)
        {
            None => Ok(()),
            Some(sector) => Err(format!(
                "the pair claims to be in sync, but sector {sector} differs; writes: {}",
                self.checker.describe(sector)
            )),
        }
    }

    /// Everything works again; both copies become the same, and every sector
    /// is one the client may see.
    fn heal(&mut self) -> Result<(), String> {
        self.say(|| "misfortune ends".into());
        self.misfortune = Misfortune {
            cut: NEVER,
            half_open: NEVER,
            crash: NEVER,
            disk: NEVER,
            folly: NEVER,
        };
        for node in &mut self.nodes {
            node.powered = true;
        }
        let mut rest = 0;
        while !(self.in_sync() && self.idle() && self.ops.is_empty()) {
            rest += 1;
            self.check_folly()?;
            if rest == REST / 2 && self.discord {
                self.discard_a_side();
            }
            if rest > REST {
                return Err(format!("no progress: {}", self.describe()));
            }
            match self.rng.below(8) {
                0 => self.time_goes_by(),
                1 => self.operator()?,
                2..=4 => self.work()?,
                5 => self.send(),
                _ => self.deliver(),
            }
        }
        self.check_claim()?;
        let began = self.checker.now();
        let serving = self.serving.ok_or("nobody serves")?;
        let data = self.nodes[serving].data();
        for (sector, data) in data.chunks(SECTOR).enumerate() {
            self.check_value(sector, data, began)?;
        }
        Ok(())
    }

    /// What an operator does about a split-brain: the node that does not
    /// serve is created anew.
    fn discard_a_side(&mut self) {
        let Some(serving) = self.serving else { return };
        self.say(|| "one side of the split-brain is discarded".into());
        self.nodes[1 - serving] = Node::new();
        self.discarded = true;
    }

    fn describe(&self) -> String {
        let link = self.link.as_ref().map(|l| (l.cut, l.half_open));
        let primary = self.primary().map(|p| {
            let state = (p.is_connected(), p.behind(), p.in_flight(), p.dirty_bytes());
            (state, p.metadata().clone())
        });
        format!(
            "serving {:?}, link {link:?}, {primary:?}, requests {:?}, to do {:?} {:?}",
            self.serving, self.ops, self.nodes[0].todo, self.nodes[1].todo
        )
    }
}

fn sectors(op: Op) -> std::ops::Range<usize> {
    op.range().map_or(0..0, |range| {
        to_usize(range.offset()) / SECTOR..to_usize(range.end()) / SECTOR
    })
}
