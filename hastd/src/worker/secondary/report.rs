//! What a secondary tells about itself.

use super::Shell;
use crate::status::{Report, Status};
use crate::worker::report::{ago, error_text, statistics};
use hast_core::decision::Rule;
use hast_core::metadata::Consistency;
use hast_core::secondary::{self, State, Trouble};

impl Shell {
    pub(super) fn status(&self) -> Status {
        let state = self.state.lock();
        let machine = &state.machine;
        let report = machine.report();
        let (statistics, queues) = statistics(&machine.statistics());
        let complete = machine.is_connected();
        drop(state);
        Status {
            complete,
            // Base's secondary knows neither.
            dirty: 0,
            keepdirty: 0,
            extentsize: self.local.extents.extentsize(),
            statistics,
            queues,
            report: self.report(&report),
        }
    }

    fn report(&self, report: &secondary::Report) -> Report {
        let now = self.clock.now();
        let (state, reason, next) = self.explain(report);
        Report {
            state: state.into(),
            reason,
            since: ago(report.since, now),
            next,
            dirty_here: Some(report.dirty),
            dirty_there: report.peer_dirty,
            sync: None,
            last_error: report
                .failure
                .map(|failure| (trouble(failure.what), ago(failure.at, now))),
        }
    }

    fn explain(&self, report: &secondary::Report) -> (&'static str, String, String) {
        let name = &self.name;
        let incomplete = report.consistency == Consistency::Inconsistent;
        match report.state {
            State::Connected if incomplete => (
                "synchronizing",
                format!("primary {} copies data to this node", self.peers.address()),
                "usable as primary when everything is copied".into(),
            ),
            State::Connected => (
                "connected",
                format!("primary {} is connected", self.peers.address()),
                "nothing to do".into(),
            ),
            _ if report.discard => (
                "discarded",
                "this node's data was given up".into(),
                "copied from the primary as soon as that connects".into(),
            ),
            State::Waiting if incomplete => (
                "incomplete",
                "copying to this node was interrupted; its data cannot be used".into(),
                "goes on when the primary connects".into(),
            ),
            State::Waiting => (
                "waiting",
                "no primary is connected".into(),
                "waits for one".into(),
            ),
            State::Refused(Rule::SplitBrain | Rule::GenerationsDiffer) => (
                "split-brain",
                "both nodes have data that the other has not".into(),
                format!("to give up this node's data: hastctl resolve --discard-local {name}"),
            ),
            State::Refused(rule) => (
                "refused",
                format!("the primary was refused by rule {}", rule.name()),
                "an operator must choose; the log has the counters".into(),
            ),
        }
    }
}

fn trouble(trouble: Trouble) -> String {
    match trouble {
        Trouble::Local(op, error) => error_text("the local component", op, error),
        Trouble::Map => "the map could not be overwritten".into(),
        Trouble::Metadata => "the metadata could not be stored".into(),
        Trouble::Silent => "the primary was silent for too long".into(),
        Trouble::Lost => "the connection to the primary was lost".into(),
    }
}
