//! The other node: handshakes, refusals, and a pair that works.

use crate::node::{Hastd, Node};
use hast_core::frame::{Decoder, Event, NODE_LIMIT};
use hast_core::message::{Command, Extensions, Step1Reply, Step1Request, Step2Reply, Step2Request};
use hast_core::metadata::Consistency;
use hast_core::nv::Text;
use hast_core::role::Role;
use hast_core::units::{Counters, ResUid, Token, Version};
use std::io::{Read, Write as _};
use std::net::TcpStream;
use std::path::Path;
use testkit::process::{DEADLINE, wait_for};

const HERE: &str = "tcp4://127.0.0.1";

fn connect(hastd: &Hastd) -> TcpStream {
    let address = hastd.node.address.strip_prefix("tcp4://").unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream
}

/// The entries of the next message.
fn receive(stream: &mut impl Read) -> Vec<u8> {
    let mut decoder = Decoder::new(NODE_LIMIT);
    loop {
        let mut byte = [0];
        assert_eq!(
            stream.read(&mut byte).unwrap(),
            1,
            "closed without a message"
        );
        if let Some(Event::Message(entries)) = decoder.next(&byte).unwrap().1 {
            return entries.to_vec();
        }
    }
}

fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0]), Ok(0) | Err(_))
}

fn first_message(resource: &str, version: u8) -> Vec<u8> {
    let request = Step1Request {
        resource: resource.into(),
        version,
        extensions: Extensions::NONE,
    };
    let mut bytes = vec![0; 512];
    let length = request.encode(&mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

fn first_step(hastd: &Hastd, resource: &str, version: u8) -> (TcpStream, Vec<u8>) {
    let mut stream = connect(hastd);
    stream.write_all(&first_message(resource, version)).unwrap();
    let answer = receive(&mut stream);
    (stream, answer)
}

fn token(answer: &[u8]) -> Token {
    match Step1Reply::decode(answer).unwrap() {
        Step1Reply::Accepted { token, .. } => token,
        Step1Reply::Refused { reason, .. } => panic!("{reason}"),
    }
}

fn refusal(answer: &[u8]) -> (String, bool) {
    match Step1Reply::decode(answer).unwrap() {
        Step1Reply::Refused { reason, wait } => (reason.to_string(), wait),
        Step1Reply::Accepted { .. } => panic!("accepted"),
    }
}

fn second_step(hastd: &Hastd, token: Token) -> TcpStream {
    let mut stream = connect(hastd);
    let request = Step2Request {
        resource: "data".into(),
        token,
        virgin: true,
        resuid: ResUid::new(7).unwrap(),
        counters: Counters::default(),
        generation: None,
        consistency: Consistency::default(),
        dirty: None,
    };
    let mut bytes = [0; 512];
    let length = request.encode(Version::V2, &mut bytes).unwrap();
    stream.write_all(&bytes[..length]).unwrap();
    stream
}

fn secondary() -> Hastd {
    let hastd = Node::new().with("data", HERE).start();
    hastd.role_ready(Role::Secondary, "data");
    hastd
}

#[test]
fn a_primary_is_let_in_by_its_two_steps() {
    let hastd = secondary();
    for (announced, spoken) in [(0, 1), (1, 1), (2, 2), (3, 2), (255, 2)] {
        let (mut requests, answer) = first_step(&hastd, "data", announced);
        let Ok(Step1Reply::Accepted { version, .. }) = Step1Reply::decode(&answer) else {
            panic!("accepted");
        };
        assert_eq!(version.to_byte(), spoken);
        let _replies = second_step(&hastd, token(&answer));
        let answer = receive(&mut requests);
        let answer = Step2Reply::decode(&answer).unwrap();
        assert!(matches!(answer, Step2Reply::Accepted { .. }), "{answer:?}");
        wait_for("the connection to be shown", || {
            (hastd.status("data").status == "complete").then_some(())
        });
        assert_ne!(hastd.status("data").workerpid, 0);
    }
    hastd.wait_for_line("Remote protocol version 255 is not supported, falling back to version 2.");
}

/// K41: base takes a token of zeros, and one that was used.
#[test]
fn a_token_is_good_once_and_only_its_own() {
    let hastd = secondary();
    let zeros = Token([0; Token::LEN]);
    let refused = ("Token doesn't match.".to_owned(), false);
    assert_eq!(refusal(&receive(&mut second_step(&hastd, zeros))), refused);

    let (mut requests, answer) = first_step(&hastd, "data", 2);
    let good = token(&answer);
    let _replies = second_step(&hastd, good);
    receive(&mut requests);
    wait_for_status(&hastd, "complete");
    assert_eq!(refusal(&receive(&mut second_step(&hastd, good))), refused);
    assert_eq!(
        hastd.status("data").status,
        "complete",
        "nothing has happened to it"
    );

    // A primary reads on its first connection, so it is told there, too.
    let (mut requests, _) = first_step(&hastd, "data", 2);
    assert_eq!(refusal(&receive(&mut second_step(&hastd, zeros))), refused);
    assert_eq!(refusal(&receive(&mut requests)), refused);
    assert!(is_closed(&mut requests));

    // The token of an attempt that was given up spoils nothing.
    let (mut given_up, old) = first_step(&hastd, "data", 2);
    let (mut requests, new) = first_step(&hastd, "data", 2);
    assert!(is_closed(&mut given_up));
    let late = &mut second_step(&hastd, token(&old));
    assert_eq!(refusal(&receive(late)), refused);
    let _replies = second_step(&hastd, token(&new));
    receive(&mut requests);
}

/// Base's bytes, but for what pads its names.
#[test]
fn refusals_are_base_s() {
    let vectors = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/hast");
    let hastd = Node::new().with("test", HERE).start();
    let replay = |case: &str| {
        let folder = vectors.join(case).join("tcp-a2b");
        let mut stream = connect(&hastd);
        let request = std::fs::read(folder.join("01.c2s.bin")).unwrap();
        for piece in request.chunks(5) {
            stream.write_all(piece).unwrap();
        }
        let base = std::fs::read(folder.join("01.s2c.bin")).unwrap();
        assert_eq!(refusal(&receive(&mut stream)), refusal(&base[5..]));
        assert!(is_closed(&mut stream));
    };
    replay("remote-not-secondary");
    hastd.wait_for_line("[WARNING] [test] (init) We act as init for the resource and not as");
    let (_, answer) = first_step(&hastd, "nosuch", 2);
    assert_eq!(refusal(&answer).0, "Resource not configured.");
    hastd.role_ready(Role::Primary, "test");
    let (_, answer) = first_step(&hastd, "test", 2);
    let reason = "Remote node acts as primary for the resource and not as secondary.";
    assert_eq!(refusal(&answer), (reason.into(), true), "to be asked again");
    drop(hastd);

    let hastd = Node::new().with("other", HERE).start();
    let folder = vectors.join("resource-not-configured/tcp-a2b");
    let mut stream = connect(&hastd);
    let request = std::fs::read(folder.join("01.c2s.bin")).unwrap();
    stream.write_all(&request).unwrap();
    let base = std::fs::read(folder.join("01.s2c.bin")).unwrap();
    assert_eq!(refusal(&receive(&mut stream)), refusal(&base[5..]));
    hastd.wait_for_line("[ERROR] No resource 'test' as requested by tcp://127.0.0.1:");
}

#[test]
fn who_is_no_remote_is_not_even_listened_to() {
    let hastd = Node::new().with("data", "tcp4://10.1.2.3").start();
    let mut stream = connect(&hastd);
    assert!(is_closed(&mut stream));
    hastd.wait_for_line("turned away: it is not the `remote` of any resource.");

    // One that may ask for another resource is told so.
    let node = Node::new()
        .with("data", "tcp4://10.1.2.3")
        .with("other", HERE);
    let hastd = node.start();
    hastd.role_ready(Role::Secondary, "data");
    let (_, answer) = first_step(&hastd, "data", 2);
    assert_eq!(
        refusal(&answer),
        ("No access to the resource.".into(), false)
    );
}

#[test]
fn who_becomes_something_else_tells_the_caller() {
    let hastd = secondary();
    let (mut requests, _) = first_step(&hastd, "data", 2);
    hastd.role(Role::Init, "data");
    let reason = "Remote node acts as init for the resource and not as secondary.";
    assert_eq!(refusal(&receive(&mut requests)), (reason.into(), false));
}

#[test]
fn a_name_that_is_no_text_is_shown_as_what_it_is_not() {
    let hastd = secondary();
    let mut stream = connect(&hastd);
    let request = Step1Request {
        resource: Text(b"da\nta\x1b[2J\xff"),
        version: 2,
        extensions: Extensions::NONE,
    };
    let mut bytes = [0; 512];
    let length = request.encode(&mut bytes).unwrap();
    stream.write_all(&bytes[..length]).unwrap();
    receive(&mut stream);
    hastd.wait_for_line("No resource 'da?ta?[2J\u{fffd}' as requested");
}

/// Two nodes.
fn pair() -> (Hastd, Hastd) {
    let (a, b) = (Node::new(), Node::new());
    let (to_a, to_b) = (a.address.clone(), b.address.clone());
    let hook = |node: &Node| {
        let script = "#!/bin/sh\necho \"$@\" >>$(dirname $0)/events\n";
        let path = node.sandbox.write("hook", script);
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
        std::fs::set_permissions(&path, mode).unwrap();
        format!("exec {}\ntimeout 5\n", path.display())
    };
    let (hook_a, hook_b) = (hook(&a), hook(&b));
    let mut a = a.with("data", &to_b).settings(&hook_a);
    a.resources[0].1.push_str("source tcp4://127.0.0.1\n");
    let b = b.with("data", &to_a).settings(&hook_b);
    (a.start(), b.start())
}

/// Waits until the hook was told this, in this order.
fn wait_for_events(hastd: &Hastd, events: &[&str]) {
    let path = hastd.node.sandbox.file("events");
    wait_for(&format!("the events {events:?}"), || {
        let told = std::fs::read_to_string(&path).unwrap_or_default();
        let told: Vec<&str> = told.lines().collect();
        (told == events).then_some(())
    });
}

fn wait_for_status(hastd: &Hastd, status: &str) {
    wait_for(status, || {
        (hastd.status("data").status == status).then_some(())
    });
}

#[test]
fn two_nodes_are_a_pair() {
    let (a, b) = pair();
    b.role_ready(Role::Secondary, "data");
    a.role_ready(Role::Primary, "data");
    wait_for_status(&a, "complete");
    wait_for_status(&b, "complete");
    #[cfg(target_os = "linux")]
    {
        let title = || std::fs::read(format!("/proc/{}/cmdline", b.worker("data"))).unwrap();
        wait_for("the title of a connected secondary", || {
            title()
                .starts_with(b"hastd: data (secondary)\0")
                .then_some(())
        });
    }
    wait_for_events(&a, &["role data init primary", "connect data"]);
    wait_for_events(&b, &["role data init secondary", "connect data"]);

    // The roles change sides.
    a.role_ready(Role::Secondary, "data");
    wait_for_status(&b, "");
    b.role_ready(Role::Primary, "data");
    wait_for_status(&b, "complete");
    wait_for_events(
        &b,
        &[
            "role data init secondary",
            "connect data",
            "disconnect data",
            "role data secondary primary",
            "connect data",
        ],
    );
    a.terminate().expect_code(0);
    wait_for_status(&b, "degraded");
}

#[test]
fn two_primaries_are_told_of_each_other() {
    let (a, b) = pair();
    b.role_ready(Role::Primary, "data");
    a.role_ready(Role::Primary, "data");
    a.wait_for_line("is primary itself");
    assert_eq!(a.status("data").status, "degraded");
}

#[test]
fn whether_the_other_node_agrees_can_be_asked() {
    let (a, b) = pair();
    let wishes = hast_core::message::Wishes {
        report: true,
        ..crate::node::PLAIN
    };
    let check = || a.ask(Command::Check, &["data"], wishes).remove(0).report;
    assert!(check().contains("neither node is primary"));
    b.role_ready(Role::Secondary, "data");
    a.role_ready(Role::Primary, "data");
    wait_for_status(&a, "complete");
    let found = check();
    assert!(
        found.contains("both nodes agree about their roles"),
        "{found}"
    );
    // The pair did not notice. Hooks take their time.
    let told = testkit::process::wait_for("the hook", || {
        let told = std::fs::read_to_string(b.node.sandbox.file("events")).ok()?;
        told.contains("connect data").then_some(told)
    });
    assert_eq!(told.matches("connect data").count(), 1, "{told}");
    assert_eq!(b.status("data").status, "complete");
    b.terminate();
    assert!(check().contains("the other node cannot be reached"));

    // One that looks for this node elsewhere.
    let stranger = Node::new()
        .with("data", "tcp4://10.1.2.3")
        .with("other", HERE)
        .start();
    let mut asking = Node::new();
    asking = asking
        .with("data", &stranger.node.address)
        .with("alone", "none");
    let asking = asking.start();
    let found = asking.ask(Command::Check, &["data", "alone"], wishes);
    assert!(
        found[0]
            .report
            .contains("the other node refuses: No access"),
        "{found:?}"
    );
    assert_eq!(found[1].report, "[]");
}

/// Base's daemon dies of the first connection to such a `listen` (K33).
#[test]
fn a_unix_socket_lets_in_who_may_open_it() {
    let node = Node::new();
    let path = node.sandbox.file("peer");
    let node = node
        .with("here", "uds:///another/socket")
        .with("elsewhere", HERE)
        .settings(&format!("listen uds://{}\n", path.display()));
    let hastd = node.start();
    hastd.role_ready(Role::Secondary, "here");
    hastd.role_ready(Role::Secondary, "elsewhere");
    for (resource, accepted) in [("here", true), ("elsewhere", false)] {
        let mut stream = std::os::unix::net::UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(&first_message(resource, 2)).unwrap();
        let answer = receive(&mut stream);
        let answer = Step1Reply::decode(&answer).unwrap();
        let was_accepted = matches!(answer, Step1Reply::Accepted { .. });
        assert_eq!(was_accepted, accepted, "{answer:?}");
    }
}
