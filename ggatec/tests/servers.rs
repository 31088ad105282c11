//! ggatec against servers that die, change, lie, or are of FreeBSD 12.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod fake;

use fake::{MEDIUM, Server, Session};
use ggate::errno::WireErrno;
use ggate::range::Geometry;
use ggate::wire::{Command, Request};
use std::thread;
use testkit::nbd::{self, Client};
use testkit::process::{Running, Sandbox};

/// ggatec with a provider over the server's first session.
struct Imported {
    sandbox: Sandbox,
    ggatec: Running,
}

impl Imported {
    fn from(server: &Server, grant: impl FnOnce() -> Session) -> (Self, Session) {
        let sandbox = Sandbox::new();
        let port = server.port().to_string();
        let ggatec = sandbox.spawn(
            "ggatec",
            ["create", "-v", "-p", &port, "127.0.0.1", "/dev/md0"],
        );
        let session = grant();
        assert_eq!(session.initial.path.as_bytes(), b"/dev/md0");
        ggatec.wait_for_line("ggate0");
        (Self { sandbox, ggatec }, session)
    }

    fn client(&self) -> Client {
        Client::connect(&self.sandbox.run_dir().join("ggate0")).unwrap()
    }

    /// Does something with a client of the provider, at the same time as what
    /// follows.
    fn meanwhile<T: Send + 'static>(
        &self,
        work: impl FnOnce(Client) -> T + Send + 'static,
    ) -> thread::JoinHandle<T> {
        let client = self.client();
        thread::spawn(move || work(client))
    }
}

fn base() -> (Server, Imported, Session) {
    let server = Server::new();
    let (imported, session) = Imported::from(&server, || server.base_session(MEDIUM));
    (server, imported, session)
}

fn ours() -> (Server, Imported, Session) {
    let server = Server::new();
    let (imported, session) = Imported::from(&server, || server.our_session(1));
    (server, imported, session)
}

const SECTOR: [u8; 512] = [0x5a; 512];

/// NBD's error numbers.
const OK: u32 = 0;
const EIO: u32 = 5;

fn write_sector(client: &mut Client, offset: u64) -> u32 {
    client.write(offset, &SECTOR).unwrap()
}

fn flush(client: &mut Client) -> u32 {
    client.call(nbd::FLUSH, 0, 0, 0, &[]).unwrap().error
}

#[test]
fn what_was_not_answered_is_sent_again_with_its_number_and_data() {
    let (server, imported, mut session) = base();
    let write = imported.meanwhile(|mut client| write_sector(&mut client, 4096));
    let (first, _) = session.next();
    drop(session);
    let mut session = server.base_session(MEDIUM);
    let (again, payload) = session.next();
    assert_eq!(again, first);
    assert_eq!(payload, SECTOR);
    session.answer(again, None, &[]);
    assert_eq!(write.join().unwrap(), OK);
}

/// FreeBSD 12.1's ggated aborts on a FLUSH (wire specification, section 5).
#[test]
fn a_server_that_dies_of_flushes_is_not_sent_a_third() {
    let (server, imported, mut session) = base();
    let flushing = imported.meanwhile(|mut client| {
        let flushed = flush(&mut client);
        (client, flushed)
    });
    for _ in 0..2 {
        assert_eq!(session.next().0.command, Command::Flush);
        drop(session);
        session = server.base_session(MEDIUM);
    }
    let (mut client, flushed) = flushing.join().unwrap();
    assert_ne!(flushed, OK, "nobody can have flushed anything");
    assert_ne!(flush(&mut client), OK);
    let write = thread::spawn(move || write_sector(&mut client, 0));
    let (request, _) = session.next();
    assert_eq!(request.command, Command::Write, "no FLUSH any more");
    session.answer(request, None, &[]);
    assert_eq!(write.join().unwrap(), OK);
}

#[test]
fn a_server_that_has_flushed_before_may_die_in_a_flush_as_often_as_it_likes() {
    let (server, imported, mut session) = base();
    let flushing = imported.meanwhile(|mut client| flush(&mut client));
    let (request, _) = session.next();
    session.answer(request, None, &[]);
    assert_eq!(flushing.join().unwrap(), OK);
    let flushing = imported.meanwhile(|mut client| flush(&mut client));
    for _ in 0..3 {
        assert_eq!(session.next().0.command, Command::Flush);
        drop(session);
        session = server.base_session(MEDIUM);
    }
    let (request, _) = session.next();
    session.answer(request, None, &[]);
    assert_eq!(flushing.join().unwrap(), OK);
}

#[test]
fn a_smaller_medium_or_other_sectors_are_refused_and_nothing_is_lost() {
    let (server, imported, mut session) = base();
    let write = imported.meanwhile(|mut client| write_sector(&mut client, 0));
    let (first, _) = session.next();
    drop(session);
    let smaller = Geometry {
        media_size: MEDIUM.media_size - 512,
        ..MEDIUM
    };
    let other = Geometry {
        sector_size: 4096,
        ..MEDIUM
    };
    for wrong in [smaller, other] {
        let mut refused = server.base_session(wrong);
        let mut byte = [0];
        let end = std::io::Read::read(&mut refused.requests, &mut byte);
        assert!(matches!(end, Ok(0) | Err(_)), "the client hangs up");
        imported
            .ggatec
            .wait_for_line("Refusing the server's medium");
    }
    let mut session = server.base_session(MEDIUM);
    assert_eq!(session.next().0, first);
    session.answer(first, None, &[]);
    assert_eq!(write.join().unwrap(), OK);
}

#[test]
fn a_larger_medium_is_taken_at_its_old_size() {
    let (server, imported, session) = base();
    drop(session);
    let larger = Geometry {
        media_size: MEDIUM.media_size * 2,
        ..MEDIUM
    };
    let session = server.base_session(larger);
    imported.ggatec.wait_for_line("has grown");
    thread::spawn(|| session.please());
    assert_eq!(imported.client().export.size, MEDIUM.media_size);
}

/// A READ reply that is shorter than its request would make the kernel copy
/// old memory to the application (wire specification, section 16, row 20).
#[test]
fn replies_that_do_not_match_their_request_are_not_believed() {
    let lies: [fn(Request) -> Request; 4] = [
        |r| Request { length: 511, ..r },
        |r| Request { offset: 512, ..r },
        |r| Request {
            command: Command::Write,
            ..r
        },
        |r| Request {
            seq: ggate::gate::Seq(r.seq.0 + 1),
            ..r
        },
    ];
    let (server, imported, mut session) = base();
    let read = imported.meanwhile(|mut client| client.read(0, 512).unwrap());
    let mut first = None;
    for lie in lies {
        let (request, _) = session.next();
        assert_eq!(*first.get_or_insert(request), request);
        session.answer(lie(request), None, &[0xee; 512]);
        session = server.base_session(MEDIUM);
    }
    let (request, _) = session.next();
    session.answer(request, None, &SECTOR);
    assert_eq!(read.join().unwrap(), Ok(SECTOR.to_vec()));
}

#[test]
fn a_second_reply_to_one_request_ends_the_session() {
    let (server, imported, mut session) = base();
    let write = imported.meanwhile(|mut client| write_sector(&mut client, 0));
    let (request, _) = session.next();
    session.answer(request, None, &[]);
    session.answer(request, None, &[]);
    assert_eq!(write.join().unwrap(), OK);
    server.base_session(MEDIUM);
}

/// EAGAIN would make the kernel hand the request out again for ever, ENOMEM
/// would make it retry (wire specification, section 8).
#[test]
fn errors_that_make_kernels_retry_are_plain_errors() {
    let (_server, imported, mut session) = base();
    for number in [35, 11, 12, 98, 65535] {
        let read = imported.meanwhile(|mut client| client.read(0, 512).unwrap());
        let (request, _) = session.next();
        session.answer(request, WireErrno::new(number), &[]);
        assert_eq!(read.join().unwrap(), Err(EIO), "{number}");
    }
}

/// Acknowledged writes that the server's machine lost before a FLUSH (wire
/// specification, section 16, row 25).
#[test]
fn after_a_restart_of_the_server_one_flush_tells_of_what_may_be_lost() {
    let (server, imported, mut session) = ours();
    let write = imported.meanwhile(|mut client| write_sector(&mut client, 0));
    let (request, _) = session.next();
    session.answer(request, None, &[]);
    assert_eq!(write.join().unwrap(), OK);
    drop(session);
    let session = server.our_session(2);
    imported.ggatec.wait_for_line("may be gone");
    thread::spawn(|| session.please());
    let mut client = imported.client();
    assert_eq!(flush(&mut client), EIO);
    assert_eq!(flush(&mut client), OK);
}

#[test]
fn a_lost_link_to_the_same_run_of_the_server_loses_no_write() {
    let (server, imported, mut session) = ours();
    let write = imported.meanwhile(|mut client| write_sector(&mut client, 0));
    let (request, _) = session.next();
    session.answer(request, None, &[]);
    assert_eq!(write.join().unwrap(), OK);
    drop(session);
    let session = server.our_session(1);
    thread::spawn(|| session.please());
    assert_eq!(flush(&mut imported.client()), OK);
}

/// Nothing closes the connections, nothing answers: only silence tells.
#[test]
fn silence_of_our_server_ends_the_session_within_seconds() {
    let server = Server::new();
    let (imported, mut session) = Imported::from(&server, || server.our_silent_session(1));
    let write = imported.meanwhile(|mut client| write_sector(&mut client, 0));
    let (request, _) = session.next();
    let mut next = server.our_session(1);
    assert_eq!(next.next().0, request);
    next.answer(request, None, &[]);
    assert_eq!(write.join().unwrap(), OK);
    drop(session);
}

/// Clients of FreeBSD 12 send a DELETE as a write of stale memory (wire
/// specification, section 5).
#[test]
fn a_delete_is_not_sent() {
    let (_server, imported, mut session) = base();
    let trim = imported.meanwhile(|mut client| {
        let trimmed = client.call(nbd::TRIM, 0, 0, 4096, &[]).unwrap().error;
        (client, trimmed)
    });
    let (mut client, trimmed) = trim.join().unwrap();
    assert_ne!(trimmed, OK);
    let flushing = thread::spawn(move || flush(&mut client));
    let (request, _) = session.next();
    assert_eq!(request.command, Command::Flush);
    session.answer(request, None, &[]);
    assert_eq!(flushing.join().unwrap(), OK);
}
