//! Command line, pid file, signals, control socket.

use crate::node::{Node, nowhere};
use hast_core::message::Command;
use hast_core::role::Role;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use testkit::process::wait_for;

#[cfg(target_os = "linux")]
const REPORT: Signal = Signal::SIGUSR1;
#[cfg(not(target_os = "linux"))]
const REPORT: Signal = Signal::SIGINFO;

const HASTD: &str = env!("CARGO_BIN_EXE_hastd");

#[test]
fn exit_status_0_means_that_it_listens() {
    let node = Node::new();
    node.configure();
    let arguments = ["-c", "hast.conf", "-P", "pid"];
    let finished = node.sandbox.run(HASTD, arguments).expect_code(0);
    assert_eq!((&*finished.stdout, &*finished.stderr), ("", ""));
    let control = node.sandbox.file("ctl");
    UnixStream::connect(&control).unwrap();
    assert_eq!(control.metadata().unwrap().mode() & 0o777, 0o600);

    // A second one is told who is there.
    let pid = std::fs::read_to_string(node.sandbox.file("pid")).unwrap();
    let second = node.sandbox.run(HASTD, arguments).expect_code(75);
    assert!(
        second
            .stderr
            .contains(&format!("Daemon already running, pid: {pid}."))
    );

    // Both files go, although it has left the directory it was started in.
    kill(Pid::from_raw(pid.parse().unwrap()), Signal::SIGTERM).unwrap();
    wait_for("its files to go", || {
        let left = control.exists() || node.sandbox.file("pid").exists();
        (!left).then_some(())
    });
}

#[test]
fn what_it_cannot_have_is_named() {
    let node = Node::new();
    node.configure();
    let address = node.address.strip_prefix("tcp4://").unwrap();
    let _taken = std::net::TcpListener::bind(address).unwrap();
    let arguments = ["-F", "-c", "hast.conf"];
    let finished = node.sandbox.run(HASTD, arguments).expect_code(71);
    let reason = "Address already in use.\n";
    let expected = format!(
        "[ERROR] Unable to listen on address {}: {reason}",
        node.address
    );
    assert_eq!(finished.stderr, expected);

    node.sandbox.write("ctl", "precious");
    let finished = node.sandbox.run(HASTD, arguments).expect_code(71);
    let expected = "[ERROR] Unable to listen on control address uds://";
    assert!(finished.stderr.starts_with(expected), "{finished:?}");
    assert!(node.sandbox.file("ctl").is_file());
}

#[test]
fn the_first_lines_are_base_s() {
    let hastd = Node::new().start();
    let address = hastd.node.address.clone();
    let directory = hastd.node.sandbox.path().display().to_string();
    let said = hastd.terminate().expect_code(0).stdout;
    // Depends on who runs the test.
    let said: String = said
        .split_inclusive('\n')
        .filter(|line| !line.contains("out-of-memory"))
        .collect();
    let expected = format!(
        "[DEBUG][1] PID stored in pid.
[INFO] Started successfully, running protocol version 2.
[DEBUG][1] Listening on control address uds://{directory}/ctl.
[INFO] Listening on address {address}.
[INFO] Termination signal received, exiting.
"
    );
    assert_eq!(said, expected);
}

#[test]
fn the_mode_of_the_control_socket_can_be_another_one() {
    let node = Node::new();
    node.sandbox
        .write("hast.conf.ext", "node here\ncontrolmode 0660\n");
    let hastd = node.start();
    let mode = hastd.node.sandbox.file("ctl").metadata().unwrap().mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[test]
fn sigterm_and_sigint_stop_workers_and_daemon_in_order() {
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let hastd = Node::new().with("data", &nowhere()).start();
        hastd.role_ready(Role::Primary, "data");
        let provider = hastd.node.sandbox.run_dir().join("hast/data");
        assert!(provider.exists());
        hastd.running.signal(signal);
        let finished = hastd.running.finish().expect_code(0);
        assert!(
            finished
                .stdout
                .contains("Termination signal received, exiting.")
        );
        assert!(!provider.exists(), "{finished:?}");
        assert!(!hastd.node.sandbox.file("pid").exists());
        assert!(!hastd.node.sandbox.file("ctl").exists());
    }
}

#[test]
fn it_ends_when_hastctl_says_so_and_answers_before() {
    let hastd = Node::new().with("data", "none").start();
    hastd.role_ready(Role::Secondary, "data");
    let mut silent = hastd.connect();
    assert!(
        hastd
            .ask(Command::Stop, &["all"], crate::node::PLAIN)
            .is_empty()
    );
    hastd.running.finish().expect_code(0);
    assert!(matches!(silent.read(&mut [0]), Ok(0) | Err(_)));
}

#[test]
fn it_says_what_goes_on_when_asked() {
    let hastd = Node::new().with("data", "none").start();
    hastd.role_ready(Role::Secondary, "data");
    hastd.running.signal(REPORT);
    hastd.wait_for_line("[INFO] [data] (secondary) ");
    hastd.wait_for_line("1 resources, ");
}

/// What somebody forgot to close is not handed on to workers.
#[cfg(target_os = "linux")]
#[test]
fn descriptors_of_whoever_started_it_are_closed() {
    let node = Node::new().with("data", "none");
    node.configure();
    let log = node.sandbox.write("log", "");
    let started = format!(
        "exec {HASTD} -F -c hast.conf 3<hast.conf 7<hast.conf >{}",
        log.display()
    );
    let running = node.sandbox.spawn("/bin/sh", ["-c", &started]);
    wait_for("it to listen", || {
        let said = std::fs::read_to_string(&log).unwrap();
        said.contains("Listening on address").then_some(())
    });
    let descriptors = std::fs::read_dir(format!("/proc/{}/fd", running.pid())).unwrap();
    for descriptor in descriptors {
        let target = std::fs::read_link(descriptor.unwrap().path()).unwrap_or_default();
        assert!(!target.ends_with("hast.conf"), "{target:?}");
    }
}

#[test]
fn a_dry_run_only_looks() {
    let node = Node::new().with("data", "none");
    node.configure();
    let arguments = ["-t", "-c", "hast.conf"];
    let finished = node.sandbox.run(HASTD, arguments).expect_code(0);
    assert!(
        finished.stdout.contains("1 resources, no errors."),
        "{finished:?}"
    );
    assert!(!node.sandbox.file("ctl").exists());
    node.sandbox.write("hast.conf", "resource {");
    let finished = node.sandbox.run(HASTD, arguments).expect_code(78);
    assert!(finished.stderr.contains("hast.conf:1:"), "{finished:?}");
}
