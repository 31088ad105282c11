//! What base's hastctl does not have.

use crate::fake::{Asked, Node, about, encode, refusal, status};
use hast::status::{Report, Status, Supervision, Told};
use hast_core::message::{
    Command, ControlCode, ControlReply, ControlRequest, ResourceReply, Wishes,
};
use hast_core::role::Role;

/// An answer of our daemon: whatever is asked is done.
fn ours(request: &ControlRequest<'_>) -> Vec<u8> {
    let told = Told {
        status: Status {
            report: Report {
                state: "complete".into(),
                reason: "both nodes have the same data".into(),
                next: "nothing to do".into(),
                ..Report::default()
            },
            ..Status::default()
        },
        daemon: Supervision {
            role: "primary".into(),
            final_role: "primary".into(),
            workerpid: 99,
            ready: true,
            ..Supervision::default()
        },
    };
    let told = serde_json::to_string(&told).unwrap();
    match request.command {
        Command::Stop => refusal(ControlCode(0)),
        Command::Status => {
            let mut resource = status(Role::Primary, "/dev/da0", None);
            resource.report = request.wishes.report.then_some(told.as_str().into());
            about(&resource)
        }
        Command::SetRole(_) => about(&ResourceReply {
            name: "test".into(),
            role: Some("primary".into()),
            ..ResourceReply::default()
        }),
        Command::Check | Command::Resolve => refusal(ControlCode::UNKNOWN_COMMAND),
    }
}

/// Base's daemon: it ignores what it does not know.
fn base(request: &ControlRequest<'_>) -> Vec<u8> {
    match request.command {
        Command::Status => about(&status(Role::Primary, "/dev/da0", None)),
        Command::SetRole(_) => ours(request),
        _ => refusal(ControlCode::UNKNOWN_COMMAND),
    }
}

fn wishes(wait: bool, if_closed: bool) -> Wishes {
    Wishes {
        wait,
        if_closed,
        report: true,
    }
}

#[test]
fn wishes_reach_the_daemon() {
    for (options, wait, if_closed) in [
        ("", false, false),
        ("--wait", true, false),
        ("--if-closed", false, true),
        ("--if-closed --wait", true, true),
    ] {
        let node = Node::new();
        let hastd = node.hastd(ours);
        let finished = node
            .run(&format!("role {options} init test"))
            .expect_code(0);
        assert_eq!((&*finished.stdout, &*finished.stderr), ("", ""));
        let asked = hastd.asked();
        let last = Asked {
            command: Command::SetRole(Role::Init),
            names: Some(vec!["test".into()]),
            wishes: wishes(wait, if_closed),
        };
        assert_eq!(asked.last(), Some(&last), "{options}");
        assert_eq!(asked.len(), 1 + usize::from(wait || if_closed));
    }
}

/// Base's daemon would destroy the provider under whoever has it open, and
/// hastctl would say that all is well.
#[test]
fn a_wish_that_the_daemon_would_ignore_is_not_sent() {
    for (option, line) in [
        ("--if-closed", "role --if-closed init test"),
        ("--wait", "role --wait primary test"),
    ] {
        let node = Node::new();
        let hastd = node.hastd(base);
        let finished = node.run(line).expect_code(69);
        assert!(finished.stderr.contains(option), "{finished:?}");
        assert!(
            finished.stderr.contains("nothing was changed"),
            "{finished:?}"
        );
        let asked = hastd.asked();
        assert!(
            asked.iter().all(|asked| asked.command == Command::Status),
            "{asked:?}"
        );
        node.run("role init test").expect_code(0);
    }
}

/// One that is not there says nothing about the daemon.
#[test]
fn changes_of_roles_are_told_to_programs() {
    let node = Node::new();
    let _hastd = node.hastd(|request| {
        let done = ResourceReply {
            name: "test".into(),
            role: Some("secondary".into()),
            ..ResourceReply::default()
        };
        let refused = ResourceReply {
            name: "other".into(),
            error: Some(ControlCode(16)),
            reason: request.wishes.report.then_some("it is open".into()),
            ..ResourceReply::default()
        };
        let reply = ControlReply {
            error: None,
            reason: None,
            resources: vec![done, refused],
        };
        encode(&reply)
    });
    let told = node.run("role --json init test other").expect_code(16);
    let told: serde_json::Value = serde_json::from_str(&told.stdout).unwrap();
    let expected = serde_json::json!({"resources": [
        {"name": "test", "role": "init", "before": "secondary"},
        {"name": "other", "error": {"code": 16, "text": "it is open"}},
    ]});
    assert_eq!(told, expected);
}

#[test]
fn an_unknown_resource_is_told_as_such() {
    let node = Node::new();
    let hastd = node.hastd(|request| {
        about(&ResourceReply {
            name: "nosuch".into(),
            error: Some(ControlCode::NO_RESOURCE),
            reason: request.wishes.report.then_some("never heard of it".into()),
            ..ResourceReply::default()
        })
    });
    let finished = node.run("role --wait init nosuch").expect_code(1);
    assert_eq!(
        finished.stderr,
        "[WARNING] [nosuch] Received error 1 from hastd: never heard of it.\n"
    );
    assert_eq!(hastd.asked().len(), 2);
}

#[test]
fn a_provider_that_is_open_is_reported_with_its_error() {
    let node = Node::new();
    let _hastd = node.hastd(|request| match request.command {
        Command::SetRole(_) => about(&ResourceReply {
            name: "test".into(),
            error: Some(ControlCode(16)),
            reason: Some("somebody has its provider open".into()),
            ..ResourceReply::default()
        }),
        _ => ours(request),
    });
    let finished = node.run("role --if-closed secondary test").expect_code(16);
    assert!(finished.stderr.contains("somebody has its provider open"));
}

#[test]
fn stop_ends_our_daemon_and_says_so_if_it_is_not_ours() {
    let node = Node::new();
    let hastd = node.hastd(ours);
    let finished = node.run("stop").expect_code(0);
    assert_eq!((&*finished.stdout, &*finished.stderr), ("", ""));
    assert_eq!(hastd.asked()[0].names, None);
    drop(hastd);
    let hastd = node.hastd(base);
    let finished = node.run("stop").expect_code(70);
    assert!(
        finished.stderr.contains("does not know the command"),
        "{finished:?}"
    );
    drop(hastd);
    // Base's without resources.
    let _hastd = node.hastd(|_| vec![2, 0, 0, 0, 0]);
    let finished = node.run("stop").expect_code(69);
    assert!(finished.stderr.contains("FreeBSD's own"), "{finished:?}");
}

#[test]
fn status_for_people_and_for_programs() {
    let node = Node::new();
    let _hastd = node.hastd(ours);
    assert_eq!(
        node.run("status -v").expect_code(0).stdout,
        "test: primary, /dev/da0 with none
  state:       complete
  why:         both nodes have the same data
  next:        nothing to do
"
    );
    let status = node.run("status --json test").expect_code(0).stdout;
    let list = node.run("list --json test").expect_code(0).stdout;
    assert_eq!(status, list);
    let document: serde_json::Value = serde_json::from_str(&status).unwrap();
    let resource = &document["resources"][0];
    assert_eq!(resource["report"]["state"], "complete");
    assert_eq!(resource["workerpid"], 99);
    // Scripts grep.
    assert!(status.contains("\"state\": \"complete\""), "{status}");
}

/// A report is asked for only where it is shown: a worker that is silent, and
/// that base would not ask, holds up nothing else.
#[test]
fn base_s_commands_ask_what_base_asks() {
    let node = Node::new();
    let hastd = node.hastd(ours);
    node.run("status").expect_code(0);
    node.run("list").expect_code(0);
    let plain = |asked: &Asked| asked.wishes == Wishes::default();
    assert!(hastd.asked().iter().all(plain));
}

#[test]
fn check_finds_what_is_wrong_without_a_daemon_and_with_one() {
    let node = Node::new().with_image();
    let finished = node.run("check").expect_code(78);
    assert!(finished.stdout.contains("not initialised"), "{finished:?}");
    assert!(
        finished.stderr.contains("hastd does not run"),
        "{finished:?}"
    );
    node.run("create test").expect_code(0);
    let finished = node.run("check test").expect_code(0);
    assert!(!finished.stdout.contains("error:"), "{finished:?}");
    let _hastd = node.hastd(|request| match request.command {
        Command::Check => encode(&ControlReply {
            error: None,
            reason: None,
            resources: vec![ResourceReply {
                name: "test".into(),
                report: Some(
                    r#"[{"severity":"error","resource":"test","what":"sizes differ","todo":null}]"#
                        .into(),
                ),
                ..ResourceReply::default()
            }],
        }),
        _ => ours(request),
    });
    let finished = node.run("check --json").expect_code(78);
    let report: serde_json::Value = serde_json::from_str(&finished.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap();
    assert!(
        findings
            .iter()
            .any(|finding| finding["what"] == "sizes differ")
    );
    let finished = node.run("check nosuch").expect_code(65);
    assert!(finished.stderr.contains("Unknown resource nosuch"));
}

#[test]
fn a_daemon_that_cannot_check_is_no_mistake() {
    let node = Node::new().with_image();
    node.run("create test").expect_code(0);
    let _hastd = node.hastd(base);
    let finished = node.run("check").expect_code(0);
    assert!(finished.stderr.contains("was not checked"), "{finished:?}");
}

#[test]
fn help_needs_nothing() {
    let node = Node::new();
    let finished = node.sandbox.run("hastctl", ["help"]).expect_code(0);
    assert!(finished.stdout.contains("--discard-local name"));
    assert_eq!(finished.stderr, "");
}
