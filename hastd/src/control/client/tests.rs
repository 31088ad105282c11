//! Against a daemon that says what a test wants, with the bytes that base's
//! said.

use super::*;
use hast_core::message::Names;
use hast_core::role::Role;
use std::os::unix::net::UnixListener;
use std::thread::{self, JoinHandle};

/// Exchange `n` of the captured ones: question and answer.
fn exchange(n: u8) -> (Vec<u8>, Vec<u8>) {
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/hast/control/control");
    let read = |side| std::fs::read(folder.join(format!("{n:02}.{side}.bin"))).unwrap();
    (read("c2s"), read("s2c"))
}

/// A daemon for one connection. Gives the bytes of the question, which is
/// `asked` bytes long, and answers in pieces.
fn daemon(asked: usize, answer: Vec<u8>, piece: usize) -> (tempfile::TempDir, JoinHandle<Vec<u8>>) {
    let folder = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(folder.path().join("ctl")).unwrap();
    let thread = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut question = vec![0; asked];
        stream.read_exact(&mut question).unwrap();
        for piece in answer.chunks(piece) {
            // The client may have seen enough.
            if stream.write_all(piece).is_err() {
                break;
            }
        }
        question
    });
    (folder, thread)
}

fn ask(folder: &tempfile::TempDir, request: &ControlRequest<'_>) -> Result<Answer, ClientError> {
    let path = folder.path().join("ctl");
    Client::connect(&path)?.ask(request, || panic!("no answer for a long time"))
}

fn request<'a>(command: Command, names: &[&'a str]) -> ControlRequest<'a> {
    ControlRequest {
        command,
        names: match names {
            ["all"] => Names::All,
            names => Names::These(names.iter().map(|name| Text::from(*name)).collect()),
        },
        wishes: hast_core::message::Wishes::default(),
    }
}

/// What was asked, in the order of the captures.
fn questions() -> [(Command, &'static [&'static str]); 16] {
    let set = Command::SetRole;
    let status = Command::Status;
    [
        (status, &["all"]),
        (status, &["all"]),
        (set(Role::Secondary), &["test"]),
        (status, &["all"]),
        (status, &["all"]),
        (set(Role::Init), &["all"]),
        (set(Role::Primary), &["test"]),
        (status, &["test"]),
        (status, &["test"]),
        (set(Role::Primary), &["test"]),
        (status, &["nosuch"]),
        (status, &["nosuch", "test"]),
        (set(Role::Init), &["nosuch"]),
        (status, &["all"]),
        (status, &["all"]),
        (set(Role::Init), &["test"]),
    ]
}

#[test]
fn base_s_daemon_is_understood_in_any_pieces() {
    for (n, (command, names)) in (1..).zip(questions()) {
        let (question, answer) = exchange(n);
        for piece in [1, 3, 7, answer.len()] {
            let (folder, daemon) = daemon(question.len(), answer.clone(), piece);
            let got = ask(&folder, &request(command, names)).unwrap();
            assert_eq!(got.entries, answer[HEADER..], "exchange {n}");
            let reply = got.read().unwrap();
            assert_eq!(reply.error, None, "exchange {n}");
            for (resource, name) in reply.resources.iter().zip(names) {
                let wanted = if *name == "all" { "test" } else { name };
                assert_eq!(resource.name, Text::from(wanted), "exchange {n}");
                let fails = wanted == "nosuch";
                let error = fails.then_some(ControlCode::NO_RESOURCE);
                assert_eq!(resource.error, error, "exchange {n}");
                let told = command == Command::Status && !fails;
                assert_eq!(resource.status.is_some(), told, "exchange {n}");
            }
            assert_eq!(reply.resources.len(), names.len(), "exchange {n}");
            // Base leaves memory behind names, so only what it means counts.
            let ours = daemon.join().unwrap();
            assert_eq!(ours[..HEADER], question[..HEADER], "exchange {n}");
            assert_eq!(
                ControlRequest::decode(&ours[HEADER..]),
                ControlRequest::decode(&question[HEADER..]),
                "exchange {n}"
            );
        }
    }
}

/// K26: base's hastctl aborts.
#[test]
fn an_empty_answer_is_one_without_resources() {
    let (folder, _daemon) = daemon(5, vec![2, 0, 0, 0, 0], 1);
    let answer = ask(&folder, &request(Command::Status, &["all"])).unwrap();
    assert!(answer.read().unwrap().resources.is_empty());
}

#[test]
fn what_is_no_answer_is_an_error_that_ends_with_base_s_status() {
    let status = request(Command::Status, &["all"]);
    for (answer, wanted) in [
        (vec![], "without an answer"),
        (vec![2, 9, 0, 0], "without an answer"),
        (vec![2, 9, 0, 0, 0, 1], "without an answer"),
        (vec![2, 0, 0, 0, 2], "more than"),
        (vec![9, 0, 0, 0, 0], "protocol version 9"),
    ] {
        let (folder, _daemon) = daemon(5, answer, 1);
        let error = ask(&folder, &status).unwrap_err();
        assert!(error.to_string().contains(wanted), "{error}");
        assert_eq!(error.exit_code(), 69);
    }
    let (folder, _daemon) = daemon(5, vec![2, 3, 0, 0, 0, 1, 2, 3], 2);
    let answer = ask(&folder, &status).unwrap();
    let error = answer.read().unwrap_err();
    assert_eq!(error.exit_code(), 69);
}

#[test]
fn who_cannot_connect_is_told_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let status = request(Command::Status, &["all"]);
    let error = ask(&folder, &status).unwrap_err();
    assert_eq!(error.exit_code(), 71);
    assert!(error.to_string().contains("Does hastd run"), "{error}");
    drop(UnixListener::bind(folder.path().join("ctl")).unwrap());
    let error = ask(&folder, &status).unwrap_err();
    assert!(error.to_string().contains("left over"), "{error}");
    let long = Path::new("/x").join("y".repeat(200));
    let error = Client::connect(&long).unwrap_err();
    assert!(error.to_string().contains("`control`"), "{error}");
}

#[test]
fn what_no_daemon_would_read_is_not_sent() {
    let name = "x".repeat(100);
    let names = vec![Text::from(name.as_str()); 4000];
    let mut request = request(Command::Status, &["all"]);
    request.names = Names::These(names);
    assert!(matches!(encode(&request), Err(ClientError::TooLong)));
}

#[test]
fn codes_are_explained_by_the_daemon_or_by_us() {
    let words = |code| explain(ControlCode(code), None);
    assert!(words(1).starts_with("there is no such resource"));
    assert_eq!(words(5), "Input/output error");
    assert_eq!(words(66), "FreeBSD error 66");
    assert_eq!(words(-3), "error -3");
    let reason = Some(Text::from("the provider is \x1b[open"));
    assert_eq!(explain(ControlCode(16), reason), "the provider is ?[open");
}
