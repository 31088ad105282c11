use super::*;
use crate::status::{Status, Told};
use hast_core::message::{ControlCode, StatusReply, WorkerStatus};

/// A primary called `data` that was asked for a report.
fn shown(told: Option<&Told>) -> String {
    let json = told.map(|told| serde_json::to_string(told).unwrap());
    paragraph(&ResourceReply {
        name: "data".into(),
        role: Some("primary".into()),
        status: Some(StatusReply {
            localpath: "/dev/da0".into(),
            remoteaddr: "tcp4://10.0.0.2".into(),
            worker: Some(WorkerStatus {
                status: "complete".into(),
                ..WorkerStatus::default()
            }),
            ..StatusReply::default()
        }),
        report: json.as_deref().map(Text::from),
        ..ResourceReply::default()
    })
}

fn told(report: Report) -> Told {
    Told {
        status: Status {
            report,
            ..Status::default()
        },
        daemon: Supervision {
            role: "primary".into(),
            final_role: "primary".into(),
            workerpid: 7,
            ready: true,
            ..Supervision::default()
        },
    }
}

#[test]
fn a_synchronisation_shows_how_far_it_is_and_how_long_it_takes() {
    let mut report = Report {
        state: "synchronizing".into(),
        reason: "10.0.0.2 lacks data and is copied to".into(),
        since: 3912,
        next: "complete when everything is copied".into(),
        dirty_here: Some(1 << 30),
        sync: Some(Sync {
            source: "primary".into(),
            left: 6 << 30,
            copied: 2 << 30,
            rate: 98 << 20,
            eta: Some(62),
        }),
        last_error: Some(("the connection was lost".into(), 4000)),
        ..Report::default()
    };
    assert_eq!(
        shown(Some(&told(report.clone()))),
        "data: primary, /dev/da0 with tcp4://10.0.0.2
  state:       synchronizing for 1 h 5 min
  why:         10.0.0.2 lacks data and is copied to
  progress:    25 %, 2.0GB of 8.0GB copied from the primary, 98MB/s, 1 min 2 s left
  next:        complete when everything is copied
  last error:  the connection was lost, 1 h 6 min ago
"
    );
    report.sync = Some(Sync {
        copied: u64::MAX,
        left: u64::MAX,
        ..Sync::default()
    });
    let text = shown(Some(&told(report)));
    assert!(text.contains("100 %, 16EB of 16EB"), "{text}");
    assert!(text.contains("0B/s, nothing moves"), "{text}");
}

#[test]
fn a_split_brain_shows_what_is_at_stake() {
    for (there, text) in [(Some(512), "512B"), (None, "an unknown amount")] {
        let told = told(Report {
            state: "split-brain".into(),
            dirty_here: Some(12 << 20),
            dirty_there: there,
            ..Report::default()
        });
        let wanted = format!("  at stake:    at most 12MB changed only here, {text} only there\n");
        assert!(shown(Some(&told)).contains(&wanted));
    }
}

#[test]
fn what_only_the_daemon_knows_is_there_when_it_matters() {
    let mut told = told(Report::default());
    assert_eq!(shown(Some(&told)).lines().count(), 1);
    told.daemon = Supervision {
        final_role: "init".into(),
        ready: false,
        last_exit: Some(("was killed by signal 9".into(), 5)),
        last_refusal: Some(("no \x1b[31mtoken".into(), 61)),
        ..told.daemon
    };
    let text = shown(Some(&told));
    for line in [
        "  becoming:    init\n",
        "  worker:      starting\n",
        "  worker:      was killed by signal 9, 5 s ago\n",
        "  turned away: no ?[31mtoken, 1 min 1 s ago\n",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn base_s_daemon_tells_less_and_an_error_is_told_in_words() {
    assert_eq!(
        shown(None),
        "data: primary, /dev/da0 with tcp4://10.0.0.2
  state:       complete (this hastd tells no more)
"
    );
    let failed = ResourceReply {
        name: "nosuch".into(),
        error: Some(ControlCode::NO_RESOURCE),
        ..ResourceReply::default()
    };
    let text = paragraph(&failed);
    assert!(text.starts_with("nosuch: error: there is no such resource"));
}
