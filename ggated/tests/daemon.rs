//! ggated as a daemon: start, reload, report, end.

#![allow(clippy::unwrap_used)] // helpers of tests

mod common;

use common::{greet, request, sandbox_with_disk, simple, write_exports};
use ggate::gate::Access;
use ggate::wire::Direction;
use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use std::io::Read as _;
use std::net::SocketAddr;
use testkit::process::{free_port, wait_for};

#[cfg(target_os = "linux")]
const REPORT: Signal = Signal::SIGUSR1;
#[cfg(not(target_os = "linux"))]
const REPORT: Signal = Signal::SIGINFO;

#[test]
fn exit_status_0_means_that_it_listens() {
    let sandbox = sandbox_with_disk(1 << 20);
    write_exports(&sandbox, "127.0.0.1 RW DIR/disk\n");
    let port = free_port().to_string();
    let arguments = ["-a", "127.0.0.1", "-p", &port, "-F", "pid", "exports"];
    let finished = sandbox.run("ggated", arguments).expect_code(0);
    assert_eq!(
        (finished.stdout.as_str(), finished.stderr.as_str()),
        ("", "")
    );
    let address = SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()));
    drop(std::net::TcpStream::connect(address).unwrap());

    // Relative names are the start directory's although it left that.
    let pid_file = sandbox.file("pid");
    let pid: i32 = std::fs::read_to_string(&pid_file).unwrap().parse().unwrap();
    write_exports(&sandbox, "127.0.0.1 RO DIR/disk\n");
    kill(Pid::from_raw(pid), Signal::SIGHUP).unwrap();
    let initial = ggate::wire::ClientInitial {
        path: ggate::wire::ExportPath::new(sandbox.file("disk")).unwrap(),
        access: Access::ReadWrite,
        direct: false,
        direction: Direction::Send,
        token: ggate::wire::Token(1),
    };
    wait_for("the new exports", || {
        let (_, answer) = greet(common::connect(address), &initial);
        answer.result.is_err().then_some(())
    });

    // A second one is told who is there.
    let second = sandbox.run("ggated", arguments).expect_code(1);
    assert!(
        second
            .stderr
            .contains(&format!("Daemon already running, pid: {pid}."))
    );

    kill(Pid::from_raw(pid), Signal::SIGTERM).unwrap();
    wait_for("the pid file to go", || (!pid_file.exists()).then_some(()));
    wait_for("the daemon to go", || {
        std::net::TcpStream::connect(address).is_err().then_some(())
    });
}

#[test]
fn a_port_that_is_taken_is_an_error_on_the_terminal() {
    let server = simple();
    let port = server.address.port().to_string();
    let arguments = ["-a", "127.0.0.1", "-p", &port, "-F", "pid2", "exports"];
    let finished = server.sandbox.run("ggated", arguments).expect_code(1);
    assert!(finished.stderr.contains("bind(): "), "{finished:?}");
}

/// No reload ended any more, for nobody wrote.
#[test]
fn an_exports_file_that_became_a_fifo_changes_nothing() {
    let server = simple();
    let exports = server.sandbox.file("exports");
    std::fs::remove_file(&exports).unwrap();
    mkfifo(&exports, Mode::S_IRWXU).unwrap();
    server.running.signal(Signal::SIGHUP);
    server
        .running
        .wait_for_line("it is a pipe, and can be read only once");
    server.running.wait_for_line("old exports stay in force");

    std::fs::remove_file(&exports).unwrap();
    write_exports(
        &server.sandbox,
        "127.0.0.1 RO DIR/disk\n10.0.0.1 RO DIR/disk\n",
    );
    server.running.signal(Signal::SIGHUP);
    server.running.wait_for_line("Exporting 2 object(s).");
}

#[test]
fn reload_applies_at_once_and_a_bad_file_changes_nothing() {
    let server = simple();
    let asks = |token| {
        let initial = server.initial(Access::ReadWrite, Direction::Send, token);
        greet(server.connect(), &initial).1.result
    };
    // A writer would be replaced by the next one of its address.
    let mut session = server.session(Access::ReadOnly, 1);

    write_exports(
        &server.sandbox,
        "127.0.0.1 RW DIR/disk\n127.0.0.1 oops DIR/disk\n",
    );
    server.running.signal(Signal::SIGHUP);
    server.running.wait_for_line("at line 2, column 11.");
    server.running.wait_for_line("old exports stay in force");
    assert!(asks(2).is_ok());

    std::fs::remove_file(server.sandbox.file("exports")).unwrap();
    server.running.signal(Signal::SIGHUP);
    server.running.wait_for_line("Cannot open exports file");
    assert!(asks(3).is_ok());

    write_exports(
        &server.sandbox,
        "# reloaded\n127.0.0.1 RO DIR/disk\n10.0.0.1 RO DIR/disk\n",
    );
    server.running.signal(Signal::SIGHUP);
    server.running.wait_for_line("Exporting 2 object(s).");
    wait_for("the new exports", || asks(4).is_err().then_some(()));
    assert_eq!(
        session.ask(request(0, 0, 512, 1), &[]).0,
        0,
        "sessions go on"
    );
}

#[test]
fn it_says_what_goes_on_when_asked() {
    let server = simple();
    let mut client = server.session(Access::ReadWrite, 1);
    assert_eq!(client.ask(request(0, 0, 4096, 1), &[]).0, 0);
    server.running.signal(REPORT);
    server.running.wait_for_line("1 sessions, 0 half-open");
    server.running.wait_for_line("1 reads (0 MiB)");
}

#[test]
fn sigterm_and_sigint_end_it_in_order() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let server = simple();
        let pid_file = server.sandbox.file("pid");
        let mut client = server.session(Access::ReadWrite, 1);
        let written = std::fs::read_to_string(&pid_file).unwrap();
        assert_eq!(written, server.running.pid().to_string());
        server.running.signal(signal);
        assert_eq!(client.replies.read(&mut [0]).unwrap(), 0);
        server.running.finish().expect_code(0);
        assert!(!pid_file.exists());
    }
}
