//! What clients of the control socket want.
//! Facts: spec/hast-wire.md section 10.

use super::Daemon;
use super::resource::{Change, EBUSY, Order, Refusal};
use crate::control::reply::{Answer, Reply};
use crate::control::server::{Request, Ticket};
use crate::log;
use hast_core::message::{Command, ControlCode, Wishes};
use hast_core::role::Role;
use std::time::Instant;

impl Daemon {
    /// Begins with a request; the answers come when they are there.
    pub(super) fn obey(&mut self, request: Request, now: Instant) {
        let Request {
            client,
            command,
            names,
            wishes,
        } = request;
        if command == Command::Stop {
            log::info!("Asked to end over the control socket.");
            let done = Reply::new(Vec::new(), wishes.report);
            self.control.answer(client, done, now);
            return self.end(now);
        }
        let names = names.unwrap_or_else(|| {
            let all = self.resources.iter();
            all.map(|unit| unit.config.name.clone().into_bytes())
                .collect()
        });
        let tickets = self
            .control
            .await_answers(client, names.clone(), wishes.report, now);
        for (name, ticket) in names.iter().zip(tickets) {
            let Some(unit) = self.resources.find(name) else {
                let refusal = Refusal::new(
                    ControlCode::NO_RESOURCE,
                    "there is no resource of this name in hastd's configuration",
                );
                self.around.answer(ticket, Answer::Refused(refusal));
                continue;
            };
            let around = &mut self.around;
            match command {
                Command::SetRole(role) => {
                    unit.order(Order::Role(change(role, wishes, ticket)), now, around);
                }
                Command::Status => unit.tell_status(ticket, wishes.report, now, around),
                Command::Resolve => unit.resolve(ticket, now, around),
                Command::Check => {
                    if !around.inquirer.ask(ticket, unit) {
                        let reason = "too many nodes are being asked already";
                        around.answer(ticket, Answer::Refused(Refusal::new(EBUSY, reason)));
                    }
                }
                // Of the daemon, not of a resource.
                Command::Stop => {}
            }
        }
    }
}

const fn change(role: Role, wishes: Wishes, ticket: Ticket) -> Change<Ticket> {
    Change {
        role,
        if_closed: wishes.if_closed,
        wait: wishes.wait,
        ticket: Some(ticket),
    }
}
