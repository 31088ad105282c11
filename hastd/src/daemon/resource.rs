//! The role of one resource and the life of its worker: events in, effects
//! out, nothing done here. Facts: spec/hast-behaviour.md sections 1.1 and 2.
//!
//! ```text
//!            order: another role                worker has ended
//! Running ---------------------> Stopping ---------------------> the new role
//!    |  ^                            | too late: killed
//!    |  | due                        '--> (with if_closed: left alone)
//!    |  '------ Waiting
//!    '---------^  the worker ended by itself
//! ```
//!
//! Orders are carried out one after the other; nobody waits for one but who
//! gave it. The worker of a resource that becomes primary or secondary starts
//! at once: it takes, and keeps, the component.
//!
//! A primary's provider outlives a worker that was killed. Its successor takes
//! it over; if there is none, the provider is an orphan, on which consumers
//! hang, and is destroyed by a worker that does only that
//! ([`Task::Clean`]; a secondary's worker does it itself).

mod order;

pub(crate) use order::Refusal;
pub(super) use order::{
    Change, EBUSY, ECANCELED, EIO, ETIMEDOUT, Effect, Event, Left, Order, Task,
};

use super::children::Exit;
use hast_core::message::ControlCode;
use hast_core::role::Role;
use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Time beyond the resource's `timeout`, which it may spend on finishing
/// requests, that a worker has to end: a last flush, a store, a provider to
/// destroy.
pub(super) const GRACE: Duration = Duration::from_secs(10);

/// Time that destroying an orphan may take.
const CLEANING: Duration = Duration::from_secs(10);

/// Pause before a worker that ended by itself is started again, as in base;
/// doubled each time while they do not live.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause: a primary tries to connect as often.
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A worker that lived for so long does not crash in a loop.
const LIFE: Duration = Duration::from_secs(60);

/// Orders that may wait for one resource. Nobody needs more than a few; one
/// request could carry thousands.
const MOST_ORDERS: usize = 64;

/// `EX_TEMPFAIL`: a primary's worker that ends with it is worth another one.
const TEMPORARY: i32 = 75;

/// What the worker does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// There is none.
    None,
    Running {
        since: Instant,
        ready: bool,
    },
    /// It was told to end; killed at the deadline, if there is one.
    Stopping {
        deadline: Option<Instant>,
        if_closed: bool,
    },
    /// It destroys an orphan; killed at the deadline.
    Cleaning {
        deadline: Option<Instant>,
    },
    /// It ended by itself; the next one is due then.
    Waiting {
        due: Instant,
    },
}

/// One resource.
#[derive(Debug)]
pub(super) struct Machine<T> {
    role: Role,
    phase: Phase,
    left: Left,
    /// What a worker leaves that has destroyed its provider.
    trace: Left,
    orders: VecDeque<Order<T>>,
    /// The change that waits for a worker's end.
    active: Option<Change<T>>,
    /// Those who wait for the worker to be ready, with what to tell them.
    waiters: Vec<(T, Role)>,
    /// The pause before the last start.
    pause: Option<Duration>,
    /// How long a worker may take to end.
    patience: Duration,
    ending: bool,
}

impl<T> Machine<T> {
    /// A resource in role init. Whether an earlier daemon's worker left a
    /// provider behind is not known.
    pub(super) const fn new(timeout: Duration, trace: Left) -> Self {
        Self {
            role: Role::Init,
            phase: Phase::None,
            left: Left::Provider,
            trace,
            orders: VecDeque::new(),
            active: None,
            waiters: Vec::new(),
            pause: None,
            patience: timeout,
            ending: false,
        }
    }

    /// The role of the moment.
    pub(super) const fn role(&self) -> Role {
        self.role
    }

    /// The role when everything that was ordered is done.
    pub(super) fn final_role(&self) -> Role {
        let ordered = self.orders.iter().rev().find_map(|order| match order {
            Order::Role(change) => Some(change.role),
            _ => None,
        });
        ordered
            .or(self.active.as_ref().map(|change| change.role))
            .unwrap_or(self.role)
    }

    /// Whether a worker runs that can be spoken to.
    pub(super) const fn is_running(&self) -> bool {
        matches!(self.phase, Phase::Running { .. } | Phase::Stopping { .. })
    }

    /// Whether the worker was told to end.
    pub(super) const fn expects_end(&self) -> bool {
        matches!(self.phase, Phase::Stopping { .. } | Phase::Cleaning { .. })
    }

    /// Whether a secondary can take a primary's connections.
    pub(super) const fn takes_peers(&self) -> bool {
        matches!(self.phase, Phase::Running { .. }) && matches!(self.role, Role::Secondary)
    }

    /// Whether the worker has what it needs.
    pub(super) const fn is_ready(&self) -> bool {
        matches!(self.phase, Phase::Running { ready: true, .. })
    }

    /// Whether a worker is to be started again.
    pub(super) const fn is_waiting(&self) -> bool {
        matches!(self.phase, Phase::Waiting { .. })
    }

    /// The `timeout` of the resource is this one now.
    pub(super) const fn set_timeout(&mut self, timeout: Duration) {
        self.patience = timeout;
    }

    /// When to say [`Event::Tick`] at the latest.
    pub(super) const fn due(&self) -> Option<Instant> {
        match self.phase {
            Phase::Waiting { due } => Some(due),
            Phase::Stopping { deadline, .. } | Phase::Cleaning { deadline } => deadline,
            Phase::None | Phase::Running { .. } => None,
        }
    }

    /// Takes an order.
    pub(super) fn order(&mut self, order: Order<T>, now: Instant, out: &mut Vec<Effect<T>>) {
        match order {
            Order::Role(change) if self.ending => {
                refuse(change, Refusal::new(ECANCELED, "hastd is ending"), out);
            }
            // What a reload orders is bounded by the number of reloads.
            Order::Role(change) if change.ticket.is_some() && self.orders.len() >= MOST_ORDERS => {
                let reason = "too many changes of its role are waiting already";
                refuse(change, Refusal::new(EBUSY, reason), out);
            }
            _ if self.ending => {}
            order => {
                self.orders.push_back(order);
                self.go_on(now, out);
            }
        }
    }

    /// Takes an event.
    pub(super) fn event(&mut self, event: Event, now: Instant, out: &mut Vec<Effect<T>>) {
        match event {
            Event::Ready => self.ready(out),
            Event::InUse => {
                let refusal = Refusal::new(EBUSY, "somebody has its provider open");
                self.give_up_stopping(refusal, now, out);
            }
            Event::Exited(exit, how) => self.exited(exit, &how, now, out),
            Event::NotStarted => {
                self.exited(Exit::Code(TEMPORARY), "could not be started", now, out);
            }
            Event::Tick => self.tick(now, out),
            Event::End => self.end(now, out),
        }
        self.go_on(now, out);
    }

    /// Begins with the next orders, as far as that can be done now.
    fn go_on(&mut self, now: Instant, out: &mut Vec<Effect<T>>) {
        while self.active.is_none() {
            let Some(order) = self.orders.pop_front() else {
                return;
            };
            match order {
                Order::Role(change) => self.begin(change, now, out),
                Order::Replace(config) => out.push(Effect::Replace(config)),
                Order::Reconfigure { config, reconnect } => {
                    out.push(Effect::Reconfigure { config, reconnect });
                }
                Order::Remove => out.push(Effect::Forget),
            }
        }
    }

    fn begin(&mut self, change: Change<T>, now: Instant, out: &mut Vec<Effect<T>>) {
        if change.role == self.role && self.role != Role::Init {
            return self.confirm(change, now, out);
        }
        match self.phase {
            Phase::Running { .. } => {
                let if_closed = change.if_closed && self.role == Role::Primary;
                let deadline = Some(now + self.patience + GRACE);
                self.phase = Phase::Stopping {
                    deadline,
                    if_closed,
                };
                out.push(Effect::Stop { if_closed });
                self.active = Some(change);
            }
            _ if change.if_closed && self.role == Role::Primary => {
                let reason = "its worker process does not run, so it is not known whether \
                              somebody has its provider open";
                refuse(change, Refusal::new(EBUSY, reason), out);
            }
            _ => self.finish(change, now, out),
        }
    }

    /// The role is the one that is wanted already.
    fn confirm(&mut self, change: Change<T>, now: Instant, out: &mut Vec<Effect<T>>) {
        if let Phase::Waiting { .. } = self.phase {
            self.start(now, out);
        }
        self.answer(change, self.role, out);
    }

    /// The old worker is gone, or there was none.
    fn finish(&mut self, change: Change<T>, now: Instant, out: &mut Vec<Effect<T>>) {
        self.phase = Phase::None;
        let cleans = match (change.role, self.left) {
            // There is none, it is taken over, or the new worker does it.
            (_, Left::Nothing) | (Role::Primary, _) | (Role::Secondary, Left::Provider) => false,
            (Role::Init | Role::Secondary, Left::Files) => true,
            (Role::Init, Left::Provider) => !change.if_closed,
        };
        if cleans {
            self.active = Some(change);
            return self.clean(now, out);
        }
        let from = std::mem::replace(&mut self.role, change.role);
        self.pause = None;
        if change.role != Role::Init {
            self.start(now, out);
        }
        if from != change.role {
            self.dismiss(ECANCELED, "its role was changed meanwhile", out);
            let to = change.role;
            out.push(Effect::Changed { from, to });
        }
        self.answer(change, from, out);
    }

    fn clean(&mut self, now: Instant, out: &mut Vec<Effect<T>>) {
        self.left = Left::Nothing;
        self.phase = Phase::Cleaning {
            deadline: Some(now + CLEANING),
        };
        out.push(Effect::Start(Task::Clean));
    }

    fn start(&mut self, now: Instant, out: &mut Vec<Effect<T>>) {
        let task = match self.role {
            Role::Primary => Task::Primary,
            Role::Secondary => Task::Secondary,
            Role::Init => return,
        };
        self.phase = Phase::Running {
            since: now,
            ready: false,
        };
        if task == Task::Primary {
            self.left = Left::Provider;
        }
        out.push(Effect::Start(task));
    }

    fn answer(&mut self, change: Change<T>, from: Role, out: &mut Vec<Effect<T>>) {
        let Some(ticket) = change.ticket else { return };
        if change.wait && change.role != Role::Init && !self.is_ready() {
            self.waiters.push((ticket, from));
        } else {
            out.push(Effect::Answer(ticket, Ok(from)));
        }
    }

    /// Tells all who wait for the worker that they wait in vain.
    fn dismiss(&mut self, code: ControlCode, reason: &str, out: &mut Vec<Effect<T>>) {
        for (ticket, _) in self.waiters.drain(..) {
            out.push(Effect::Answer(ticket, Err(Refusal::new(code, reason))));
        }
    }

    fn ready(&mut self, out: &mut Vec<Effect<T>>) {
        if let Phase::Running { ready, .. } = &mut self.phase {
            *ready = true;
            if self.role == Role::Secondary {
                // It has destroyed what it found.
                self.left = Left::Nothing;
            }
            for (ticket, from) in self.waiters.drain(..) {
                out.push(Effect::Answer(ticket, Ok(from)));
            }
        }
    }

    /// The order has failed and the worker goes on.
    fn give_up_stopping(&mut self, refusal: Refusal, now: Instant, out: &mut Vec<Effect<T>>) {
        let Phase::Stopping {
            if_closed: true, ..
        } = self.phase
        else {
            return;
        };
        // When it began does not matter: it lives.
        self.phase = Phase::Running {
            since: now,
            ready: true,
        };
        if let Some(change) = self.active.take() {
            refuse(change, refusal, out);
        }
    }

    fn exited(&mut self, exit: Exit, how: &str, now: Instant, out: &mut Vec<Effect<T>>) {
        let in_order = exit == Exit::Code(0);
        match self.phase {
            Phase::Stopping { .. } => {
                if self.role == Role::Primary && in_order {
                    self.left = self.trace;
                }
                self.dismiss(ECANCELED, "its role was changed meanwhile", out);
                self.phase = Phase::None;
                if let Some(change) = self.active.take() {
                    self.finish(change, now, out);
                } else if self.role == Role::Primary && self.left != Left::Nothing {
                    // The daemon ends, and nobody else will do it.
                    self.clean(now, out);
                }
            }
            Phase::Cleaning { .. } => {
                self.phase = Phase::None;
                if let Some(change) = self.active.take() {
                    self.finish(change, now, out);
                }
                // To be tried again, if somebody asks for the role again.
                if !in_order && self.left == Left::Nothing {
                    self.left = Left::Provider;
                }
            }
            Phase::Running { since, .. } => self.died(exit, how, since, now, out),
            Phase::None | Phase::Waiting { .. } => {}
        }
    }

    /// The worker ended without having been told.
    fn died(
        &mut self,
        exit: Exit,
        how: &str,
        since: Instant,
        now: Instant,
        out: &mut Vec<Effect<T>>,
    ) {
        let code = match exit {
            Exit::Code(code @ 1..) => i16::try_from(code).map_or(EIO, ControlCode),
            _ => EIO,
        };
        let reason = format!("its worker process {how}");
        self.dismiss(code, &reason, out);
        let again =
            self.role == Role::Secondary || matches!(exit, Exit::Signal(_) | Exit::Code(TEMPORARY));
        if again {
            let pause = match self.pause {
                Some(pause) if now.duration_since(since) < LIFE => LONGEST_PAUSE.min(2 * pause),
                _ => FIRST_PAUSE,
            };
            self.pause = Some(pause);
            self.phase = Phase::Waiting { due: now + pause };
            out.push(Effect::Pause(pause));
        } else {
            self.phase = Phase::None;
            self.role = Role::Init;
            self.left = if exit == Exit::Code(0) {
                self.trace
            } else {
                Left::Provider
            };
            out.push(Effect::Demoted);
        }
    }

    fn tick(&mut self, now: Instant, out: &mut Vec<Effect<T>>) {
        if self.due().is_none_or(|due| now < due) {
            return;
        }
        match &mut self.phase {
            Phase::Waiting { .. } => self.start(now, out),
            Phase::Stopping {
                if_closed: true, ..
            } => {
                let reason = "its worker process does not answer; nothing was changed";
                self.give_up_stopping(Refusal::new(ETIMEDOUT, reason), now, out);
            }
            Phase::Stopping { deadline, .. } | Phase::Cleaning { deadline } => {
                *deadline = None;
                out.push(Effect::Kill);
            }
            Phase::None | Phase::Running { .. } => {}
        }
    }

    /// Stops the worker and starts none any more.
    fn end(&mut self, now: Instant, out: &mut Vec<Effect<T>>) {
        self.ending = true;
        let begun = self.active.take();
        let (done, others) = match begun {
            Some(change) if change.role == Role::Init => (Some(change), None),
            other => (None, other),
        };
        self.active = done;
        let waiting = std::mem::take(&mut self.orders).into_iter();
        let waiting = waiting.filter_map(|order| match order {
            Order::Role(change) => Some(change),
            _ => None,
        });
        for change in others.into_iter().chain(waiting) {
            refuse(change, Refusal::new(ECANCELED, "hastd is ending"), out);
        }
        match &mut self.phase {
            Phase::Running { .. } => {
                self.phase = Phase::Stopping {
                    deadline: Some(now + self.patience + GRACE),
                    if_closed: false,
                };
                out.push(Effect::Stop { if_closed: false });
            }
            Phase::Stopping {
                if_closed: if_closed @ true,
                ..
            } => {
                *if_closed = false;
                out.push(Effect::Stop { if_closed: false });
            }
            Phase::Waiting { .. } => self.phase = Phase::None,
            Phase::None | Phase::Stopping { .. } | Phase::Cleaning { .. } => {}
        }
    }
}

fn refuse<T>(change: Change<T>, refusal: Refusal, out: &mut Vec<Effect<T>>) {
    if let Some(ticket) = change.ticket {
        out.push(Effect::Answer(ticket, Err(refusal)));
    }
}

#[cfg(test)]
pub(super) mod tests;
