use super::*;
use crate::frame::HEADER;
use proptest::prelude::*;
use std::string::String;

fn bytes(encode: impl FnOnce(&mut [u8]) -> Result<usize, Full>) -> Vec<u8> {
    let mut buffer = vec![0xaa; 1 << 16];
    let length = encode(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

fn entries(put: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    bytes(|buffer| {
        let mut writer = Writer::new(buffer, 0);
        put(&mut writer);
        writer.finish()
    })
}

/// spec/vectors-hast.md section 7.1, made by base.
#[test]
fn a_status_request_is_encoded_as_base_does() {
    let request = ControlRequest {
        command: Command::Status,
        names: Names::All,
        wishes: Wishes::default(),
    };
    assert_eq!(
        bytes(|b| request.encode(b)),
        b"\x02\x34\0\0\0\x02\x04\x01\0\0\0cmd\0\0\0\0\0\x02\0\0\0\0\0\0\0\
        \x11\x0a\x04\0\0\0resource0\0\0\0\0\0\0\0all\0\0\0\0\0"
    );
}

/// bsnmpd puts the resource first.
#[test]
fn the_order_of_entries_is_free() {
    let request = entries(|w| {
        w.put("resource0", "all").put("cmd", 2u8);
    });
    let request = ControlRequest::decode(&request).unwrap().unwrap();
    assert_eq!(request.names, Names::All);
    let request = entries(|w| {
        w.put("resource1", "b")
            .put("resource0", "a")
            .put("resource1", "c");
        w.put("resource3", "gap").put("resource02", "no number");
        w.put("cmd", 1u8).put("role", 2u8);
    });
    let request = ControlRequest::decode(&request).unwrap().unwrap();
    assert_eq!(request.command, Command::SetRole(Role::Primary));
    assert_eq!(request.names, Names::These(vec!["a".into(), "b".into()]));
}

#[test]
fn bad_requests_get_the_codes_of_base() {
    let answer = |put: fn(&mut Writer<'_>)| ControlRequest::decode(&entries(put)).map(Result::err);
    let cases: [(fn(&mut Writer<'_>), _); 7] = [
        (
            |w| {
                w.put("cmd", 2u8).put("resource0", "a");
            },
            None,
        ),
        (
            |w| {
                w.put("cmd", 2u8);
            },
            Some(ControlCode::INVALID),
        ),
        (
            |w| {
                w.put("cmd", 9u8).put("resource0", "a");
            },
            Some(ControlCode::UNKNOWN_COMMAND),
        ),
        (
            |w| {
                w.put("cmd", 1u8).put("resource0", "a");
            },
            Some(ControlCode::INVALID),
        ),
        (
            |w| {
                w.put("cmd", 1u8).put("role", 0u8).put("resource0", "a");
            },
            Some(ControlCode::INVALID),
        ),
        (
            |w| {
                w.put("cmd", 1u8).put("role", 4u8).put("resource0", "a");
            },
            Some(ControlCode::INVALID),
        ),
        (
            |w| {
                w.put("cmd", 1u8).put("role", 1i8).put("resource0", "a");
            },
            Some(ControlCode::INVALID),
        ),
    ];
    for (put, code) in cases {
        assert_eq!(answer(put), Ok(code));
    }
    assert!(
        answer(|w| {
            w.put("resource0", "a");
        })
        .is_err(),
        "closed without a word"
    );
    assert_eq!(
        answer(|w| {
            w.put("cmd", 0u8).put("resource0", "a");
        }),
        Err(MessageError::Value("cmd"))
    );
}

/// One small message must not make the daemon take gigabytes.
#[test]
fn a_number_does_not_decide_about_memory() {
    for number in ["4096", "4294967295", "18446744073709551615"] {
        let name = std::format!("resource{number}");
        let request = entries(|w| {
            w.put("cmd", 2u8).put(&name, "a");
        });
        let error = ControlRequest::decode(&request).unwrap_err();
        assert_eq!(error, MessageError::Value("resource"));
    }
    let request = entries(|w| {
        w.put("cmd", 2u8)
            .put("resource99999999999999999999", "no number");
    });
    assert_eq!(
        ControlRequest::decode(&request),
        Ok(Err(ControlCode::INVALID))
    );
}

/// spec/vectors-hast.md sections 7.4 to 7.6, made by base.
#[test]
fn replies_are_those_of_base() {
    let reply = ControlReply {
        error: None,
        reason: None,
        resources: vec![
            ResourceReply {
                name: "shared".into(),
                role: Some("init".into()),
                ..ResourceReply::default()
            },
            ResourceReply {
                name: "nosuch".into(),
                error: Some(ControlCode::NO_RESOURCE),
                ..ResourceReply::default()
            },
        ],
    };
    let message = bytes(|b| reply.encode(b));
    assert_eq!(
        message,
        b"\x02\x68\0\0\0\x11\x0a\x07\0\0\0resource0\0\0\0\0\0\0\0shared\0\0\
        \x11\x06\x05\0\0\0role0\0\0\0init\0\0\0\0\x11\x0a\x07\0\0\0resource1\0\0\0\0\0\0\0nosuch\0\0\
        \x03\x07\x02\0\0\0error1\0\0\x01\0\0\0\0\0\0\0"
    );
    assert_eq!(ControlReply::decode(&message[HEADER..]), Ok(reply));
    // Base's daemon without resources, on which base's hastctl aborts, and
    // what ours says instead.
    let empty = ControlReply {
        error: None,
        reason: None,
        resources: vec![],
    };
    assert_eq!(ControlReply::decode(&[]), Ok(empty.clone()));
    let ours = ControlReply {
        error: Some(ControlCode(0)),
        ..empty
    };
    assert!(bytes(|b| ours.encode(b)).len() > HEADER);
}

/// The reply of spec/vectors-hast.md section 7.2b.
fn connected_primary() -> ControlReply<'static> {
    ControlReply {
        error: None,
        reason: None,
        resources: vec![ResourceReply {
            name: "shared".into(),
            error: None,
            role: Some("primary".into()),
            status: Some(StatusReply {
                provname: "shared".into(),
                localpath: "/dev/da0".into(),
                remoteaddr: "tcp4://10.0.0.2".into(),
                sourceaddr: Some("tcp4://10.0.0.1".into()),
                replication: "memsync".into(),
                checksum: "none".into(),
                compression: "hole".into(),
                workerpid: 1234,
                worker: Some(WorkerStatus {
                    status: "complete".into(),
                    dirty: 4_194_304,
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
            }),
            ..ResourceReply::default()
        }],
    }
}

#[test]
fn a_whole_status_has_the_length_of_base() {
    let message = bytes(|b| connected_primary().encode(b));
    assert_eq!(message.len(), 933);
    let reply = ControlReply::decode(&message[HEADER..]).unwrap();
    assert_eq!(reply, connected_primary());
}

#[test]
fn what_the_daemon_left_out_reads_as_nothing() {
    let message = entries(|w| {
        w.put("resource0", "a")
            .put("provname0", "a")
            .put("status0", "complete");
        w.put("stat_read0", 3u64).put("stat_read0", 4u64);
    });
    let reply = ControlReply::decode(&message).unwrap();
    let status = reply.resources[0].status.unwrap();
    let worker = status.worker.unwrap();
    assert_eq!((status.workerpid, worker.dirty), (0, 0));
    assert_eq!(worker.statistics.reads, 3, "the first counts");
    let wrong = entries(|w| {
        w.put("resource0", "a").put("provname0", 1u8);
    });
    assert!(ControlReply::decode(&wrong).is_err());
}

/// Base's daemon takes neither for one of its own commands, nor base's hastctl
/// the added entries for anything.
#[test]
fn what_is_ours_goes_beside_what_is_base_s() {
    let request = ControlRequest {
        command: Command::Stop,
        names: Names::All,
        wishes: Wishes::default(),
    };
    let message = bytes(|b| request.encode(b));
    let [cmd] = pick(&message[HEADER..], ["cmd"]).unwrap();
    assert_eq!(cmd.get::<u8>(), Ok(STOP));
    assert_eq!(ControlRequest::decode(&message[HEADER..]), Ok(Ok(request)));

    let plain = connected_primary();
    let mut more = plain.clone();
    more.reason = Some("all of it".into());
    more.resources[0].report = Some("{}".into());
    more.resources[0].reason = Some("it is used".into());
    let (plain, message) = (bytes(|b| plain.encode(b)), bytes(|b| more.encode(b)));
    assert_eq!(ControlReply::decode(&message[HEADER..]), Ok(more));
    let ours = |entry: &crate::nv::Entry<'_>| entry.name().starts_with(b"hg_");
    let all = |message| Entries::new(message).map(Result::unwrap);
    let rest = all(&message[HEADER..]).filter(|entry| !ours(entry));
    assert!(rest.eq(all(&plain[HEADER..])));
}

fn commands() -> impl Strategy<Value = Command> {
    prop::sample::select(vec![
        Command::SetRole(Role::Init),
        Command::SetRole(Role::Primary),
        Command::SetRole(Role::Secondary),
        Command::Status,
        Command::Stop,
        Command::Check,
        Command::Resolve,
    ])
}

proptest! {
    #[test]
    fn requests_are_decoded_as_encoded(
        names in prop::collection::vec("[a-z]{1,20}", 1..30), command in commands(),
        (wait, if_closed, report) in any::<(bool, bool, bool)>(),
    ) {
        prop_assume!(names[0] != "all");
        let names = names.iter().map(String::as_str).map(Text::from).collect();
        let wishes = Wishes { wait, if_closed, report };
        let request = ControlRequest { command, names: Names::These(names), wishes };
        let message = bytes(|b| request.encode(b));
        prop_assert_eq!(ControlRequest::decode(&message[HEADER..]), Ok(Ok(request)));
    }

    #[test]
    fn any_bytes_are_decoded_or_refused(
        at in 0usize..928, byte: u8, noise in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let mut message = bytes(|b| connected_primary().encode(b));
        message[HEADER + at] = byte;
        let _ = ControlReply::decode(&message[HEADER..]);
        let _ = ControlRequest::decode(&message[HEADER..]);
        let _ = ControlReply::decode(&noise);
        let _ = ControlRequest::decode(&noise);
    }
}
