//! ggatec against servers that say anything but the protocol: `create` ends
//! with a reason, a running provider only waits for a better server.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

#[allow(dead_code, reason = "its lies are for other tests")]
mod fake;

use fake::Server;
use ggate::range::Geometry;
use ggate::wire::{ServerInitial, Version};
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener};
use std::thread;
use testkit::nbd::Client;
use testkit::noise::Noise;
use testkit::process::{Running, Sandbox, free_port, wait_for};

/// Runs `ggatec create` against a server that reads what it is sent and says
/// `answer`; what ggatec says then.
fn create(answer: Vec<u8>) -> String {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    let server = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        drop(listener);
        // The client may leave in the middle of it.
        let _ = stream.write_all(&answer);
        let _ = stream.shutdown(Shutdown::Write);
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let sandbox = Sandbox::new();
    let arguments = ["create", "-p", &port, "127.0.0.1", "/dev/md0"];
    let failed = sandbox.run("ggatec", arguments).expect_code(1);
    server.join().unwrap();
    assert!(!failed.stderr.contains("panicked"), "{failed:?}");
    let listed = sandbox.run("ggatec", ["list"]).expect_code(0);
    assert_eq!(listed.stdout, "");
    failed.stderr
}

#[test]
fn noise_at_every_stage_of_the_handshake_ends_create_with_a_reason() {
    let medium = Geometry {
        media_size: 1 << 20,
        sector_size: 512,
    };
    let granted = ServerInitial { result: Ok(medium) }.encode();
    for seed in 0..24 {
        let mut noise = Noise::new(seed);
        let version = [Version::PLAIN, Version::EXTENDED][noise.below(2)].encode();
        let answer = match seed % 4 {
            0 => noise.bytes(200),
            1 => version[..noise.below(version.len())].to_vec(),
            // Never the whole answer: that would be a session.
            2 => [&version[..], &granted[..noise.below(granted.len())]].concat(),
            _ => {
                let mut noise = noise.bytes(64);
                // An error, so that it is no session by chance.
                noise[13] = 0xff;
                [&version[..], &noise].concat()
            }
        };
        let said = create(answer);
        let reasons = ["handshake step", "the server refused", "Cannot connect"];
        assert!(reasons.iter().any(|r| said.contains(r)), "{seed}: {said}");
    }
}

#[test]
fn noise_in_place_of_replies_costs_a_session_and_nothing_else() {
    let server = Server::new();
    let sandbox = Sandbox::new();
    let port = server.port().to_string();
    let arguments = ["create", "-v", "-p", &port, "127.0.0.1", "/dev/md0"];
    let ggatec = sandbox.spawn("ggatec", arguments);
    let mut session = server.our_session(1);
    ggatec.wait_for_line("ggate0");
    let mut client = Client::connect(&sandbox.run_dir().join("ggate0")).unwrap();
    let mut before = 0;
    for seed in 0..12 {
        let mut noise = Noise::new(100 + seed);
        let reading = thread::spawn(move || {
            let data = client.read(4096, 4096).unwrap();
            (client, data)
        });
        let (request, _) = session.next();
        if seed == 0 {
            // Now everything it works with is there.
            before = descriptors(&ggatec);
        }
        let reply = request.reply(None).encode();
        session.say(&match seed % 3 {
            0 => noise.bytes(4000),
            // Without all of its data.
            1 => [&reply[..], &noise.bytes(4000)].concat(),
            _ => {
                let at = noise.below(reply.len() - 2);
                let mut reply = reply;
                reply[at] ^= 0x41;
                [&reply[..], &[0; 4096]].concat()
            }
        });
        drop(session);
        session = server.our_session(1);
        let (again, _) = session.next();
        assert_eq!(again, request);
        session.answer(again, None, &[9; 4096]);
        let (same, data) = reading.join().unwrap();
        assert_eq!(data, Ok(vec![9; 4096]), "{seed}");
        client = same;
    }
    // Base leaks a socket when a second handshake fails.
    for _ in 0..3 {
        drop(session);
        server.refuse_second();
        session = server.our_session(1);
    }
    wait_for("old connections to be closed", || {
        (descriptors(&ggatec) <= before).then_some(())
    });
}

/// How many the process has open, where the system tells.
fn descriptors(running: &Running) -> usize {
    let path = format!("/proc/{}/fd", running.pid());
    std::fs::read_dir(path).map_or(0, Iterator::count)
}

#[test]
fn absurd_numbers_are_told_with_their_option() {
    let sandbox = Sandbox::new();
    for (option, value) in [
        ("-u", "abc"),
        ("-u", "99999999999999999999"),
        ("-p", "99999"),
        ("-s", "3"),
        ("-q", "-1"),
        ("-t", "soon"),
        ("-S", "0x10"),
    ] {
        let arguments = ["create", option, value, "127.0.0.1", "/x"];
        let refused = sandbox.run("ggatec", arguments).expect_code(1);
        let told = format!("{option} {value}: ");
        assert!(refused.stderr.contains(&told), "{refused:?}");
    }
    let refused = sandbox.run("ggatec", ["destroy", "-f", "-u", "abc"]);
    assert!(refused.expect_code(1).stderr.contains("-u abc: "));
}

/// "Connection refused (os error 111)" is no number that an operator knows.
#[test]
fn that_nobody_listens_is_said_in_words() {
    let port = free_port().to_string();
    let arguments = ["create", "-p", &port, "127.0.0.1", "/x"];
    let failed = Sandbox::new().run("ggatec", arguments).expect_code(1);
    let expected = format!("Cannot connect to 127.0.0.1:{port}: Connection refused.\n");
    assert!(failed.stderr.contains(&expected), "{failed:?}");
}
