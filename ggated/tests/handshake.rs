//! Handshakes of a whole ggated: who gets in, how, and what strangers can do.

#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use common::{
    connect, greet, greet_extended, is_closed, make_file, receive, request, simple, start,
};
use ggate::errno::WireErrno;
use ggate::gate::Access;
use ggate::wire::{Direction, InstanceId, ServerInitial, Version};
use std::io::Write as _;
use testkit::process::Sandbox;

const VERSION: &[u8; 20] = b"GEOM_GATE       \0\0\0\0";

/// Byte by byte what the specification says, without our own codec.
#[test]
fn the_bytes_of_a_base_client() {
    let server = simple();
    let path = server.sandbox.file("disk");
    let mut initial = [0xaa; 1039];
    let bytes = path.to_str().unwrap().as_bytes();
    initial[..bytes.len()].copy_from_slice(bytes);
    initial[bytes.len()] = 0;
    for direction in [4, 8] {
        let mut stream = server.connect();
        stream.write_all(VERSION).unwrap();
        assert_eq!(receive::<20>(&mut stream), *VERSION);
        initial[1025..].copy_from_slice(&[0, 0, 0, 0, 0, 0, 0, direction, 0, 2, 1, 2, 3, 4]);
        stream.write_all(&initial).unwrap();
        let answer = receive::<15>(&mut stream);
        assert_eq!(answer, [0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 2, 0, 0, 0]);
        if direction == 4 {
            // Keep it open until the session begins.
            std::mem::forget(stream);
        }
    }
    server.running.wait_for_line("session begins");
}

#[test]
fn the_connections_come_in_either_order() {
    let server = simple();
    for (token, order) in [
        (1, [Direction::Send, Direction::Recv]),
        (2, [Direction::Recv, Direction::Send]),
    ] {
        let mut streams = order.map(|direction| {
            let initial = server.initial(Access::ReadOnly, direction, token);
            let (stream, answer) = greet(server.connect(), &initial);
            assert!(answer.result.is_ok());
            (direction, stream)
        });
        streams.sort_by_key(|(direction, _)| *direction == Direction::Recv);
        let [(_, replies), (_, requests)] = streams;
        let mut client = common::Client { replies, requests };
        assert_eq!(client.ask(request(0, 0, 512, 7), &[]), (0, vec![0; 512]));
    }
}

#[test]
fn what_is_not_the_protocol_gets_no_answer() {
    let server = simple();
    let mut newer = *VERSION;
    newer[17] = 1;
    for bytes in [&newer[..], b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        let mut stream = server.connect();
        stream.write_all(bytes).unwrap();
        assert!(is_closed(&mut stream));
    }
}

/// 12.1's server read one handshake at a time: who connected and said nothing
/// kept everybody out.
#[test]
fn an_idle_connection_holds_up_nobody() {
    let server = simple();
    let idle: Vec<_> = (0..5).map(|_| server.connect()).collect();
    let mut half = server.connect();
    half.write_all(&VERSION[..10]).unwrap();
    let mut client = server.session(Access::ReadWrite, 1);
    assert_eq!(client.ask(request(0, 0, 512, 1), &[]).0, 0);
    drop(idle);
}

#[test]
fn a_flood_of_silent_connections_drops_its_own_oldest() {
    let server = simple();
    let mut flood: Vec<_> = (0..100).map(|_| server.connect()).collect();
    assert!(is_closed(&mut flood[0]));
    let mut client = server.session(Access::ReadWrite, 1);
    assert_eq!(client.ask(request(0, 0, 512, 1), &[]).0, 0);
}

#[test]
fn a_flood_of_half_open_sessions_drops_its_own_oldest() {
    let server = simple();
    let mut flood: Vec<_> = (0..100)
        .map(|token| {
            let initial = server.initial(Access::ReadOnly, Direction::Send, 1000 + token);
            greet(server.connect(), &initial).0
        })
        .collect();
    assert!(is_closed(&mut flood[0]));
    let mut client = server.session(Access::ReadWrite, 1);
    assert_eq!(client.ask(request(0, 0, 512, 1), &[]).0, 0);
}

#[test]
fn access_as_in_base_s_table() {
    use Access::{ReadOnly, ReadWrite, WriteOnly};
    let sandbox = Sandbox::new();
    for name in ["ro", "wo", "rw"] {
        make_file(&sandbox, name, 4096);
    }
    let server = start(
        sandbox,
        "127.0.0.1 RO DIR/ro\n127.0.0.1 WO DIR/wo\n127.0.0.0/8 RW DIR/rw\n",
    );
    let mut token = 0;
    for (name, allowed) in [
        ("ro", &[ReadOnly][..]),
        ("wo", &[WriteOnly]),
        ("rw", &[ReadOnly, WriteOnly, ReadWrite]),
    ] {
        for access in [ReadOnly, WriteOnly, ReadWrite] {
            token += 1;
            let initial = server.initial_for(name, access, Direction::Send, token);
            let (_, answer) = greet(server.connect(), &initial);
            let expected = allowed.contains(&access);
            assert_eq!(answer.result.is_ok(), expected, "{access:?} of {name}");
            assert!(expected || answer.result == Err(error(1)));
        }
    }
}

fn error(number: u16) -> WireErrno {
    WireErrno::new(number).unwrap()
}

#[test]
fn what_cannot_be_served_is_an_error_and_not_the_end() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.file("dir")).unwrap();
    nix::unistd::mkfifo(&sandbox.file("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
    make_file(&sandbox, "empty", 0);
    let exports = ["dir", "fifo", "missing", "empty"].map(|n| format!("127.0.0.1 RW DIR/{n}\n"));
    let foreign = "10.0.0.0/8 RW DIR/foreign\n127.0.0.1 RW /dev/null\n";
    let server = start(sandbox, &(exports.concat() + foreign));
    let answer = |name, token| {
        let initial = server.initial_for(name, Access::ReadWrite, Direction::Send, token);
        greet(server.connect(), &initial).1.result
    };
    assert_eq!(answer("dir", 1), Err(error(21)));
    assert_eq!(answer("fifo", 2), Err(error(15)));
    assert_eq!(answer("missing", 3), Err(error(2)));
    assert_eq!(answer("foreign", 4), Err(error(1)));
    assert_eq!(answer("/dev/null", 5), Err(error(15)));
    let empty = answer("empty", 6).unwrap();
    assert_eq!((empty.media_size, empty.sector_size), (0, 512));
}

#[test]
fn the_second_connection_must_fit_the_first() {
    let sandbox = common::sandbox_with_disk(1 << 20);
    make_file(&sandbox, "other", 512);
    let server = start(sandbox, "127.0.0.1 RW DIR/disk\n127.0.0.1 RW DIR/other\n");
    let first = server.initial(Access::ReadWrite, Direction::Send, 9);
    let (replies, answer) = greet(server.connect(), &first);
    assert!(answer.result.is_ok());
    for wrong in [
        server.initial_for("other", Access::ReadWrite, Direction::Recv, 9),
        server.initial(Access::ReadOnly, Direction::Recv, 9),
        server.initial(Access::ReadWrite, Direction::Send, 9),
    ] {
        let (_, answer) = greet(server.connect(), &wrong);
        assert_eq!(answer.result, Err(error(1)), "{wrong:?}");
    }
    // The first one still gets its partner.
    let second = server.initial(Access::ReadWrite, Direction::Recv, 9);
    let (requests, answer) = greet(server.connect(), &second);
    assert!(answer.result.is_ok());
    let mut client = common::Client { replies, requests };
    assert_eq!(client.ask(request(0, 0, 512, 1), &[]).0, 0);
}

#[test]
fn two_of_ours_exchange_hellos_also_with_an_error() {
    let server = simple();
    let id = InstanceId([7; 16]);
    let initial = server.initial(Access::ReadOnly, Direction::Send, 1);
    let (_first, answer, boot) = greet_extended(server.connect(), &initial, id);
    assert!(answer.result.is_ok());
    let missing = server.initial_for("nothing", Access::ReadOnly, Direction::Send, 2);
    let (_, answer, again) = greet_extended(server.connect(), &missing, id);
    assert_eq!(answer.result, Err(error(1)));
    assert_eq!(boot, again);
    // What one wrote, the system has: another process does not lose it.
    let other = simple();
    let initial = other.initial(Access::ReadOnly, Direction::Send, 1);
    assert_eq!(greet_extended(other.connect(), &initial, id).2, boot);
}

#[test]
fn a_client_of_another_protocol_version_error_is_served_like_base_does() {
    let server = simple();
    let mut stream = server.connect();
    stream.write_all(&Version { error: 99 }.encode()).unwrap();
    assert_eq!(receive(&mut stream), Version::PLAIN.encode());
}

/// A path without NUL made 12.1 read beyond the packet.
#[test]
fn an_unterminated_path_is_refused() {
    let server = simple();
    let mut stream = server.connect();
    stream.write_all(VERSION).unwrap();
    receive::<20>(&mut stream);
    stream.write_all(&[b'x'; 1039]).unwrap();
    let answer = ServerInitial::decode(&receive(&mut stream));
    assert_eq!(answer.result, Err(error(22)));
}

/// 12.1 died of SIGPIPE when a client reset the connection in a handshake.
#[test]
fn a_client_that_resets_in_the_handshake_does_no_harm() {
    let server = simple();
    for _ in 0..20 {
        let stream = server.connect();
        (&stream).write_all(VERSION).unwrap();
        socket2::SockRef::from(&stream)
            .set_linger(Some(std::time::Duration::ZERO))
            .unwrap();
    }
    let mut client = server.session(Access::ReadWrite, 1);
    assert_eq!(client.ask(request(0, 0, 512, 1), &[]).0, 0);
}

#[test]
fn without_an_address_it_listens_on_ipv4_and_ipv6() {
    let sandbox = common::sandbox_with_disk(4096);
    common::write_exports(&sandbox, "127.0.0.1 RO DIR/disk\n::1 RW DIR/disk\n");
    let running = sandbox.spawn("ggated", ["-v", "-p", "0", "-F", "pid", "exports"]);
    let line = running.wait_for_line("Listen on port: ");
    let port: u16 = line
        .trim_end_matches('.')
        .rsplit(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    for (address, allowed) in [("127.0.0.1", false), ("::1", true)] {
        let address = std::net::SocketAddr::new(address.parse().unwrap(), port);
        let initial = ggate::wire::ClientInitial {
            path: ggate::wire::ExportPath::new(sandbox.file("disk")).unwrap(),
            access: Access::ReadWrite,
            direct: false,
            direction: Direction::Send,
            token: ggate::wire::Token(1),
        };
        let (_, answer) = greet(connect(address), &initial);
        assert_eq!(answer.result.is_ok(), allowed, "{address}");
    }
}

/// 12.1 leaked two descriptors of the medium per session.
#[cfg(target_os = "linux")]
#[test]
fn sessions_and_refusals_leave_no_descriptor_behind() {
    let server = simple();
    let fds = format!("/proc/{}/fd", server.running.pid());
    let count = || std::fs::read_dir(&fds).unwrap().count();
    let before = count();
    for token in 0..50 {
        let missing = server.initial_for("x", Access::ReadWrite, Direction::Send, token + 100);
        greet(server.connect(), &missing);
        drop(server.session(Access::ReadWrite, token));
    }
    testkit::process::wait_for("the descriptors to be closed", || {
        (count() <= before).then_some(())
    });
}
