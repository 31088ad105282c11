//! What base printed, for the same answers of hastd.

use crate::fake::{Node, about, arguments, encode, refusal, status};
use hast_core::frame::HEADER;
use hast_core::message::{
    Command, ControlCode, ControlReply, ControlRequest, Names, ResourceReply, Statistics,
    WorkerStatus,
};
use hast_core::role::Role;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use testkit::cases::{self, Case};
use testkit::process::Finished;

/// A daemon of base's with resource `test`, as `cases.txt` had it.
struct Model {
    local: String,
    role: Role,
}

impl Model {
    fn answer(&mut self, request: &ControlRequest<'_>) -> Vec<u8> {
        let unknown = match &request.names {
            Names::These(names) => names.iter().find(|name| **name != "test".into()).copied(),
            Names::All => None,
        };
        let worker = WorkerStatus {
            status: "degraded".into(),
            dirty: 0,
            extentsize: 2 << 20,
            keepdirty: 64,
            statistics: Statistics {
                idle_queue: 255,
                ..Statistics::default()
            },
        };
        about(&match (unknown, request.command) {
            (Some(name), _) => ResourceReply {
                name,
                error: Some(ControlCode::NO_RESOURCE),
                ..ResourceReply::default()
            },
            (None, Command::SetRole(role)) => ResourceReply {
                name: "test".into(),
                role: Some(std::mem::replace(&mut self.role, role).name().into()),
                ..ResourceReply::default()
            },
            (None, Command::Status) => {
                let runs = self.role == Role::Primary;
                status(self.role, &self.local, runs.then_some(worker))
            }
            (None, _) => return refusal(ControlCode::UNKNOWN_COMMAND),
        })
    }
}

/// Where the test does not run as root there is nothing to give up.
fn without_privileges(text: &str) -> String {
    let about_them = |line: &&str| !line.contains("rivileges");
    let lines = text.lines().filter(about_them);
    lines.flat_map(|line| [line, "\n"]).collect()
}

fn same_as_base(case: &Case, ours: &Finished) -> Option<String> {
    // Base dies of an assertion.
    if case.line.ends_with("-m 4k test") {
        let refused = ours.code() == 65 && ours.stdout.is_empty() && !ours.stderr.is_empty();
        return (!refused).then(|| "exit code 65 and a reason".into());
    }
    // Base says why only here; as this is printed, the exact texts matter.
    if case.line.ends_with("status -c h.conf nosuch") {
        let same = ours.code() == case.code && ours.stdout == case.stdout;
        return (!same).then(|| format!("base: {}", case.stdout));
    }
    cases::differs(case, ours)
}

/// All of `cases.txt`, in its order, in one sandbox: its state grows with it.
#[test]
fn command_lines_end_as_base_s_do() {
    let mut node = Some(Node::new());
    let mut hastd = None;
    let mut bad = Vec::new();
    for mut case in cases::all("hastctl") {
        if case.line.contains("create -c h.conf -e 100 ") {
            node = node.map(Node::with_image);
        }
        let node = node.as_ref().unwrap();
        if case.line == "hastctl list -c h.conf" && hastd.is_none() {
            let mut model = Model {
                local: node.sandbox.file("h.img").display().to_string(),
                role: Role::Init,
            };
            hastd = Some(node.hastd(move |request| model.answer(request)));
        }
        case.stdout = node.sandbox.expand(&case.stdout).replace("PID", "4242");
        case.stderr = node.sandbox.expand(&case.stderr);
        let mut ours = node.sandbox.run("hastctl", &case.arguments);
        if !nix::unistd::geteuid().is_root() {
            case.stdout = without_privileges(&case.stdout);
            ours.stdout = without_privileges(&ours.stdout);
        }
        if let Some(why) = same_as_base(&case, &ours) {
            bad.push(format!("$ {}\n{why}\nours: {ours:#?}", case.line));
        }
    }
    assert!(hastd.is_some(), "the cases with a daemon");
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// A command on node a of the captures: line, exit code, output.
struct Captured {
    line: String,
    code: i32,
    output: String,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/hast/control")
}

/// Those of them that talked to the daemon, in order.
fn captured() -> Vec<Captured> {
    let text = std::fs::read_to_string(folder().join("README")).unwrap();
    let mut found: Vec<Captured> = Vec::new();
    let mut wanted = false;
    for line in text.lines() {
        if let Some(printed) = line.strip_prefix("      | ") {
            if let Some(last) = found.last_mut().filter(|_| wanted) {
                last.output.extend([printed, "\n"]);
            }
            continue;
        }
        let command = line.strip_prefix("  nodea$ hastctl ");
        wanted = command.is_some_and(|c| {
            !c.starts_with("create") && !c.starts_with("dump") && !c.contains("bogus")
        });
        if let Some((line, code)) = command
            .filter(|_| wanted)
            .and_then(|c| c.split_once(" -> rc="))
        {
            found.push(Captured {
                line: line.trim().into(),
                code: code.parse().unwrap(),
                output: String::new(),
            });
        }
    }
    found
}

/// Base's bytes, in pieces, and what base's hastctl made of them.
#[test]
fn captured_answers_are_printed_as_base_printed_them() {
    let exchange = |n: usize, side| {
        let file = format!("control/{n:02}.{side}.bin");
        std::fs::read(folder().join(file)).unwrap()
    };
    let captured = captured();
    assert_eq!(captured.len(), 16);
    let node = Node::new();
    let number = Arc::new(AtomicUsize::new(0));
    let current = Arc::clone(&number);
    let hastd = node.hastd(move |request| {
        let n = current.load(Ordering::SeqCst);
        let question = exchange(n, "c2s");
        let base = ControlRequest::decode(&question[HEADER..])
            .unwrap()
            .unwrap();
        assert_eq!(request.command, base.command, "exchange {n}");
        assert_eq!(request.names, base.names, "exchange {n}");
        exchange(n, "s2c")
    });
    for (n, base) in (1..).zip(captured) {
        number.store(n, Ordering::SeqCst);
        let ours = node.run(&base.line);
        assert_eq!(ours.code(), base.code, "{}: {ours:?}", base.line);
        if let Some(warning) = base
            .output
            .strip_prefix("[WARNING] [nosuch] Received error 1")
        {
            assert!(!warning.is_empty() && ours.stdout.is_empty());
            assert!(
                ours.stderr
                    .starts_with("[WARNING] [nosuch] Received error 1 from hastd")
            );
            continue;
        }
        // The capture ends each output with an empty line.
        assert_eq!(
            ours.stdout,
            base.output.trim_end_matches("\n\n").to_owned()
                + if base.output.is_empty() { "" } else { "\n" },
            "{}",
            base.line
        );
        assert_eq!(ours.stderr.is_empty(), base.code == 0, "{ours:?}");
    }
    assert_eq!(hastd.asked().len(), 16);
}

/// spec/vectors-hast.md section 7.2b.
#[test]
fn a_primary_with_a_peer_is_listed_as_base_lists_it() {
    let node = Node::new();
    let hastd = node.hastd(|_| {
        let mut resource = status(
            Role::Primary,
            "/dev/da0",
            Some(WorkerStatus {
                status: "complete".into(),
                dirty: 4 << 20,
                extentsize: 2 << 20,
                keepdirty: 64,
                statistics: Statistics {
                    reads: 10,
                    writes: 20,
                    flushes: 3,
                    activemap_updates: 5,
                    idle_queue: 255,
                    ..Statistics::default()
                },
            }),
        );
        resource.name = "shared".into();
        if let Some(status) = &mut resource.status {
            status.provname = "shared".into();
            status.remoteaddr = "tcp4://10.0.0.2".into();
            status.sourceaddr = Some("tcp4://10.0.0.1".into());
            status.workerpid = 1234;
        }
        about(&resource)
    });
    assert_eq!(
        node.run("status").expect_code(0).stdout,
        "Name\tStatus\t Role\t\tComponents\n\
         shared\tcomplete primary        /dev/da0\ttcp4://10.0.0.2\n"
    );
    assert_eq!(
        node.run("list shared").expect_code(0).stdout,
        "shared:
  role: primary
  provname: shared
  localpath: /dev/da0
  extentsize: 2097152 (2.0MB)
  keepdirty: 64
  remoteaddr: tcp4://10.0.0.2
  sourceaddr: tcp4://10.0.0.1
  replication: memsync
  status: complete
  workerpid: 1234
  dirty: 4194304 (4.0MB)
  statistics:
    reads: 10
    writes: 20
    deletes: 0
    flushes: 3
    activemap updates: 5
    local errors: read: 0, write: 0, delete: 0, flush: 0
    queues: local: 0, send: 0, recv: 0, done: 0, idle: 255
"
    );
    assert_eq!(hastd.asked().len(), 2);
}

/// K26: base aborts on the first of these.
#[test]
fn a_daemon_without_resources_leaves_nothing_to_print() {
    for answer in [vec![2, 0, 0, 0, 0], refusal(ControlCode(0))] {
        let node = Node::new();
        let _hastd = node.hastd(move |_| answer.clone());
        for line in ["status", "list", "role init all"] {
            let ours = node.run(line).expect_code(0);
            assert_eq!((&*ours.stdout, &*ours.stderr), ("", ""), "{line}");
        }
    }
}

#[test]
fn errors_end_with_base_s_status_and_are_told_in_words() {
    let garbled = |_: &ControlRequest<'_>| vec![2, 3, 0, 0, 0, 1, 2, 3];
    let node = Node::new();
    let daemon = node.hastd(garbled);
    node.run("status").expect_code(69);
    drop(daemon);
    let daemon = node.hastd(|_| Vec::new());
    let ours = node.run("list").expect_code(69);
    assert!(ours.stderr.contains("without an answer"), "{ours:?}");
    drop(daemon);
    let daemon = node.hastd(|_| refusal(ControlCode::INVALID));
    let ours = node.run("role primary test").expect_code(70);
    assert!(ours.stderr.contains("(error 2): hastd finds"), "{ours:?}");
    drop(daemon);
    // K30: one that fails hides no other.
    let daemon = node.hastd(|_| {
        encode(&ControlReply {
            error: None,
            reason: None,
            resources: vec![
                ResourceReply {
                    name: "first".into(),
                    error: Some(ControlCode(60)),
                    reason: Some("its worker is silent".into()),
                    ..ResourceReply::default()
                },
                status(Role::Init, "/dev/da0", None),
            ],
        })
    });
    let ours = node.run("status").expect_code(60);
    assert!(
        ours.stdout.contains("first\tERR60\ntest\t-        init"),
        "{ours:?}"
    );
    assert_eq!(ours.stderr, "[ERROR] [first] its worker is silent.\n");
    drop(daemon);
    // Whoever has no configuration has no daemon.
    let ours = node.run("status -c missing.conf").expect_code(72);
    assert!(ours.stderr.contains("missing.conf"), "{ours:?}");
    node.sandbox.write("bad.conf", "resource {\n");
    let ours = node.run("status -c bad.conf").expect_code(78);
    assert!(ours.stderr.contains("bad.conf:1:10"), "{ours:?}");
}

/// As in `hastctl list | head -1`: nobody has anything to complain about.
#[test]
fn output_that_nobody_reads_is_no_panic() {
    let node = Node::new();
    let _hastd = node.hastd(|_| about(&status(Role::Init, "/dev/da0", None)));
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = node.sandbox.command("hastctl");
    let ended = command
        .args(arguments("list"))
        .stdout(writer)
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(74));
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
    let full = std::fs::File::options().write(true).open("/dev/full");
    let mut command = node.sandbox.command("hastctl");
    command.args(arguments("list")).stdout(full.unwrap());
    let ended = command
        .stderr(std::process::Stdio::piped())
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(74));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("Unable to write the output"));
}
