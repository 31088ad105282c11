//! What a primary tells about itself.

use super::Shell;
use crate::status::{self, Report, Status};
use crate::worker::report::{ago, error_text, statistics};
use hast_core::primary::{Behind, Millis, Refusal, State, Trouble, Why};

impl Shell {
    pub(super) fn status(&self) -> Status {
        let state = self.state.lock();
        let machine = &state.machine;
        let report = machine.report();
        let (mut counted, queues) = statistics(&machine.statistics());
        let complete = machine.is_connected();
        let keepdirty = machine.metadata().keepdirty;
        drop(state);
        counted.write_errors += self.stores.map_errors();
        counted.flush_errors += self.stores.flush_errors();
        Status {
            complete,
            dirty: report.dirty,
            extentsize: self.local.extents.extentsize(),
            keepdirty,
            statistics: counted,
            queues,
            report: self.report(&report),
        }
    }

    fn report(&self, report: &hast_core::primary::Report) -> Report {
        let now = self.clock.now();
        let (state, reason, next) = self.explain(report.state, report.next_attempt, now);
        Report {
            state: state.into(),
            reason,
            since: ago(report.since, now),
            next,
            dirty_here: Some(report.dirty),
            dirty_there: report.peer_dirty,
            sync: report.progress.map(|progress| status::Sync {
                source: if report.behind == Behind::Local {
                    "secondary".into()
                } else {
                    "primary".into()
                },
                left: progress.left,
                copied: progress.copied,
                rate: progress.rate,
                eta: progress.seconds_left,
            }),
            last_error: report
                .failure
                .map(|failure| (trouble(failure.what), ago(failure.at, now))),
        }
    }

    fn explain(
        &self,
        state: State,
        next: Option<Millis>,
        now: Millis,
    ) -> (&'static str, String, String) {
        let remote = self.links.remote();
        let again = match next {
            Some(at) => format!(
                "connects again in {} s",
                (at.0.saturating_sub(now.0)).div_ceil(1000)
            ),
            None => "connecting".into(),
        };
        match state {
            State::Complete => (
                "complete",
                format!("both nodes have the same data; connected to {remote}"),
                "nothing to do".into(),
            ),
            State::SyncToPeer => (
                "synchronizing",
                format!("{remote} lacks data and is copied to"),
                "complete when everything is copied".into(),
            ),
            State::SyncFromPeer => (
                "synchronizing",
                format!(
                    "this node lacks data and is copied to from {remote}, which serves what is missing"
                ),
                "complete when everything is copied".into(),
            ),
            State::Waiting if !self.links.has_remote() => (
                "alone",
                "the configuration says `remote none`".into(),
                "nothing to do".into(),
            ),
            State::Waiting => ("degraded", format!("no connection to {remote}"), again),
            State::Stale => (
                "stale",
                format!(
                    "this node lacks data that only {remote} has; what is missing cannot be read, nothing can be written"
                ),
                again,
            ),
            State::Refused(refusal) => self.explain_refusal(refusal, &remote, again),
            State::Stopping => (
                "stopping",
                "this node stops being primary".into(),
                "requests under way are finished".into(),
            ),
        }
    }

    fn explain_refusal(
        &self,
        refusal: Refusal,
        remote: &str,
        again: String,
    ) -> (&'static str, String, String) {
        let name = &self.name;
        match refusal {
            Refusal::SplitBrain => (
                "split-brain",
                format!("both nodes have data that the other has not; {remote} refuses"),
                format!(
                    "decide whose data is given up, make that node secondary and run there: hastctl resolve --discard-local {name}"
                ),
            ),
            Refusal::ResuidMismatch => (
                "refused",
                format!("{remote} has the component of another resource, or it was created anew"),
                format!(
                    "on the node whose data is not needed: hastctl role init {name}; hastctl create {name}; hastctl role secondary {name}"
                ),
            ),
            Refusal::Impossible => (
                "refused",
                format!(
                    "the counters of both nodes cannot have come about; {remote} refuses to overwrite either side"
                ),
                format!(
                    "on the node whose data is not needed, as secondary: hastctl resolve --discard-local {name}"
                ),
            ),
            Refusal::InconsistentSource => (
                "refused",
                format!("the newer copy is itself incomplete; {remote} refuses"),
                "connect the node it was being copied from, or decide whose data is given up"
                    .into(),
            ),
            Refusal::PeerIsPrimary => (
                "refused",
                format!("{remote} is primary, too"),
                format!("make one of them secondary: hastctl role secondary {name}; {again}"),
            ),
            Refusal::Other => (
                "refused",
                format!("{remote} refuses; its reason is in the log"),
                again,
            ),
        }
    }
}

fn trouble(trouble: Trouble) -> String {
    match trouble {
        Trouble::Local(op, error) => error_text("the local component", op, error),
        Trouble::Peer(op, error) => error_text("the other node", op, error),
        Trouble::PeerState(error) => format!("the other node could not store its state: {error}"),
        Trouble::Map => "the map of what differs could not be stored".into(),
        Trouble::Metadata => "the metadata could not be stored".into(),
        Trouble::DirectReads => "the kernel did not change who serves reads".into(),
        Trouble::Connect => "no connection to the other node".into(),
        Trouble::Handshake => "the connection was lost during the handshake".into(),
        Trouble::Lost => "the connection was lost".into(),
        Trouble::Disconnected(why) => match why {
            Why::Geometry => "the other node's data or extents are of another size".into(),
            Why::StaleSource => "the other node would have copied stale data from here".into(),
            Why::Changed => "data was written during the handshake".into(),
            Why::Silent => "the other node was silent for too long".into(),
            Why::Protocol => "the other node answered with what is no answer".into(),
            Why::Reconfigured => "the other node's address changed".into(),
            Why::Stopping => "this node stopped being primary".into(),
        },
        Trouble::Refused(_) => "the other node refused the connection".into(),
    }
}
