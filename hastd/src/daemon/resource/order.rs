//! What a resource is told, what happens to it, and what it wants done.

use crate::config;
use crate::daemon::children::Exit;
use hast_core::message::ControlCode;
use hast_core::role::Role;
use std::time::Duration;

/// Error codes beside base's, FreeBSD's error numbers.
pub(in crate::daemon) const EIO: ControlCode = ControlCode(5);
pub(in crate::daemon) const EBUSY: ControlCode = ControlCode(16);
pub(in crate::daemon) const ETIMEDOUT: ControlCode = ControlCode(60);
pub(in crate::daemon) const ECANCELED: ControlCode = ControlCode(85);

/// Why an order was not carried out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Refusal {
    /// For programs.
    pub(crate) code: ControlCode,
    /// For people.
    pub(crate) reason: String,
}

impl Refusal {
    pub(crate) fn new(code: ControlCode, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }
}

/// What a resource is told to do. `T` names who is told how it ended.
#[derive(Debug)]
pub(in crate::daemon) enum Order<T> {
    /// Take this role.
    Role(Change<T>),
    /// Use this configuration from now on, where nothing runs.
    Replace(Box<config::Resource>),
    /// Use this configuration from now on; a worker is told.
    Reconfigure {
        /// It.
        config: Box<config::Resource>,
        /// The address changed.
        reconnect: bool,
    },
    /// Be no more.
    Remove,
}

/// A change of role.
#[derive(Debug)]
pub(in crate::daemon) struct Change<T> {
    /// The new role.
    pub(in crate::daemon) role: Role,
    /// Not if somebody has the provider open.
    pub(in crate::daemon) if_closed: bool,
    /// Answer when the new worker is ready.
    pub(in crate::daemon) wait: bool,
    /// Who wants to know; nobody at a reload.
    pub(in crate::daemon) ticket: Option<T>,
}

impl<T> Change<T> {
    /// Without conditions, and nobody to be told.
    pub(in crate::daemon) const fn to(role: Role) -> Self {
        Self {
            role,
            if_closed: false,
            wait: false,
            ticket: None,
        }
    }
}

/// What a worker is started for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::daemon) enum Task {
    /// To serve the provider.
    Primary,
    /// To keep the copy.
    Secondary,
    /// To destroy an orphan.
    Clean,
}

/// What happened.
#[derive(Clone, Debug)]
pub(in crate::daemon) enum Event {
    /// The worker has what it needs.
    Ready,
    /// The worker says that the provider is open and stays.
    InUse,
    /// The worker has ended; the text says how, for people.
    Exited(Exit, String),
    /// It could not be started.
    NotStarted,
    /// Time has passed.
    Tick,
    /// The daemon ends.
    End,
}

/// What is to be done, in order.
#[derive(Debug)]
pub(in crate::daemon) enum Effect<T> {
    /// Start a worker.
    Start(Task),
    /// Tell the worker to end.
    Stop {
        /// Not if somebody has the provider open.
        if_closed: bool,
    },
    /// End the worker where it stands: it does not end by itself.
    Kill,
    /// Tell somebody how his order ended: the role before it.
    Answer(T, Result<Role, Refusal>),
    /// The role is another one. Log it, and run the hook.
    Changed {
        /// The role before.
        from: Role,
        /// The role now.
        to: Role,
    },
    /// The worker of a primary is gone for good.
    Demoted,
    /// A worker will be started again after this pause.
    Pause(Duration),
    /// The configuration is this one now.
    Replace(Box<config::Resource>),
    /// The configuration is this one now; the worker is to be told.
    Reconfigure {
        /// It.
        config: Box<config::Resource>,
        /// The address changed.
        reconnect: bool,
    },
    /// Forget the resource.
    Forget,
}

/// What earlier workers left behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::daemon) enum Left {
    /// Nothing.
    Nothing,
    /// The files of a provider that is no more: in its sandbox, a worker
    /// cannot remove those of a gate in software.
    Files,
    /// Perhaps a provider, which somebody may have open.
    Provider,
}
