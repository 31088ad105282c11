//! The whole chain: a client of the provider, ggatec, ggated, a file.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use nix::sys::signal::Signal;
use std::fs;
use std::thread;
use testkit::chain::Chain;
use testkit::nbd::{self, Client};
use testkit::process::wait_for;

const SIZE: u64 = 8 << 20;

/// A client of the provider.
fn connect(chain: &Chain) -> Client {
    let socket = chain.socket("ggate0");
    wait_for("an answer", || Client::connect(&socket).ok())
}

fn pattern(seed: u8, length: usize) -> Vec<u8> {
    (0..=250)
        .cycle()
        .take(length)
        .map(|byte: u8| byte ^ seed)
        .collect()
}

#[test]
fn create_prints_the_name_and_what_is_written_reaches_the_file() {
    let chain = Chain::new(SIZE);
    let created = chain.ggatec(&["create"]).finish().expect_code(0);
    assert_eq!(
        (created.stdout.as_str(), created.stderr.as_str()),
        ("ggate0\n", "")
    );
    let mut client = connect(&chain);
    assert_eq!(client.export.size, SIZE);
    for (offset, length) in [(0, 512), (4096, 4096), (65536, 131_072), (1 << 20, 1 << 20)] {
        let data = pattern(7, length);
        assert_eq!(client.write(offset, &data).unwrap(), 0);
        let length = u32::try_from(length).unwrap();
        assert_eq!(client.read(offset, length).unwrap(), Ok(data));
    }
    assert_eq!(client.call(nbd::FLUSH, 0, 0, 0, &[]).unwrap().error, 0);
    let file = fs::read(&chain.image).unwrap();
    assert_eq!(file[1 << 20..2 << 20], pattern(7, 1 << 20));
}

/// Zeroes are written in parts; the last one must not wait for a request that
/// never comes.
#[test]
fn zeroes_of_every_length_are_answered() {
    let chain = Chain::new(SIZE);
    let _serving = chain.ggatec(&["create", "-v"]);
    let mut client = connect(&chain);
    assert_eq!(client.write(0, &pattern(3, 1 << 20)).unwrap(), 0);
    for length in [512, 128 << 10, (128 << 10) + 512, 900 << 10] {
        let zeroed = client.call(nbd::WRITE_ZEROES, 0, 0, length, &[]).unwrap();
        assert_eq!(zeroed.error, 0);
        let zeros = vec![0; usize::try_from(length).unwrap()];
        assert_eq!(client.read(0, length).unwrap(), Ok(zeros));
    }
}

/// The tests of base, and scripts, rely on silence.
#[test]
fn create_with_a_unit_prints_nothing() {
    let chain = Chain::new(SIZE);
    let created = chain.ggatec(&["create", "-u", "5"]).finish().expect_code(0);
    assert_eq!((created.stdout.as_str(), created.stderr.as_str()), ("", ""));
    assert_eq!(chain.list(&[]), "ggate5\n");
}

#[test]
fn a_failure_reaches_the_terminal_with_status_1() {
    let chain = Chain::new(SIZE);
    let port = chain.server.port().to_string();
    let args = ["create", "-p", &port, "127.0.0.1", "/not/exported"];
    let failed = chain.sandbox.run("ggatec", args).expect_code(1);
    assert!(
        failed.stderr.contains("Operation not permitted"),
        "{failed:?}"
    );
    let args = ["create", "-p", "1", "127.0.0.1", "/x"];
    let failed = chain.sandbox.run("ggatec", args).expect_code(1);
    assert!(failed.stderr.contains("127.0.0.1:1"), "{failed:?}");
    assert_eq!(chain.list(&[]), "");
}

#[test]
fn list_tells_everything_and_destroy_ends_it() {
    let chain = Chain::new(SIZE);
    let serving = chain.ggatec(&["create", "-v", "-q", "7", "-t", "30", "-s", "4096"]);
    serving.wait_for_line("ggate0");
    let long = chain.list(&["-v"]);
    let expected = [
        "       NAME: ggate0\n".to_owned(),
        format!(
            "       info: 127.0.0.1:{} {}\n",
            chain.server.port(),
            chain.image.display()
        ),
        "     access: read-write\n    timeout: 30\n".to_owned(),
        " queue_size: 7\n".to_owned(),
        "  mediasize: 8388608 (8.0M)\n sectorsize: 4096\n       mode: r0w0e0\n".to_owned(),
    ];
    for part in expected {
        assert!(long.contains(&part), "{part:?} is not in {long:?}");
    }
    let client = connect(&chain);
    let busy = chain
        .sandbox
        .run("ggatec", ["destroy", "-u", "0"])
        .expect_code(1);
    assert!(busy.stdout.starts_with("error: "), "{busy:?}");
    client.disconnect().unwrap();
    wait_for("the last close", || {
        let ended = chain.sandbox.run("ggatec", ["destroy", "-u", "0"]);
        (ended.code() == 0).then_some(())
    });
    serving.finish().expect_code(0);
    assert_eq!(chain.list(&[]), "");
}

#[test]
fn a_forced_destroy_ends_an_open_provider() {
    let chain = Chain::new(SIZE);
    let serving = chain.ggatec(&["create", "-v"]);
    let mut client = connect(&chain);
    chain
        .sandbox
        .run("ggatec", ["destroy", "-f", "-u", "0"])
        .expect_code(0);
    serving.finish().expect_code(0);
    assert!(client.read(0, 512).is_err());
}

/// The server dies again and again under load; the client of the provider
/// notices nothing but time.
#[test]
fn a_killed_server_costs_time_and_nothing_else() {
    let mut chain = Chain::new(SIZE);
    let _serving = chain.ggatec(&["create", "-v"]);
    let mut client = connect(&chain);
    let writer = thread::spawn(move || {
        for round in (0..=255).cycle().take(400) {
            let data = pattern(round, 16384);
            let offset = u64::from(round % 64) * 65536;
            assert_eq!(client.write(offset, &data).unwrap(), 0, "round {round}");
            assert_eq!(
                client.read(offset, 16384).unwrap(),
                Ok(data),
                "round {round}"
            );
            thread::sleep(std::time::Duration::from_millis(5));
        }
    });
    for _ in 0..3 {
        thread::sleep(std::time::Duration::from_millis(300));
        chain.kill_server();
        chain.start_server();
    }
    writer.join().unwrap();
}

/// Memory that the kernel wants to free may need the provider to be written to.
#[cfg(target_os = "linux")]
#[test]
fn root_s_daemon_is_not_chosen_when_memory_is_short() {
    let chain = Chain::new(SIZE);
    chain.ggatec(&["create"]).finish().expect_code(0);
    let long = chain.list(&["-v"]);
    let pid = long
        .lines()
        .find_map(|line| line.trim().strip_prefix("pid: "));
    let score = format!("/proc/{}/oom_score_adj", pid.unwrap());
    // Containers may forbid it, even to root; then nothing must change.
    let lowered = "echo -1000 >/proc/self/oom_score_adj && cat /proc/self/oom_score_adj \
                   || cat /proc/self/oom_score_adj";
    let possible = chain.sandbox.run("/bin/sh", ["-c", lowered]).stdout;
    let expected = possible.trim();
    wait_for("protection", || {
        (fs::read_to_string(&score).unwrap().trim() == expected).then_some(())
    });
}

/// What a server gave to its operating system survives the server.
#[test]
fn a_flush_after_the_death_of_the_server_alone_succeeds() {
    let mut chain = Chain::new(SIZE);
    let serving = chain.ggatec(&["create", "-v"]);
    let mut client = connect(&chain);
    assert_eq!(client.write(0, &pattern(1, 4096)).unwrap(), 0);
    chain.kill_server();
    chain.start_server();
    serving.wait_for_line("Connected to the server again");
    assert_eq!(client.call(nbd::FLUSH, 0, 0, 0, &[]).unwrap().error, 0);
}

/// ggatec itself dies; `rescue` serves the same provider again.
#[test]
fn rescue_takes_over_what_a_dead_client_left() {
    let chain = Chain::new(SIZE);
    let dead = chain.ggatec(&["create", "-v"]);
    let mut client = connect(&chain);
    assert_eq!(client.write(0, &pattern(1, 4096)).unwrap(), 0);
    dead.kill9().expect_signal(Signal::SIGKILL);
    assert_eq!(chain.list(&[]), "ggate0\n");
    let rescued = chain.ggatec(&["rescue", "-u", "0"]).finish().expect_code(0);
    assert_eq!((rescued.stdout.as_str(), rescued.stderr.as_str()), ("", ""));
    let mut client = connect(&chain);
    assert_eq!(client.read(0, 4096).unwrap(), Ok(pattern(1, 4096)));
    chain
        .sandbox
        .run("ggatec", ["destroy", "-f", "-u", "0"])
        .expect_code(0);
}

#[test]
fn a_read_only_provider_refuses_writes() {
    let chain = Chain::new(SIZE);
    let _serving = chain.ggatec(&["create", "-v", "-o", "ro"]);
    let mut client = connect(&chain);
    assert_ne!(client.write(0, &pattern(1, 512)).unwrap(), 0);
    assert!(client.read(0, 512).unwrap().is_ok());
}

/// SIGINFO, and SIGUSR1 on Linux, which would end a program that does not
/// know it.
#[test]
fn a_signal_has_sessions_queues_and_rates_logged() {
    #[cfg(target_os = "linux")]
    let report = Signal::SIGUSR1;
    #[cfg(not(target_os = "linux"))]
    let report = Signal::SIGINFO;
    let chain = Chain::new(SIZE);
    let serving = chain.ggatec(&["create", "-v"]);
    let mut client = connect(&chain);
    assert_eq!(client.write(0, &pattern(1, 1 << 20)).unwrap(), 0);
    serving.signal(report);
    let line = serving.wait_for_line("notice: ggate0: session 1 up; ");
    assert!(line.contains("; 0 requests unanswered, "), "{line}");
    assert!(
        line.contains("1 writes (1 MiB), 0 others, 0 errors; now "),
        "{line}"
    );
    assert!(client.read(0, 512).unwrap().is_ok());
}
