//! What a resource says about itself: mostly its worker says it, who is given
//! some time for it (K30).

use super::Unit;
use crate::control::reply::{Answer, StatusAnswer};
use crate::control::server::Ticket;
use crate::daemon::Around;
use crate::daemon::children::Worker;
use crate::daemon::resource::{EBUSY, ETIMEDOUT, Refusal};
use crate::ipc::ToWorker;
use crate::status::{Status, Supervision, Told};
use hast_core::message::ControlCode;
use hast_core::role::Role;
use std::time::{Duration, Instant};

/// How long a worker may take to say how it is, or to give up its data: K30.
const ANSWERING: Duration = Duration::from_secs(2);

/// Error code: the resource cannot do that in its role. FreeBSD's EINVAL.
const EINVAL: ControlCode = ControlCode(22);

/// What a worker was asked and has not answered.
#[derive(Default)]
pub(super) struct Questions {
    last: u64,
    status: Option<Question>,
    /// Discarding data.
    discard: Option<Question>,
}

struct Question {
    number: u64,
    due: Instant,
    /// Who wants to know, and whether all of it.
    askers: Vec<(Ticket, bool)>,
}

impl Unit {
    /// Says how the resource is, once the worker has said so. Base's programs
    /// see no worker of a secondary without primary: base has none.
    pub(in crate::daemon) fn tell_status(
        &mut self,
        ticket: Ticket,
        report: bool,
        now: Instant,
        around: &mut Around,
    ) {
        let asked = self.machine.is_running() && (report || self.shows_worker());
        let Some(worker) = self.worker.as_mut().filter(|_| asked) else {
            let answer = self.status_answer(None, report, now);
            return around.answer(ticket, answer);
        };
        if let Some(question) = &mut self.questions.status {
            return question.askers.push((ticket, report));
        }
        if !worker.listens() {
            return around.answer(ticket, Answer::Refused(silent(Some(worker))));
        }
        let question = self.questions.ask(now, ticket, report);
        let number = question.number;
        self.questions.status = Some(question);
        self.tell(&ToWorker::Status { question: number }, Vec::new());
    }

    const fn shows_worker(&self) -> bool {
        self.machine.is_running()
            && (self.connected || !matches!(self.machine.role(), Role::Secondary))
    }

    pub(super) fn heard_status(
        &mut self,
        number: u64,
        status: &Status,
        now: Instant,
        around: &mut Around,
    ) {
        let Some(question) = self.questions.status.take_if(|q| q.number == number) else {
            return;
        };
        for (ticket, report) in question.askers {
            around.answer(ticket, self.status_answer(Some(status), report, now));
        }
    }

    fn status_answer(&self, status: Option<&Status>, report: bool, now: Instant) -> Answer {
        let shown = self.shows_worker();
        let pid = self.worker.as_ref().map_or(0, Worker::pid);
        Answer::Status(Box::new(StatusAnswer {
            config: self.config.clone(),
            role: self.machine.role(),
            workerpid: if shown {
                i32::try_from(pid).unwrap_or(0)
            } else {
                0
            },
            worker: status.filter(|_| shown).cloned(),
            report: report.then(|| self.report(status, pid, now)),
        }))
    }

    /// What is ours, as JSON.
    fn report(&self, status: Option<&Status>, workerpid: u32, now: Instant) -> String {
        let status = status.cloned().unwrap_or_else(|| self.without_worker(now));
        let ago = |what: &Option<(String, Instant)>| {
            let (text, since) = what.as_ref()?;
            Some((text.clone(), now.duration_since(*since).as_secs()))
        };
        let daemon = Supervision {
            role: self.machine.role().name().into(),
            final_role: self.machine.final_role().name().into(),
            workerpid,
            ready: self.machine.is_ready(),
            restarts: self.restarts,
            last_exit: ago(&self.last_exit),
            last_refusal: ago(&self.last_refusal),
        };
        serde_json::to_string(&Told { status, daemon }).unwrap_or_default()
    }

    /// What is to be said where nobody else can.
    fn without_worker(&self, now: Instant) -> Status {
        let mut status = Status::default();
        let report = &mut status.report;
        let exit = self.last_exit.as_ref();
        if self.machine.is_waiting() {
            let (exit, since) = exit.map_or(("ended", now), |(exit, since)| (exit, *since));
            let seconds = self
                .machine
                .due()
                .map_or(0, |due| due.saturating_duration_since(now).as_secs() + 1);
            report.state = "restarting".into();
            report.reason = format!("its worker process {exit}");
            report.since = now.duration_since(since).as_secs();
            report.next = format!("it is started again in {seconds} s");
        } else {
            let name = &self.config.name;
            report.state = "init".into();
            report.reason = match exit {
                Some((exit, _)) => format!("no role was set since its worker process {exit}"),
                None => "no role was set".into(),
            };
            report.next = format!("hastctl role primary {name}, or hastctl role secondary {name}");
        }
        status
    }

    /// Tells a secondary's worker to give up its data.
    pub(in crate::daemon) fn resolve(&mut self, ticket: Ticket, now: Instant, around: &mut Around) {
        let role = self.machine.role();
        let refusal = if role != Role::Secondary {
            Refusal::new(
                EINVAL,
                format!("its role is {role}; only a secondary's data can be given up"),
            )
        } else if self.questions.discard.is_some() {
            Refusal::new(EBUSY, "its data is being given up already")
        } else if !self.machine.is_running() || !self.worker.as_ref().is_some_and(Worker::listens) {
            silent(self.worker.as_ref())
        } else {
            let question = self.questions.ask(now, ticket, false);
            let number = question.number;
            self.questions.discard = Some(question);
            return self.tell(&ToWorker::Discard { question: number }, Vec::new());
        };
        around.answer(ticket, Answer::Refused(refusal));
    }

    pub(super) fn heard_discarded(
        &mut self,
        number: u64,
        error: Option<&str>,
        around: &mut Around,
    ) {
        let Some(question) = self.questions.discard.take_if(|q| q.number == number) else {
            return;
        };
        for (ticket, _) in question.askers {
            around.answer(
                ticket,
                match error {
                    None => Answer::Done,
                    Some(reason) => Answer::Refused(Refusal::new(EINVAL, reason)),
                },
            );
        }
    }
}

impl Questions {
    /// When the first one is given up.
    pub(super) fn due(&self) -> Option<Instant> {
        let all = [&self.status, &self.discard].into_iter().flatten();
        all.map(|question| question.due).min()
    }

    fn ask(&mut self, now: Instant, ticket: Ticket, report: bool) -> Question {
        self.last += 1;
        Question {
            number: self.last,
            due: now + ANSWERING,
            askers: vec![(ticket, report)],
        }
    }

    pub(super) fn expire(&mut self, now: Instant, worker: Option<&Worker>, around: &mut Around) {
        for question in [&mut self.status, &mut self.discard] {
            if let Some(question) = question.take_if(|question| now >= question.due) {
                question.dismiss(&silent(worker), around);
            }
        }
    }

    pub(super) fn dismiss(&mut self, refusal: &Refusal, around: &mut Around) {
        for question in [&mut self.status, &mut self.discard] {
            if let Some(question) = question.take() {
                question.dismiss(refusal, around);
            }
        }
    }
}

impl Question {
    fn dismiss(self, refusal: &Refusal, around: &mut Around) {
        for (ticket, _) in self.askers {
            around.answer(ticket, Answer::Refused(refusal.clone()));
        }
    }
}

/// A worker that cannot be asked.
fn silent(worker: Option<&Worker>) -> Refusal {
    let reason = match worker {
        Some(worker) => format!("its worker process, {}, does not answer", worker.pid()),
        None => "its worker process does not run".into(),
    };
    Refusal::new(ETIMEDOUT, reason)
}
