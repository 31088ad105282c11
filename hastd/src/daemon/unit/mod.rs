//! One resource with all that belongs to it: what [`Machine`] wants is done
//! here, and what its worker says is heard.

mod answers;

use super::Around;
use super::children::{Exit, Worker};
use super::greet::Caller;
use super::hooks::Hook;
use super::limit::{self, Limit};
use super::resource::{Change, ECANCELED, Effect, Event, Left, Machine, Order, Refusal, Task};
use crate::config;
use crate::config::change::{self, differences};
use crate::control::reply::Answer;
use crate::control::server::Ticket;
use crate::ipc::{self, FromWorker, Level, Received, Start, ToWorker};
use crate::log::{self, About};
use crate::worker::Title;
use answers::Questions;
use hast_core::decision::OnImpossible;
use hast_core::role::Role;
use std::os::fd::{AsFd as _, OwnedFd};
use std::time::Instant;

/// A resource.
pub(super) struct Unit {
    /// Never used again for another one.
    pub(super) id: u64,
    pub(super) config: config::Resource,
    /// What the configuration will be when all orders are carried out.
    pub(super) planned: config::Resource,
    pub(super) machine: Machine<Ticket>,
    pub(super) fate: Fate,
    pub(super) worker: Option<Worker>,
    /// A primary between its two steps.
    pub(super) caller: Option<Caller>,
    /// What a worker found in the role that the resource has.
    pub(super) component: Option<ipc::Component>,
    /// The worker has a connection to the other node.
    connected: bool,
    /// The hook was told of a split-brain, and nothing has changed since.
    split_brain: bool,
    questions: Questions,
    lines: Limit,
    restarts: u64,
    last_exit: Option<(String, Instant)>,
    /// The last error that the worker told of.
    last_words: Option<String>,
    pub(super) last_refusal: Option<(String, Instant)>,
}

/// Whether a resource is in the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fate {
    /// It is.
    Stays,
    /// It will be no more when all orders are carried out.
    Goes,
    /// It is no more.
    Gone,
}

impl Unit {
    pub(super) fn new(id: u64, config: config::Resource, sandboxed: bool) -> Self {
        let trace = if sandboxed && cfg!(not(target_os = "freebsd")) {
            Left::Files
        } else {
            Left::Nothing
        };
        Self {
            id,
            machine: Machine::new(config.settings.timeout, trace),
            planned: config.clone(),
            config,
            fate: Fate::Stays,
            worker: None,
            caller: None,
            component: None,
            connected: false,
            split_brain: false,
            questions: Questions::default(),
            lines: Limit::new(limit::WORKER),
            restarts: 0,
            last_exit: None,
            last_words: None,
            last_refusal: None,
        }
    }

    pub(super) fn about(&self) -> About<'_> {
        About {
            name: &self.config.name,
            role: Some(self.machine.role()),
        }
    }

    pub(super) fn order(&mut self, order: Order<Ticket>, now: Instant, around: &mut Around) {
        let mut effects = Vec::new();
        self.machine.order(order, now, &mut effects);
        self.perform(effects, now, around);
    }

    pub(super) fn event(&mut self, event: Event, now: Instant, around: &mut Around) {
        let mut effects = Vec::new();
        self.machine.event(event, now, &mut effects);
        self.perform(effects, now, around);
    }

    fn perform(&mut self, effects: Vec<Effect<Ticket>>, now: Instant, around: &mut Around) {
        for effect in effects {
            match effect {
                Effect::Start(task) => self.start(task, now, around),
                Effect::Stop { if_closed } => {
                    self.tell(&ToWorker::Stop { if_closed }, Vec::new());
                }
                Effect::Kill => self.kill(),
                Effect::Answer(ticket, Ok(role)) => around.answer(ticket, Answer::Role(role)),
                Effect::Answer(ticket, Err(refusal)) => {
                    around.answer(ticket, Answer::Refused(refusal));
                }
                Effect::Changed { from, to } => self.changed(from, to, now, around),
                Effect::Demoted => {
                    log::error!("{}Role changed from primary to init.", self.about());
                }
                Effect::Pause(pause) => {
                    self.restarts += 1;
                    let seconds = pause.as_secs();
                    log::info!("{}Restarting worker process in {seconds} s.", self.about());
                }
                Effect::Replace(config) => self.replace(*config),
                Effect::Reconfigure { config, reconnect } => {
                    self.replace(*config);
                    let message = ToWorker::Reconfigure {
                        settings: self.config.settings.clone(),
                        remote: self.config.remote.clone(),
                        reconnect,
                    };
                    self.tell(&message, Vec::new());
                }
                Effect::Forget => self.fate = Fate::Gone,
            }
        }
    }

    fn replace(&mut self, config: config::Resource) {
        self.machine.set_timeout(config.settings.timeout);
        self.config = config;
    }

    /// Ends with everything that was ordered.
    pub(super) fn remove(&mut self, now: Instant, around: &mut Around) {
        self.fate = Fate::Goes;
        self.order(Order::Role(Change::to(Role::Init)), now, around);
        self.order(Order::Remove, now, around);
    }

    /// Takes another configuration up, in the way that its role allows.
    pub(super) fn reload(&mut self, config: config::Resource, now: Instant, around: &mut Around) {
        let role = self.machine.final_role();
        let difference = change::change(&self.planned, &config, role);
        let what = differences(&self.planned, &config).join(", ");
        let name = &config.name;
        self.planned = config.clone();
        match difference {
            change::Change::Unchanged => {}
            change::Change::LiveReload { reconnect } => {
                log::info!("Resource {name} configuration was modified ({what}), reloading it.");
                let config = Box::new(config);
                self.order(Order::Reconfigure { config, reconnect }, now, around);
            }
            change::Change::Restart => {
                log::info!("Resource {name} configuration was modified ({what}), restarting it.");
                self.order(Order::Role(Change::to(Role::Init)), now, around);
                self.order(Order::Replace(Box::new(config)), now, around);
                self.order(Order::Role(Change::to(role)), now, around);
            }
        }
    }

    /// How it is, in a line.
    pub(super) fn summary(&self, now: Instant) -> String {
        let ago = |(what, since): &(String, Instant)| {
            format!(", {what} {} s ago", now.duration_since(*since).as_secs())
        };
        let worker = match &self.worker {
            Some(worker) => format!("worker process {}", worker.pid()),
            None => "no worker process".into(),
        };
        let connected = if self.connected { ", connected" } else { "" };
        let exit = self.last_exit.as_ref().map_or(String::new(), ago);
        format!("{worker}{connected}, {} restarts{exit}", self.restarts)
    }

    /// Starts a worker, whose first message says what it is for.
    fn start(&mut self, task: Task, now: Instant, around: &mut Around) {
        self.last_words = None;
        let name = &self.config.name;
        let (title, message) = match task {
            Task::Primary => (Title::Primary.of(name), self.start_message(true, around)),
            Task::Secondary => (
                Title::SecondaryIdle.of(name),
                self.start_message(false, around),
            ),
            Task::Clean => (format!("hastd: {name} (init)"), self.clean_message()),
        };
        let started = Worker::start(&around.binary, &title).and_then(|mut worker| {
            let descriptors = around.inheritance()?;
            worker
                .tell(&message, descriptors)
                .map_err(std::io::Error::other)?;
            Ok(worker)
        });
        match started {
            Ok(worker) => {
                log::debug!(
                    1,
                    "{}Worker process {} started.",
                    self.about(),
                    worker.pid()
                );
                self.worker = Some(worker);
            }
            Err(error) => {
                log::error!(
                    "{}Unable to start worker process: {}.",
                    self.about(),
                    ggate::errno::words(&error)
                );
                self.last_exit = Some((
                    format!("could not be started: {}", ggate::errno::words(&error)),
                    now,
                ));
                self.event(Event::NotStarted, now, around);
            }
        }
    }

    fn start_message(&self, primary: bool, around: &Around) -> ToWorker {
        let config = &self.config;
        ToWorker::Start(Box::new(Start {
            name: config.name.clone(),
            primary,
            provider: config.provider.clone(),
            local: config.local.clone(),
            remote: config.remote.clone(),
            settings: config.settings.clone(),
            memory: config.memory,
            stop_on_impossible: config.on_impossible == OnImpossible::Stop,
            debug: log::debug_level(),
            sandbox: around.sandbox.clone(),
        }))
    }

    fn clean_message(&self) -> ToWorker {
        ToWorker::Clean {
            provider: self.config.provider.clone(),
        }
    }

    /// Tells the worker something, if there is one.
    fn tell(&mut self, message: &ToWorker, descriptors: Vec<OwnedFd>) {
        let Some(worker) = &mut self.worker else {
            return;
        };
        if let Err(error) = worker.tell(message, descriptors) {
            let pid = worker.pid();
            log::error!("{}Worker process {pid} killed: {error}.", self.about());
        }
    }

    fn kill(&mut self) {
        if let Some(worker) = &mut self.worker {
            worker.kill();
            let pid = worker.pid();
            log::error!(
                "{}Worker process {pid} does not end and is killed.",
                self.about()
            );
        }
    }

    fn changed(&mut self, from: Role, to: Role, now: Instant, around: &mut Around) {
        let about = About {
            name: &self.config.name,
            role: Some(from),
        };
        log::info!("{about}Role changed to {to}.");
        self.split_brain = false;
        self.component = None;
        if let Some(caller) = self.caller.take() {
            caller.refuse_for_role(to);
        }
        self.run_hook("role", &[from.name(), to.name()], now, around);
    }

    fn run_hook(&self, event: &str, more: &[&str], now: Instant, around: &mut Around) {
        if let Some(program) = &self.config.exec {
            let hook = Hook::new(program, event, &self.config.name, more);
            around.hooks.push(hook, now);
        }
    }

    /// A primary has shown its token.
    pub(super) fn take_peer(&mut self, peer: ipc::Peer, connections: [OwnedFd; 2]) {
        self.tell(&ToWorker::Peer(Box::new(peer)), connections.into());
    }

    /// The answer to a worker's wish for a connection.
    pub(super) fn connected(&mut self, attempt: u64, result: Result<OwnedFd, String>) {
        let (descriptors, error) = match result {
            Ok(connection) => (vec![connection], None),
            Err(error) => (Vec::new(), Some(error)),
        };
        self.tell(&ToWorker::Connected { attempt, error }, descriptors);
    }

    /// Hears what the worker says.
    pub(super) fn converse(&mut self, now: Instant, around: &mut Around) {
        let Some(worker) = &mut self.worker else {
            return;
        };
        let mut messages = Vec::new();
        let ended = worker.converse(&mut messages);
        let pid = worker.pid();
        self.hear(messages, now, around);
        if let Err(error) = ended {
            log::error!("{}Worker process {pid} killed: {error}.", self.about());
        }
    }

    fn hear(&mut self, messages: Vec<Received<FromWorker>>, now: Instant, around: &mut Around) {
        for message in messages {
            match message.message {
                FromWorker::Ready(component) => {
                    self.component = Some(component);
                    self.event(Event::Ready, now, around);
                }
                FromWorker::InUse => self.event(Event::InUse, now, around),
                FromWorker::Log { level, text } => self.repeat(level, &text),
                FromWorker::Event(event) => self.heard_event(event, now, around),
                FromWorker::Connect { attempt } => {
                    around.dialer.dial(self.id, attempt, &self.config);
                }
                FromWorker::Status { question, status } => {
                    self.heard_status(question, &status, now, around);
                }
                FromWorker::Discarded { question, error } => {
                    self.heard_discarded(question, error.as_deref(), around);
                }
            }
        }
    }

    /// A worker's line, with nothing in it that could forge another one.
    fn repeat(&mut self, level: Level, text: &str) {
        let text = log::printable(text);
        let about = About {
            name: &self.config.name,
            role: Some(self.machine.role()),
        };
        let line = format_args!("{about}{}", log::cut(&text));
        self.lines.log(level, line);
        if level == Level::Error {
            self.last_words = Some(text);
        }
    }

    fn heard_event(&mut self, event: ipc::Event, now: Instant, around: &mut Around) {
        match event {
            ipc::Event::Connect => {
                self.connected = true;
                self.split_brain = false;
            }
            ipc::Event::Disconnect => self.connected = false,
            // Found again at each attempt to connect, every 10 s.
            ipc::Event::SplitBrain if self.split_brain => return,
            ipc::Event::SplitBrain => self.split_brain = true,
            ipc::Event::SyncStart | ipc::Event::SyncDone | ipc::Event::SyncInterrupted => {}
        }
        self.run_hook(event.name(), &[], now, around);
    }

    /// Looks after the worker and what it was asked.
    pub(super) fn attend(&mut self, now: Instant, around: &mut Around) {
        if let Some(worker) = &mut self.worker
            && (around.reap || worker.due().is_some())
            && let Some(exit) = worker.try_wait(now)
        {
            let mut messages = Vec::new();
            worker.last_words(&mut messages);
            let pid = worker.pid();
            self.hear(messages, now, around);
            self.buried(pid, exit, now, around);
        }
        if self.machine.due().is_some_and(|due| now >= due) {
            self.event(Event::Tick, now, around);
        }
        self.questions.expire(now, self.worker.as_ref(), around);
        if let Some(caller) = self.caller.take_if(|caller| now >= caller.due()) {
            let origin = caller.origin;
            log::warning!("{}{origin}: the second step did not come.", self.about());
        }
    }

    /// Between the steps there is nothing to be said: a primary that does has
    /// given up, or talks nonsense.
    pub(super) fn caller_moved(&mut self) {
        if let Some(caller) = self.caller.take() {
            log::debug!(1, "{}{} has given up.", self.about(), caller.origin);
        }
    }

    /// When to do so at the latest.
    pub(super) fn due(&self) -> Option<Instant> {
        let worker = self.worker.as_ref().and_then(Worker::due);
        let caller = self.caller.as_ref().map(Caller::due);
        self.machine
            .due()
            .into_iter()
            .chain(self.questions.due())
            .chain(worker)
            .chain(caller)
            .min()
    }

    fn buried(&mut self, pid: u32, exit: Exit, now: Instant, around: &mut Around) {
        self.worker = None;
        self.connected = false;
        self.questions.dismiss(
            &Refusal::new(ECANCELED, "its worker process has ended"),
            around,
        );
        // Its last error is why it gave up; one that was killed had no time for words.
        let how = match (exit, self.last_words.take()) {
            (Exit::Code(1..), Some(words)) => {
                format!("{exit}: {}", log::cut(words.trim_end_matches('.')))
            }
            _ => exit.to_string(),
        };
        let about = self.about();
        if self.machine.expects_end() && exit == Exit::Code(0) {
            log::debug!(1, "{about}Worker process {pid} stopped.");
        } else {
            match exit {
                Exit::Code(0) => log::info!("{about}Worker process {pid} has ended."),
                Exit::Code(code) => log::error!(
                    "{about}Worker process exited ungracefully (pid={pid}, exitcode={code})."
                ),
                Exit::Signal(signal) => {
                    log::error!("{about}Worker process killed (pid={pid}, signal={signal}).");
                }
            }
            self.last_exit = Some((how.clone(), now));
        }
        self.event(Event::Exited(exit, how), now, around);
    }

    /// Its socket and what to wait for there.
    pub(super) fn interests<'fd>(&'fd self, interests: &mut super::poll::Interests<'fd>) {
        use super::poll::Source;
        if let Some((socket, flags)) = self.worker.as_ref().and_then(Worker::interest) {
            interests.add(Source::Worker(self.id), socket, flags);
        }
        if let Some(caller) = &self.caller {
            // Only whether it is gone.
            interests.add(
                Source::Caller(self.id),
                caller.as_fd(),
                nix::poll::PollFlags::POLLIN,
            );
        }
        interests.until(self.due());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::children::Binary;
    use crate::daemon::dial::Dialer;
    use crate::daemon::hooks::Hooks;
    use crate::daemon::inquire::Inquirer;
    use crate::daemon::resource::tests::config;
    use crate::daemon::waker::Bell;
    use crate::ipc::Event::{Connect, SplitBrain};
    use std::os::unix::fs::PermissionsExt as _;
    use testkit::process::wait_for;

    fn around() -> Around {
        let (_, waker) = Bell::new().unwrap();
        Around {
            binary: Binary::own().unwrap(),
            sandbox: None,
            foreground: false,
            hooks: Hooks::new(false),
            dialer: Dialer::new(waker.clone()),
            inquirer: Inquirer::new(waker),
            reap: false,
            answers: Vec::new(),
        }
    }

    /// K25: base runs the hook at each attempt to connect, every 10 seconds,
    /// on both nodes.
    #[test]
    fn a_split_brain_is_told_once_until_something_changes() {
        let dir = tempfile::tempdir().unwrap();
        let hook = dir.path().join("hook");
        std::fs::write(&hook, "#!/bin/sh\necho $1 >>$(dirname $0)/told\n").unwrap();
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755)).unwrap();
        let mut around = around();
        let mut unit = Unit::new(1, config(), false);
        unit.config.exec = Some(hook);
        let now = Instant::now();
        for event in [SplitBrain, SplitBrain, SplitBrain, Connect, SplitBrain] {
            unit.heard_event(event, now, &mut around);
        }
        let expected = "split-brain\nconnect\nsplit-brain\n";
        wait_for("the hooks", || {
            around.hooks.attend(Instant::now());
            let told = std::fs::read_to_string(dir.path().join("told")).unwrap_or_default();
            (told.len() >= expected.len()).then(|| assert_eq!(told, expected))
        });
    }

    #[test]
    fn a_worker_s_line_can_forge_no_other() {
        assert_eq!(log::printable("a\n[ERROR] b\x1b[2J"), "a?[ERROR] b?[2J");
    }
}
