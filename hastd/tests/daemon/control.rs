//! The control socket as base's programs and strange ones use it.

use crate::node::{Hastd, Node, PLAIN, answer, nowhere, parts, request};
use hast_core::message::{Command, ControlReply};
use hast_core::nv::{Entries, Type};
use hast_core::role::Role;
use std::io::Write as _;
use std::net::Shutdown;
use std::path::Path;

/// What hastctl sent, in `tests/vectors/hast/control`.
fn captured(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/hast/control");
    std::fs::read(folder.join("control").join(name)).unwrap()
}

/// Name and type of each entry, and the value where it does not depend on the
/// machine.
fn shape(entries: &[u8]) -> Vec<(String, Type, Option<Vec<u8>>)> {
    let varies = [
        "provname",
        "localpath",
        "remoteaddr",
        "workerpid",
        "stat_",
        "dirty",
    ];
    let entries = Entries::new(entries).map(|entry| {
        let entry = entry.unwrap();
        let name = String::from_utf8(entry.name().to_vec()).unwrap();
        let varies = varies.iter().any(|stem| name.starts_with(stem)) || name.contains("queue");
        let value = (!varies).then(|| entry.data().to_vec());
        (name, entry.kind(), value)
    });
    entries.collect()
}

/// A captured request, sent in pieces, and that the answer has base's entries
/// in base's order.
fn replay(hastd: &Hastd, number: &str) -> Vec<u8> {
    let mut stream = hastd.connect();
    for piece in captured(&format!("{number}.c2s.bin")).chunks(7) {
        stream.write_all(piece).unwrap();
    }
    let ours = answer(&mut stream);
    let base = captured(&format!("{number}.s2c.bin"));
    assert_eq!(shape(&ours), shape(&base[5..]), "exchange {number}");
    ours
}

/// The exchanges of the capture, in its order and in its states.
#[test]
fn captured_exchanges_have_base_s_entries() {
    let other = nowhere();
    let mut node = Node::new()
        .with("test", &other)
        .settings("replication fullsync");
    node.resources[0].1.push_str("source tcp4://127.0.0.1\n");
    let hastd = node.start();
    for number in ["01", "02", "03", "04", "05", "06", "07"] {
        replay(&hastd, number);
    }
    // 08, 09 and 12 are of a primary with a peer, 14 and 15 of one without.
    for number in ["10", "11", "13", "14", "15", "16"] {
        let answer = replay(&hastd, number);
        let parts = parts(&answer);
        let test = parts.iter().find(|part| !part.role.is_empty());
        match number {
            "11" | "13" => assert_eq!(parts[0].error, 1),
            "14" => assert_eq!(test.unwrap().status, "degraded"),
            _ => assert_eq!(test.unwrap().role, "primary"),
        }
    }
    // Of a resource in role init: base's answer to nobody who asks for all.
    let hastd = Node::new().start();
    let mut stream = hastd.connect();
    stream.write_all(&captured("01.c2s.bin")).unwrap();
    let entries = answer(&mut stream);
    let reply = ControlReply::decode(&entries).unwrap();
    assert!(!entries.is_empty() && reply.resources.is_empty(), "K26");
}

#[test]
fn several_resources_are_answered_in_the_order_asked() {
    let hastd = Node::new().with("a", "none").with("b", "none").start();
    let all = hastd.ask(Command::SetRole(Role::Secondary), &["all"], PLAIN);
    assert_eq!(all.len(), 2);
    let asked = hastd.ask(Command::Status, &["b", "nosuch", "a", "b"], PLAIN);
    let roles: Vec<&str> = asked.iter().map(|part| &*part.role).collect();
    assert_eq!(roles, ["secondary", "", "secondary", "secondary"]);
    assert_eq!(asked[1].error, 1);
    assert!(asked[1].reason.is_empty(), "base's programs did not ask");
}

#[test]
fn what_is_no_request_closes_the_connection_or_gets_base_s_code() {
    let hastd = Node::new().with("data", "none").start();
    // Without `cmd`, and nothing at all.
    for bytes in [
        &b"\x02\0\0\0\0"[..],
        b"",
        b"\x02",
        b"\xff\xff\xff\xff\xff\xff",
    ] {
        let mut stream = hastd.connect();
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = Vec::new();
        // A reset is fine, too.
        let _ = std::io::Read::read_to_end(&mut stream, &mut answer);
        assert!(answer.is_empty());
    }
    // Command 9, which base does not know either.
    let mut bytes = request(Command::Status, &["data"], PLAIN);
    let at = bytes.iter().rposition(|byte| *byte == 2).unwrap();
    let at = bytes[..=at].windows(3).position(|w| w == b"cmd").unwrap() + 8;
    bytes[at] = 9;
    let mut stream = hastd.connect();
    stream.write_all(&bytes).unwrap();
    let entries = answer(&mut stream);
    let reply = ControlReply::decode(&entries).unwrap();
    assert_eq!(reply.error.map(|code| code.0), Some(4));
    assert_eq!(hastd.status("data").role, "init");
}

#[test]
fn who_leaves_before_the_answer_harms_nobody() {
    let hastd = Node::new().with("data", &nowhere()).start();
    for role in [Role::Primary, Role::Secondary, Role::Primary, Role::Init] {
        let mut stream = hastd.connect();
        let bytes = request(Command::SetRole(role), &["data"], PLAIN);
        stream.write_all(&bytes).unwrap();
    }
    // Carried out all the same, one after the other.
    assert_eq!(hastd.role(Role::Init, "data").role, "init");
}
