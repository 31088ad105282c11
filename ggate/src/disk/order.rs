//! Which requests may run now.
//!
//! Requests run in any order and at the same time, except:
//!
//! - two requests that share a byte, of which one changes it, run in order of
//!   arrival;
//! - a FLUSH runs when every WRITE and DELETE that arrived before it has
//!   finished. Later requests need not wait for it.
//!
//! Admitting a request looks at every unfinished one (their number is bounded
//! by the queue they came from); finishing one only at those it held up.

use super::Op;
use crate::range::ByteRange;

/// An admitted request, until it is finished.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ticket(usize);

/// The unfinished requests; `J` is handed back when one may run.
pub(super) struct Order<J> {
    slots: Vec<Slot<J>>,
    free: Vec<usize>,
    /// Slots in use, in no particular order.
    live: Vec<usize>,
}

struct Slot<J> {
    op: Op,
    range: ByteRange,
    /// Present while the request waits.
    job: Option<J>,
    /// How many unfinished requests it waits for.
    blockers: usize,
    /// Who waits for it.
    blocked: Vec<usize>,
    /// Index into `live`.
    position: usize,
}

impl<J> Default for Order<J> {
    fn default() -> Self {
        Self {
            slots: Vec::new(),
            free: Vec::new(),
            live: Vec::new(),
        }
    }
}

/// Whether a request must wait for an unfinished one that arrived earlier.
fn waits_for(earlier: (Op, ByteRange), later: (Op, ByteRange)) -> bool {
    match (earlier.0, later.0) {
        (Op::Flush, _) | (Op::Read, Op::Read | Op::Flush) => false,
        (Op::Write | Op::Delete, Op::Flush) => true,
        _ => earlier.1.overlaps(later.1),
    }
}

impl<J> Order<J> {
    /// Takes a request; gives it back if it may run now.
    pub(super) fn admit(&mut self, op: Op, range: ByteRange, job: J) -> Option<(Ticket, J)> {
        let new = self.allocate(op, range);
        let mut blockers = 0;
        for &index in &self.live {
            let slot = &mut self.slots[index];
            if waits_for((slot.op, slot.range), (op, range)) {
                slot.blocked.push(new);
                blockers += 1;
            }
        }
        let slot = &mut self.slots[new];
        slot.position = self.live.len();
        slot.blockers = blockers;
        self.live.push(new);
        if blockers == 0 {
            return Some((Ticket(new), job));
        }
        slot.job = Some(job);
        None
    }

    /// A running request has finished; `run` gets those that only waited for
    /// it.
    pub(super) fn finish(&mut self, ticket: Ticket, mut run: impl FnMut(Ticket, J)) {
        let mut blocked = std::mem::take(&mut self.slots[ticket.0].blocked);
        for index in blocked.drain(..) {
            let slot = &mut self.slots[index];
            slot.blockers -= 1;
            if slot.blockers == 0
                && let Some(job) = slot.job.take()
            {
                run(Ticket(index), job);
            }
        }
        // The emptied list keeps its memory for the slot's next user.
        self.slots[ticket.0].blocked = blocked;
        self.release(ticket.0);
    }

    /// Takes out every request that waits for another one.
    pub(super) fn discard_waiting(&mut self) -> Vec<J> {
        let mut discarded = Vec::new();
        for index in self.live.clone() {
            self.slots[index].blocked.clear();
            if let Some(job) = self.slots[index].job.take() {
                discarded.push(job);
                self.release(index);
            }
        }
        discarded
    }

    fn allocate(&mut self, op: Op, range: ByteRange) -> usize {
        if let Some(index) = self.free.pop() {
            self.slots[index].op = op;
            self.slots[index].range = range;
            return index;
        }
        self.slots.push(Slot {
            op,
            range,
            job: None,
            blockers: 0,
            blocked: Vec::new(),
            position: 0,
        });
        self.slots.len() - 1
    }

    fn release(&mut self, index: usize) {
        let position = self.slots[index].position;
        self.live.swap_remove(position);
        if let Some(&moved) = self.live.get(position) {
            self.slots[moved].position = position;
        }
        self.free.push(index);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The rules of the module, one list and no cleverness.
    #[derive(Default)]
    struct Model {
        unfinished: Vec<(usize, Op, ByteRange)>,
    }

    impl Model {
        fn may_run(&self) -> Vec<usize> {
            let mut free: Vec<usize> = (0..self.unfinished.len())
                .filter(|&later| !(0..later).any(|earlier| self.holds_up(earlier, later)))
                .map(|index| self.unfinished[index].0)
                .collect();
            free.sort_unstable();
            free
        }

        fn holds_up(&self, earlier: usize, later: usize) -> bool {
            let (_, first, a) = self.unfinished[earlier];
            let (_, second, b) = self.unfinished[later];
            let changes = |op| matches!(op, Op::Write | Op::Delete);
            match second {
                Op::Flush => changes(first),
                _ if first == Op::Flush => false,
                _ => (changes(first) || changes(second)) && a.overlaps(b),
            }
        }
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            3 => Just(Op::Read),
            4 => Just(Op::Write),
            1 => Just(Op::Delete),
            1 => Just(Op::Flush),
        ]
    }

    #[derive(Clone, Debug)]
    enum Step {
        Admit(Op, u64, u64),
        Finish(usize),
        Discard,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            10 => (op(), 0_u64..16, 0_u64..6).prop_map(|(op, at, len)| Step::Admit(op, at, len)),
            10 => any::<usize>().prop_map(Step::Finish),
            1 => Just(Step::Discard),
        ]
    }

    proptest! {
        #[test]
        fn the_same_requests_run_as_in_the_model(
            steps in prop::collection::vec(step(), 1..200),
        ) {
            let mut order = Order::default();
            let mut model = Model::default();
            let mut running: Vec<(usize, Ticket)> = Vec::new();
            for (id, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Admit(op, offset, length) => {
                        let length = if op == Op::Flush { 0 } else { length };
                        let range = ByteRange::new(offset, length);
                        model.unfinished.push((id, op, range));
                        if let Some((ticket, job)) = order.admit(op, range, id) {
                            running.push((job, ticket));
                        }
                    }
                    Step::Finish(_) if running.is_empty() => {}
                    Step::Finish(which) => {
                        let (id, ticket) = running.swap_remove(which % running.len());
                        model.unfinished.retain(|entry| entry.0 != id);
                        order.finish(ticket, |ticket, job| running.push((job, ticket)));
                    }
                    Step::Discard => {
                        let discarded = order.discard_waiting();
                        let kept = |id: &usize| running.iter().any(|entry| entry.0 == *id);
                        let before = model.unfinished.len();
                        model.unfinished.retain(|entry| kept(&entry.0));
                        prop_assert_eq!(before - model.unfinished.len(), discarded.len());
                    }
                }
                let mut now: Vec<usize> = running.iter().map(|entry| entry.0).collect();
                now.sort_unstable();
                prop_assert_eq!(now, model.may_run());
            }
        }
    }
}
