//! Asking the other node how it sees a resource (`hastctl check`), and
//! answering when it asks. Nothing that the resource does is touched.

use super::dial::Route;
use super::greet::Visitor;
use super::unit::Unit;
use super::waker::Waker;
use crate::check::standing::{Asked, Standing};
use crate::control::server::Ticket;
use crate::inbox::{Inbox, InboxError};
use ggate::daemon;
use hast_core::frame::NODE_LIMIT;
use hast_core::message::{Inquiry, InquiryReply};
use hast_core::nv::Text;
use socket2::Socket;
use std::io::{self, Write as _};
use std::net::Shutdown;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Nodes asked at once, each by a thread.
const MOST: usize = 64;

/// How long the other node may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// Room for a message: a name, or a few settings.
const LONGEST: usize = 4 << 10;

/// Findings for a client, as JSON.
type Found = (Ticket, String);

/// The threads that ask.
pub(super) struct Inquirer {
    running: usize,
    sender: Sender<Found>,
    receiver: Receiver<Found>,
    waker: Waker,
}

impl Inquirer {
    pub(super) fn new(waker: Waker) -> Self {
        let (sender, receiver) = channel();
        Self {
            running: 0,
            sender,
            receiver,
            waker,
        }
    }

    /// Asks the other node; false if too many are being asked.
    pub(super) fn ask(&mut self, ticket: Ticket, unit: &Unit) -> bool {
        if self.running >= MOST {
            return false;
        }
        let name = unit.config.name.clone();
        let ours = standing(unit);
        let mut route = Route::new(&unit.config);
        route.timeout = route.timeout.min(PATIENCE);
        let (sender, waker) = (self.sender.clone(), self.waker.clone());
        let spawned = daemon::spawn("inquiry", move || {
            let findings = ours.compare(&name, &ask(&name, &route));
            let json = serde_json::to_string(&findings).unwrap_or_default();
            // Nobody listens when the daemon ends.
            let _ = sender.send((ticket, json));
            waker.wake();
        });
        self.running += usize::from(spawned.is_ok());
        spawned.is_ok()
    }

    /// What was found.
    pub(super) fn found(&mut self) -> Vec<Found> {
        let found: Vec<Found> = self.receiver.try_iter().collect();
        self.running -= found.len();
        found
    }
}

fn standing(unit: &Unit) -> Standing {
    Standing::new(&unit.config, unit.machine.role(), unit.component)
}

fn ask(name: &str, route: &Route) -> Asked {
    if !route.leads_somewhere() {
        return Asked::Nobody;
    }
    let connection = match route.connect() {
        Ok(connection) => Socket::from(connection),
        Err(error) => return Asked::Unreachable(error.to_string()),
    };
    match converse(name, &connection) {
        Ok(asked) => asked,
        Err(InboxError::Closed | InboxError::Cut) => Asked::Silent,
        Err(error) => Asked::Unreachable(error.to_string()),
    }
}

fn converse(name: &str, mut connection: &Socket) -> Result<Asked, InboxError> {
    let deadline = Instant::now() + PATIENCE;
    connection.set_write_timeout(Some(PATIENCE))?;
    let mut room = [0; LONGEST];
    let inquiry = Inquiry {
        resource: name.into(),
    };
    let length = inquiry.encode(&mut room).map_err(io::Error::other)?;
    connection.write_all(&room[..length])?;
    let mut inbox = Inbox::new(NODE_LIMIT);
    let entries = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::Error::from(io::ErrorKind::TimedOut).into());
        }
        connection.set_read_timeout(Some(left))?;
        if let Some(entries) = inbox.read(connection)? {
            break entries;
        }
    };
    Ok(match InquiryReply::decode(&entries) {
        Ok(InquiryReply::Refused(reason)) => Asked::Refused(reason.to_string()),
        Ok(InquiryReply::Told(json)) => match serde_json::from_slice(json.0) {
            Ok(standing) => Asked::Told(standing),
            Err(error) => Asked::Refused(error.to_string()),
        },
        Err(error) => Asked::Refused(error.to_string()),
    })
}

/// Answers somebody who may ask.
pub(super) fn tell(unit: &Unit, visitor: &Visitor) {
    let standing = standing(unit);
    let json = serde_json::to_string(&standing).unwrap_or_default();
    let mut room = [0; LONGEST];
    let reply = InquiryReply::Told(Text::from(json.as_str()));
    if let Ok(length) = reply.encode(&mut room) {
        // It fits into any socket's buffer; who does not take it is gone.
        let _ = (&visitor.socket).write_all(&room[..length]);
        let _ = visitor.socket.shutdown(Shutdown::Write);
    }
}
