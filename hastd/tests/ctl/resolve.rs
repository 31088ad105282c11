//! Giving a node's data up: never by accident.

use crate::fake::{Hastd, Node, about, arguments, status};
use hast::status::{Report, Status, Told};
use hast_core::message::{Command, ControlCode, ResourceReply};
use hast_core::role::Role;
use nix::pty::openpty;
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::process::Stdio;
use std::thread;
use testkit::process::Finished;

/// A daemon whose resource has this role and is in this state.
fn daemon(node: &Node, role: Role, state: &str) -> Hastd {
    let told = Told {
        status: Status {
            report: Report {
                state: state.into(),
                reason: "both nodes have data that the other has not".into(),
                dirty_here: Some(12 << 20),
                dirty_there: Some(4 << 20),
                ..Report::default()
            },
            ..Status::default()
        },
        ..Told::default()
    };
    let told = serde_json::to_string(&told).unwrap();
    node.hastd(move |request| match request.command {
        Command::Status => {
            let mut resource = status(role, "/dev/da0", None);
            resource.report = Some(told.as_str().into());
            about(&resource)
        }
        _ => about(&ResourceReply {
            name: "test".into(),
            ..ResourceReply::default()
        }),
    })
}

/// Whether the data was given up.
fn discarded(hastd: &Hastd) -> bool {
    let resolve = |command| command == Command::Resolve;
    hastd.asked().iter().any(|asked| resolve(asked.command))
}

#[test]
fn with_yes_it_shows_the_loss_and_does_it() {
    let node = Node::new();
    let hastd = daemon(&node, Role::Secondary, "split-brain");
    let finished = node
        .run("resolve --discard-local --yes test")
        .expect_code(0);
    for what in [
        "at most 12MB",
        "at most 4.0MB",
        "test: this node's data is given up",
    ] {
        assert!(finished.stdout.contains(what), "{finished:?}");
    }
    assert!(discarded(&hastd));
}

#[test]
fn without_yes_and_without_a_terminal_it_refuses() {
    let node = Node::new();
    let hastd = daemon(&node, Role::Secondary, "split-brain");
    let finished = node.run("resolve --discard-local test").expect_code(64);
    assert!(finished.stderr.contains("--yes"), "{finished:?}");
    assert!(!discarded(&hastd));
}

#[test]
fn where_there_is_nothing_to_resolve_nothing_is_given_up() {
    for (role, state) in [
        (Role::Primary, "split-brain"),
        (Role::Init, "init"),
        (Role::Secondary, "waiting"),
        (Role::Secondary, "connected"),
        (Role::Secondary, "discarded"),
    ] {
        let node = Node::new();
        let hastd = daemon(&node, role, state);
        let finished = node
            .run("resolve --discard-local --yes test")
            .expect_code(69);
        assert!(
            !finished.stderr.is_empty() && finished.stdout.is_empty(),
            "{finished:?}"
        );
        assert!(!discarded(&hastd), "{role} {state}");
    }
}

#[test]
fn what_the_daemon_refuses_was_not_done() {
    let node = Node::new();
    let told = Told {
        status: Status {
            report: Report {
                state: "split-brain".into(),
                ..Report::default()
            },
            ..Status::default()
        },
        ..Told::default()
    };
    let told = serde_json::to_string(&told).unwrap();
    let _hastd = node.hastd(move |request| {
        let mut resource = status(Role::Secondary, "/dev/da0", None);
        resource.report = Some(told.as_str().into());
        if request.command == Command::Resolve {
            resource = ResourceReply {
                name: "test".into(),
                error: Some(ControlCode(5)),
                reason: Some("the metadata could not be stored".into()),
                ..ResourceReply::default()
            };
        }
        about(&resource)
    });
    let finished = node
        .run("resolve --discard-local --yes test")
        .expect_code(5);
    let why = "was not given up: the metadata could not be stored";
    assert!(finished.stderr.contains(why), "{finished:?}");
}

/// Runs it with somebody at a terminal who types `answer`.
fn typed(node: &Node, answer: &str) -> Finished {
    let pty = openpty(None, None).unwrap();
    let mut command = node.sandbox.command("hastctl");
    command
        .args(arguments("resolve --discard-local test"))
        .stdin(pty.slave)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // The command has the other end.
    drop(command);
    let mut terminal = File::from(pty.master);
    terminal.write_all(answer.as_bytes()).unwrap();
    let mut stderr = child.stderr.take().unwrap();
    let errors = thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        text
    });
    let mut stdout = String::new();
    child
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut stdout)
        .unwrap();
    Finished {
        status: child.wait().unwrap(),
        stdout,
        stderr: errors.join().unwrap(),
    }
}

#[test]
fn at_a_terminal_only_yes_is_yes() {
    for (answer, wanted) in [
        ("yes\n", 0),
        ("y\n", 69),
        ("\n", 69),
        ("no\n", 69),
        ("\u{4}", 69),
    ] {
        let node = Node::new();
        let hastd = daemon(&node, Role::Secondary, "split-brain");
        let finished = typed(&node, answer).expect_code(wanted);
        assert!(finished.stdout.contains("Type yes"), "{finished:?}");
        let unchanged = finished.stdout.contains("Nothing was changed.");
        assert_eq!(
            (unchanged, discarded(&hastd)),
            (wanted != 0, wanted == 0),
            "{answer:?}"
        );
    }
}
