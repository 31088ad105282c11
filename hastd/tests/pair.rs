//! Two nodes, whole: daemons, workers and hastctl as an operator uses them.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};
use testkit::hast::{Pair, Side};
use testkit::nbd::Client;
use testkit::noise::Noise;
use testkit::process::{Finished, wait_for};

const NAME: &str = "data";
const SIZE: u64 = 32 << 20;
const EXTENT: u64 = 2 << 20;

/// How long a pair may take to be in sync: a retry every ten seconds.
const SYNC: Duration = Duration::from_secs(40);

/// Longest time for an answer to hastctl, whatever others do.
const ANSWER: Duration = Duration::from_millis(100);

fn pair(settings: &str) -> Pair {
    let mut pair = Pair::new(&[NAME], SIZE, &format!("timeout 3\n{settings}\n"));
    for (side, role) in [(Side::B, "secondary"), (Side::A, "primary")] {
        pair.start(side);
        pair.role(side, role);
    }
    pair.wait_for_sync(Side::A, NAME, SYNC);
    pair
}

fn client(pair: &Pair, side: Side) -> Client {
    let socket = pair.wait_for_provider(side, NAME);
    wait_for("a client", || Client::connect(&socket).ok())
}

fn write(pair: &Pair, side: Side, extent: u64, byte: u8) {
    let error = client(pair, side).write(extent * EXTENT, &[byte; 4096]);
    assert_eq!(error.unwrap(), 0);
}

fn read(pair: &Pair, side: Side, extent: u64) -> u8 {
    let data = client(pair, side).read(extent * EXTENT, 4096).unwrap();
    let data = data.unwrap();
    assert!(data.iter().all(|byte| *byte == data[0]));
    data[0]
}

/// The state in `hastctl status --json`.
fn state(pair: &Pair, side: Side) -> String {
    let json = pair
        .hastctl(side, "status", &["--json", NAME])
        .expect_code(0);
    let resources: serde_json::Value = serde_json::from_str(&json.stdout).unwrap();
    resources["resources"][0]["report"]["state"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn wait_for_state(pair: &Pair, side: Side, wanted: &str) {
    let deadline = Instant::now() + SYNC;
    while state(pair, side) != wanted {
        assert!(
            Instant::now() < deadline,
            "{} instead of {wanted}",
            state(pair, side)
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// Both nodes are written to while they do not see one another.
fn split(pair: &mut Pair) {
    pair.stop(Side::B).expect_code(0);
    write(pair, Side::A, 1, 0xaa);
    pair.stop(Side::A).expect_code(0);
    pair.start(Side::B);
    pair.role(Side::B, "primary");
    write(pair, Side::B, 2, 0xbb);
    pair.role(Side::B, "secondary");
    pair.start(Side::A);
    pair.role(Side::A, "primary");
}

/// Base's daemon dies of such a `listen` (K33).
#[test]
fn two_nodes_find_one_another_over_unix_sockets() {
    let mut pair = Pair::new(&[NAME], SIZE, "timeout 3");
    for side in [Side::A, Side::B] {
        let config = pair.config(side);
        let mut text = std::fs::read_to_string(&config).unwrap();
        for there in [Side::A, Side::B] {
            let path = pair.sandbox.file(&format!("{there:?}.peer"));
            let proxy = pair.proxies[there.other() as usize].address();
            let ways = [("listen", pair.address(there)), ("remote", proxy)];
            for (word, address) in ways {
                let ours = format!("{word} uds://{}", path.display());
                text = text.replace(&format!("{word} {address}"), &ours);
            }
        }
        assert!(!text.contains("127.0.0.1"), "{text}");
        std::fs::write(config, text).unwrap();
    }
    for (side, role) in [(Side::B, "secondary"), (Side::A, "primary")] {
        pair.start(side);
        pair.role(side, role);
    }
    pair.wait_for_sync(Side::A, NAME, SYNC);
    write(&pair, Side::A, 1, 0xaa);
    pair.stop(Side::A).expect_code(0);
    pair.role(Side::B, "primary");
    assert_eq!(read(&pair, Side::B, 1), 0xaa);
}

#[test]
fn split_brain_is_reported_on_both_sides_and_resolved_by_copying_what_differs() {
    let mut pair = pair("");
    split(&mut pair);
    for side in [Side::A, Side::B] {
        wait_for_state(&pair, side, "split-brain");
        let status = pair.hastctl(side, "status", &["-v", NAME]).stdout;
        assert!(
            status.contains("hastctl resolve --discard-local data"),
            "{status}"
        );
        assert!(status.contains("at stake:"), "{status}");
    }
    // Nobody is asked: nothing happens.
    let refused = pair.hastctl(Side::B, "resolve", &["--discard-local", NAME]);
    assert!(refused.expect_code(64).stderr.contains("--yes"));
    let refused = pair.hastctl(Side::A, "resolve", &["--discard-local", "--yes", NAME]);
    assert!(refused.stderr.contains("make it secondary"), "{refused:?}");
    assert_eq!(state(&pair, Side::B), "split-brain");
    let resolved = pair.hastctl(Side::B, "resolve", &["--discard-local", "--yes", NAME]);
    assert!(resolved.expect_code(0).stdout.contains("given up"));
    pair.wait_for_sync(Side::A, NAME, SYNC);
    assert_eq!(
        (read(&pair, Side::A, 1), read(&pair, Side::A, 2)),
        (0xaa, 0)
    );
    // Two extents differed, of sixteen.
    let counted = pair.hastctl(Side::B, "status", &["--json", NAME]).stdout;
    let counted: serde_json::Value = serde_json::from_str(&counted).unwrap();
    let writes = counted["resources"][0]["statistics"]["writes"]
        .as_u64()
        .unwrap();
    assert!((1..=8).contains(&writes), "{writes} writes");
    pair.role(Side::A, "init");
    pair.role(Side::B, "init");
    assert!(pair.data(Side::A, NAME) == pair.data(Side::B, NAME));
}

#[test]
fn a_node_with_old_data_serves_the_new_ones_through_its_peer() {
    let mut pair = pair("");
    write(&pair, Side::A, 3, 1);
    pair.stop(Side::B).expect_code(0);
    write(&pair, Side::A, 3, 2);
    // The operator makes the wrong one primary.
    pair.start(Side::B);
    pair.role(Side::A, "secondary");
    pair.role(Side::B, "primary");
    assert_eq!(read(&pair, Side::B, 3), 2);
    pair.wait_for_sync(Side::B, NAME, SYNC);
    pair.role(Side::B, "init");
    pair.role(Side::A, "init");
    assert!(pair.data(Side::A, NAME) == pair.data(Side::B, NAME));
}

#[test]
fn an_open_provider_keeps_its_role_if_that_is_asked_for() {
    let pair = pair("");
    let mut open = client(&pair, Side::A);
    assert_eq!(open.write(0, &[1; 512]).unwrap(), 0);
    let refused = pair.hastctl(Side::A, "role", &["--if-closed", "secondary", NAME]);
    assert_eq!(refused.code(), 16, "{refused:?}");
    assert_eq!(
        pair.field(Side::A, NAME, "role").as_deref(),
        Some("primary")
    );
    assert_eq!(open.write(0, &[2; 512]).unwrap(), 0);
    open.disconnect().unwrap();
    let closed = || {
        let role = pair.hastctl(Side::A, "role", &["--if-closed", "secondary", NAME]);
        (role.code() == 0).then_some(())
    };
    wait_for("the provider to be closed", closed);
    assert_eq!(
        pair.field(Side::A, NAME, "role").as_deref(),
        Some("secondary")
    );
}

#[test]
fn a_role_with_wait_is_there_when_hastctl_returns() {
    let pair = Pair::new(&[NAME], SIZE, "timeout 3");
    let mut pair = pair;
    for (side, role) in [(Side::B, "secondary"), (Side::A, "primary")] {
        pair.start(side);
        pair.hastctl(side, "role", &["--wait", role, NAME])
            .expect_code(0);
    }
    assert!(pair.socket(Side::A, NAME).exists());
    // A component that is none fails the role, with the reason.
    pair.role(Side::B, "init");
    std::fs::write(pair.image(Side::B, NAME), vec![0; 1 << 20]).unwrap();
    let failed = pair.hastctl(Side::B, "role", &["--wait", "secondary", NAME]);
    assert_ne!(failed.code(), 0, "{failed:?}");
    assert!(failed.stderr.contains(NAME), "{failed:?}");
}

#[test]
fn sixty_four_resources_start_sync_and_switch_roles() {
    let names: Vec<String> = (0..64).map(|n| format!("r{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut pair = Pair::new(&names, 4 << 20, "timeout 10");
    for (side, role) in [(Side::B, "secondary"), (Side::A, "primary")] {
        pair.start(side);
        pair.role(side, role);
    }
    let in_sync = |pair: &Pair, side| {
        let deadline = Instant::now() + Duration::from_secs(90);
        loop {
            let status = pair.hastctl(side, "status", &[]).expect_code(0).stdout;
            let complete = status.matches("complete").count();
            if complete == 64 {
                break;
            }
            assert!(Instant::now() < deadline, "{complete} of 64 are complete");
            std::thread::sleep(Duration::from_millis(100));
        }
    };
    in_sync(&pair, Side::A);
    pair.role(Side::A, "secondary");
    pair.role(Side::B, "primary");
    in_sync(&pair, Side::B);
    for side in [Side::B, Side::A] {
        pair.stop(side).expect_code(0);
    }
}

/// Longest time of several answers of hastctl.
fn slowest(pair: &Pair) -> Duration {
    let ask = || {
        let began = Instant::now();
        let done: Finished = pair.hastctl(Side::A, "status", &[NAME]);
        done.expect_code(0);
        began.elapsed()
    };
    let mut times: Vec<Duration> = (0..9).map(|_| ask()).collect();
    times.sort();
    // A busy machine may stop a process for longer: not the longest.
    times[4]
}

#[test]
fn two_hundred_silent_or_babbling_connections_slow_no_answer() {
    let pair = pair("");
    let alone = slowest(&pair);
    let mut noise = Noise::new(7);
    let mut peers = Vec::new();
    let mut clients = Vec::new();
    for n in 0..200 {
        let mut peer = TcpStream::connect(pair.address(Side::A)).unwrap();
        let client = UnixStream::connect(pair.control(Side::A));
        if n % 2 == 0 {
            // Whoever is refused is refused.
            let _ = peer.write_all(&noise.bytes(1000));
            if let Ok(mut client) = client {
                let _ = client.write_all(&noise.bytes(1000));
                clients.push(client);
            }
        } else {
            clients.extend(client);
        }
        peers.push(peer);
    }
    let crowded = slowest(&pair);
    assert!(
        crowded < alone + ANSWER,
        "{crowded:?} among 200 others, {alone:?} without"
    );
    write(&pair, Side::A, 5, 5);
    assert_eq!(
        pair.field(Side::A, NAME, "status").as_deref(),
        Some("complete")
    );
    for mut peer in peers {
        peer.set_read_timeout(Some(Duration::from_millis(1)))
            .unwrap();
        let _ = peer.read(&mut [0; 1]);
    }
}

#[test]
fn everything_hastctl_tells_can_be_had_as_json() {
    let pair = pair("");
    for command in ["status", "list", "dump", "check"] {
        let told = pair.hastctl(Side::A, command, &["--json"]).expect_code(0);
        let json: serde_json::Value = serde_json::from_str(&told.stdout)
            .unwrap_or_else(|error| panic!("{command}: {error}: {told:?}"));
        assert!(json.is_array() || json.is_object(), "{command}");
    }
    let status = pair.hastctl(Side::A, "status", &["--json", NAME]).stdout;
    let status: serde_json::Value = serde_json::from_str(&status).unwrap();
    for (field, value) in [
        ("name", NAME),
        ("role", "primary"),
        ("status", "complete"),
        ("replication", "memsync"),
        ("provname", NAME),
    ] {
        assert_eq!(status["resources"][0][field], value, "{field}");
    }
    for field in [
        "workerpid",
        "dirty",
        "extentsize",
        "statistics",
        "queues",
        "report",
        "ready",
    ] {
        assert!(!status["resources"][0][field].is_null(), "{field}");
    }
}

#[test]
fn stop_ends_the_daemon_in_order() {
    let mut pair = pair("");
    write(&pair, Side::A, 4, 4);
    pair.hastctl(Side::A, "stop", &[]).expect_code(0);
    let ended = pair.ended(Side::A);
    assert_eq!(ended.code(), 0, "{ended:?}");
    assert!(!pair.control(Side::A).exists());
    pair.stop(Side::B).expect_code(0);
    assert!(pair.data(Side::A, NAME) == pair.data(Side::B, NAME));
}

#[test]
fn check_finds_components_that_cannot_be_paired() {
    let mut pair = Pair::new(&[NAME], SIZE, "timeout 3");
    let smaller = ["--force", "-m", "16M", "-e", "1M", NAME];
    pair.hastctl(Side::B, "create", &smaller).expect_code(0);
    for (side, role) in [(Side::B, "secondary"), (Side::A, "primary")] {
        pair.start(side);
        pair.hastctl(side, "role", &["--wait", role, NAME])
            .expect_code(0);
    }
    let found = pair.hastctl(Side::A, "check", &[NAME]).expect_code(78);
    for expected in [
        "the data's size is ",
        "an extent's size is 2097152 bytes here and 1048576 bytes there",
    ] {
        assert!(found.stdout.contains(expected), "{found:?}");
    }
}

#[test]
fn create_refuses_what_would_be_missed() {
    let pair = pair("");
    let create = |arguments: &[&str]| pair.hastctl(Side::A, "create", arguments);
    // hastd serves it.
    let locked = create(&["--force", NAME]).expect_code(66);
    assert!(locked.stderr.contains("locked"), "{locked:?}");
    pair.role(Side::A, "init");
    let before = std::fs::read(pair.image(Side::A, NAME)).unwrap();
    let refused = create(&[NAME]).expect_code(65);
    assert!(refused.stderr.contains("--force"), "{refused:?}");
    assert!(std::fs::read(pair.image(Side::A, NAME)).unwrap() == before);
    create(&["--force", NAME]).expect_code(0);
    let dumped = pair.hastctl(Side::A, "dump", &[NAME]).stdout;
    assert!(dumped.contains("resuid: 0\n"), "{dumped}");
}
