use super::*;
use crate::status::{Status, Told};
use hast_core::message::ControlCode;

fn verdict(role: &str, state: Option<&str>) -> Result<Report, String> {
    let told = state.map(|state| Told {
        status: Status {
            report: Report {
                state: state.into(),
                reason: "so it is".into(),
                dirty_here: Some(4 << 20),
                ..Report::default()
            },
            ..Status::default()
        },
        ..Told::default()
    });
    let json = told.map(|told| serde_json::to_string(&told).unwrap());
    judge(&ResourceReply {
        name: "data".into(),
        role: Some(role.into()),
        report: json.as_deref().map(Into::into),
        ..ResourceReply::default()
    })
}

#[test]
fn only_a_secondary_whose_primary_was_refused_gives_its_data_up() {
    for state in ["split-brain", "refused"] {
        assert_eq!(verdict("secondary", Some(state)).unwrap().state, state);
    }
    for (role, state, why) in [
        (
            "primary",
            Some("split-brain"),
            "hastctl role secondary data",
        ),
        ("init", Some("init"), "Its role is init"),
        ("secondary", Some("waiting"), "Is the other node primary?"),
        (
            "secondary",
            Some("connected"),
            "to resolve: connected, so it is.",
        ),
        ("secondary", Some("discarded"), "given up already"),
        ("secondary", None, "hastctl create"),
    ] {
        let text = verdict(role, state).unwrap_err();
        assert!(text.contains(why), "{text}");
    }
    let unknown = ResourceReply {
        error: Some(ControlCode::NO_RESOURCE),
        ..ResourceReply::default()
    };
    assert!(judge(&unknown).unwrap_err().contains("no such resource"));
}

#[test]
fn both_sides_of_the_choice_are_shown() {
    let report = verdict("secondary", Some("split-brain")).unwrap();
    let text = stakes("data", &report);
    assert!(text.starts_with("data: so it is.\n"));
    assert!(text.contains("only on this node, at most 4.0MB\n"));
    assert!(text.contains("only on the other node, at most an unknown amount\n"));
}
