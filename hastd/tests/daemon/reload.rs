//! SIGHUP, row by row of spec/hast-config.md section 8.

use crate::node::{Hastd, Node, nowhere};
use hast_core::message::Command;
use hast_core::role::Role;
use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use std::net::TcpStream;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use testkit::process::wait_for;

/// Reads the configuration, as it is now, again.
fn reload(hastd: &Hastd) {
    hastd.node.configure();
    signal(hastd, "Configuration reloaded successfully.");
}

/// Signals, and waits until this line is there once more.
fn signal(hastd: &Hastd, line: &str) {
    let count = || {
        let said = hastd.running.stdout() + &hastd.running.stderr();
        // The worker has one with its own prefix.
        said.lines()
            .filter(|l| l.ends_with(line) && !l.contains("[data]"))
            .count()
    };
    let before = count();
    hastd.running.signal(Signal::SIGHUP);
    wait_for(line, || (count() > before).then_some(()));
}

fn listens(address: &str) -> bool {
    TcpStream::connect(address.strip_prefix("tcp4://").unwrap()).is_ok()
}

#[test]
fn a_primary_takes_settings_up_while_it_runs() {
    let mut hastd = Node::new().with("data", &nowhere()).start();
    hastd.role_ready(Role::Primary, "data");
    let worker = hastd.worker("data");
    hastd.node.settings = "replication async\ntimeout 7\nchecksum crc32\n".into();
    reload(&hastd);
    hastd.wait_for_line(
        "Resource data configuration was modified (replication, checksum, timeout), reloading it.",
    );
    hastd.wait_for_line("[INFO] [data] (primary) Configuration reloaded successfully.");
    assert_eq!(hastd.worker("data"), worker);
    // What cannot be taken up restarts it, and the role stays.
    hastd.node.resources[0].1.push_str("name other\n");
    reload(&hastd);
    hastd.wait_for_line("Resource data configuration was modified (name), restarting it.");
    wait_for("the other provider", || {
        let path = hastd.node.sandbox.run_dir().join("hast/other");
        path.exists().then_some(())
    });
    assert!(!hastd.node.sandbox.run_dir().join("hast/data").exists());
    assert_ne!(hastd.worker("data"), worker);
    assert_eq!(hastd.status("data").role, "primary");
    // Nothing changed, nothing is done.
    let worker = hastd.worker("data");
    reload(&hastd);
    assert_eq!(hastd.worker("data"), worker);
}

#[test]
fn a_secondary_is_restarted() {
    let mut hastd = Node::new().with("data", &nowhere()).start();
    hastd.role_ready(Role::Secondary, "data");
    let worker = hastd.worker("data");
    hastd.node.settings = "timeout 7\n".into();
    reload(&hastd);
    wait_for("another worker", || {
        (hastd.worker("data") != worker).then_some(())
    });
    assert_eq!(hastd.status("data").role, "secondary");
}

#[test]
fn resources_come_and_go() {
    let node = Node::new()
        .with("a", &nowhere())
        .with("b", &nowhere())
        .with("c", &nowhere());
    let mut hastd = node.start();
    hastd.role_ready(Role::Primary, "a");
    let provider = hastd.node.sandbox.run_dir().join("hast/a");
    assert!(provider.exists());
    let a = hastd.node.resources.remove(0);
    hastd.node.resources.reverse();
    reload(&hastd);
    hastd.wait_for_line("Resource a removed.");
    wait_for("its provider to go", || (!provider.exists()).then_some(()));
    assert_eq!(hastd.status("a").error, 1);
    hastd.node.resources.push(a);
    reload(&hastd);
    hastd.wait_for_line("Resource a added.");
    assert_eq!(hastd.status("a").role, "init");
    // In the order of the file.
    hastd.role(Role::Secondary, "c");
    let all = hastd.ask(Command::Status, &["all"], crate::node::PLAIN);
    let roles: Vec<&str> = all.iter().map(|part| &*part.role).collect();
    assert_eq!(roles, ["secondary", "init", "init"]);
}

#[test]
fn a_configuration_with_an_error_changes_nothing() {
    let mut hastd = Node::new().with("data", &nowhere()).start();
    hastd.role_ready(Role::Secondary, "data");
    let worker = hastd.worker("data");
    hastd.node.settings = "bogus\n".into();
    hastd.node.configure();
    signal(&hastd, "Configuration not reloaded.");
    hastd.wait_for_line("hast.conf:3:");
    std::fs::remove_file(hastd.node.sandbox.file("hast.conf")).unwrap();
    signal(&hastd, "Configuration not reloaded.");
    // A control socket that cannot be had.
    hastd.node.settings = format!(
        "control {}/no/such/folder\n",
        hastd.node.sandbox.path().display()
    );
    hastd.node.configure();
    signal(&hastd, "Configuration not reloaded.");
    // Nor can any address.
    let address = std::mem::replace(&mut hastd.node.address, "tcp4://192.0.2.1:9".into());
    hastd.node.settings.clear();
    hastd.node.configure();
    signal(&hastd, "Configuration not reloaded.");
    assert!(listens(&address));
    assert_eq!(hastd.worker("data"), worker);
}

/// The first reload never ended, for nobody wrote, and none began after it.
#[test]
fn a_configuration_that_became_a_fifo_changes_nothing() {
    let hastd = Node::new().with("data", "none").start();
    for name in ["hast.conf", "hast.conf.ext"] {
        let path = hastd.node.sandbox.file(name);
        std::fs::remove_file(&path).unwrap();
        mkfifo(&path, Mode::S_IRWXU).unwrap();
        signal(&hastd, "Configuration not reloaded.");
        let path = path.display();
        hastd.wait_for_line(&format!("{path}: it is a pipe, and can be read only once"));
        std::fs::remove_file(hastd.node.sandbox.file(name)).unwrap();
        hastd.node.configure();
    }
    assert_eq!(hastd.status("data").role, "init");
    reload(&hastd);
}

#[test]
fn addresses_are_exchanged_and_one_that_stays_keeps_its_socket() {
    let mut hastd = Node::new().with("data", &nowhere()).start();
    let old = hastd.node.address.clone();
    let (second, third) = (nowhere(), nowhere());
    hastd.node.settings = format!("listen {second}\n");
    reload(&hastd);
    hastd.wait_for_line(&format!("Keep listening on address {old}."));
    hastd.wait_for_line(&format!("Listening on new address {second}."));
    assert!(listens(&old) && listens(&second));
    hastd.node.address = third.clone();
    // One that cannot be had is only a warning.
    hastd.node.settings = "listen tcp4://192.0.2.1:9\n".into();
    reload(&hastd);
    hastd.wait_for_line(&format!("No longer listening on address {second}."));
    hastd.wait_for_line("[WARNING] Unable to listen on address tcp4://192.0.2.1:9: ");
    assert!(!listens(&old) && !listens(&second) && listens(&third));
}

#[test]
fn the_control_socket_moves_and_changes_its_mode() {
    let mut hastd = Node::new().with("data", "none").start();
    let old = hastd.node.sandbox.file("ctl");
    hastd
        .node
        .sandbox
        .write("hast.conf.ext", "node here\ncontrolmode 0660\n");
    reload(&hastd);
    assert_eq!(old.metadata().unwrap().mode() & 0o777, 0o660);
    let new = hastd.node.sandbox.file("ctl2");
    hastd.node.settings = format!("control {}\n", new.display());
    reload(&hastd);
    assert!(!old.exists());
    UnixStream::connect(&new).unwrap();
    assert_eq!(new.metadata().unwrap().mode() & 0o777, 0o660);
    drop(hastd.terminate().expect_code(0));
    assert!(!new.exists());
}

#[test]
fn the_pid_file_moves_unless_the_command_line_has_it() {
    let mut node = Node::new();
    let pid_file =
        |node: &Node, name: &str| format!("pidfile {}\n", node.sandbox.file(name).display());
    node.settings = pid_file(&node, "first");
    node.configure();
    let started = node
        .sandbox
        .run(env!("CARGO_BIN_EXE_hastd"), ["-c", "hast.conf"]);
    started.expect_code(0);
    let pid = std::fs::read_to_string(node.sandbox.file("first")).unwrap();
    node.settings = pid_file(&node, "second");
    node.configure();
    let process = nix::unistd::Pid::from_raw(pid.parse().unwrap());
    nix::sys::signal::kill(process, Signal::SIGHUP).unwrap();
    wait_for("the new pid file", || {
        let moved = std::fs::read_to_string(node.sandbox.file("second")).is_ok_and(|p| p == pid);
        (moved && !node.sandbox.file("first").exists()).then_some(())
    });
    drop(node);

    let mut hastd = Node::new().start();
    hastd.node.settings = pid_file(&hastd.node, "second");
    reload(&hastd);
    assert!(hastd.node.sandbox.file("pid").exists());
    assert!(!hastd.node.sandbox.file("second").exists());
}
