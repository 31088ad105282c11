//! Roles, and workers that die, hang, or are not there.

use crate::node::{Node, PLAIN, nowhere, request};
use hast_core::message::{Command, Wishes};
use hast_core::role::Role;
use nix::sys::signal::{Signal, kill};
use std::io::Write as _;
use std::time::{Duration, Instant};
use testkit::process::wait_for;

/// What ps(1) shows of a process.
#[cfg(target_os = "linux")]
fn title(pid: nix::unistd::Pid) -> String {
    let title = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap();
    String::from_utf8(title)
        .unwrap()
        .trim_end_matches('\0')
        .into()
}

#[test]
fn a_secondary_holds_its_component_and_shows_no_worker() {
    let hastd = Node::new().with("data", &nowhere()).start();
    assert_eq!(hastd.role_ready(Role::Secondary, "data").role, "init");
    let status = hastd.status("data");
    assert_eq!(
        (&*status.role, &*status.status, status.workerpid),
        ("secondary", "", 0)
    );
    let worker = hastd.worker("data");
    #[cfg(target_os = "linux")]
    assert_eq!(title(worker), "hastd: data (secondary idle)");
    let file = std::fs::File::open(hastd.node.sandbox.file("data.img")).unwrap();
    assert!(file.try_lock().is_err(), "it is locked");
    assert_eq!(hastd.role(Role::Init, "data").role, "secondary");
    assert!(file.try_lock().is_ok());
    assert!(
        kill(worker, None).is_err(),
        "the answer comes when it is gone"
    );
}

#[test]
fn a_primary_serves_its_provider() {
    let hastd = Node::new().with("data", &nowhere()).start();
    hastd.role_ready(Role::Primary, "data");
    let status = hastd.status("data");
    assert_eq!((&*status.role, &*status.status), ("primary", "degraded"));
    let worker = hastd.worker("data");
    assert_eq!(status.workerpid, worker.as_raw());
    #[cfg(target_os = "linux")]
    assert_eq!(title(worker), "hastd: data (primary)");
    let provider = hastd.node.sandbox.run_dir().join("hast/data");
    assert!(provider.exists());
    hastd.role(Role::Secondary, "data");
    assert!(!provider.exists());
}

#[test]
fn a_primary_without_component_falls_back_to_init_and_says_so() {
    let node = Node::new().with("data", &nowhere());
    std::fs::remove_file(node.sandbox.file("data.img")).unwrap();
    let hastd = node.start();
    let part = hastd.role_ready(Role::Primary, "data");
    assert_eq!(part.error, 66);
    // Nobody has to go and look for the log.
    let why = "ended with exit code 66: ";
    assert!(part.reason.contains(why), "{}", part.reason);
    let why = "cannot open the component: No such file or directory";
    assert!(part.reason.contains(why), "{}", part.reason);
    assert_eq!(hastd.status("data").role, "init");
    hastd.wait_for_line("[ERROR] [data] (primary) Worker process exited ungracefully (pid=");
    // Not for good.
    let report = hastd.report("data").report;
    assert!(report.contains(why), "{report}");
}

#[test]
fn a_killed_worker_has_a_successor() {
    for role in [Role::Primary, Role::Secondary] {
        let hastd = Node::new().with("data", &nowhere()).start();
        hastd.role_ready(role, "data");
        let worker = hastd.worker("data");
        kill(worker, Signal::SIGKILL).unwrap();
        wait_for("another worker", || {
            let pid = hastd.worker("data");
            (pid != worker && pid.as_raw() != 0).then_some(())
        });
        assert_eq!(hastd.role_ready(role, "data").role, role.name());
        hastd.wait_for_line("Worker process killed (pid=");
        if role == Role::Primary {
            hastd.wait_for_line("Device hast/data recovered.");
        }
    }
}

/// K20, K21, K30: a worker that does nothing stops base's daemon, and with it
/// all other resources, until somebody kills it.
#[test]
fn a_worker_that_hangs_holds_up_nobody_else() {
    let hastd = Node::new()
        .with("hangs", &nowhere())
        .with("works", &nowhere())
        .settings("timeout 1\n")
        .start();
    hastd.role_ready(Role::Primary, "hangs");
    hastd.role_ready(Role::Primary, "works");
    let worker = hastd.worker("hangs");
    kill(worker, Signal::SIGSTOP).unwrap();

    // Its status fails, in bounded time, and the other one's is told.
    let all = hastd.ask(Command::Status, &["all"], PLAIN);
    assert_eq!(all[0].error, 60);
    assert_eq!((all[1].error, &*all[1].status), (0, "degraded"));

    // A change of its role waits, and everybody else does not.
    let mut waiting = hastd.connect();
    let bytes = request(Command::SetRole(Role::Init), &["hangs"], PLAIN);
    waiting.write_all(&bytes).unwrap();
    for role in [Role::Secondary, Role::Primary, Role::Init] {
        let begin = Instant::now();
        hastd.role_ready(role, "works");
        hastd.status("works");
        assert!(begin.elapsed() < Duration::from_secs(9));
    }
    let entries = crate::node::answer(&mut waiting);
    assert_eq!(crate::node::parts(&entries)[0].role, "primary");
    hastd.wait_for_line("does not end and is killed.");
    // Its provider was destroyed, too.
    assert!(!hastd.node.sandbox.run_dir().join("hast/hangs").exists());
    assert_eq!(hastd.status("hangs").role, "init");
}

/// K20: the moment of every fail-over. A primary is in the middle of a
/// handshake with a node that does not answer, which base's worker finishes
/// first, or waits in for the daemon that waits for it.
#[test]
fn roles_change_while_the_other_node_says_nothing() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let remote = format!("tcp4://{}", silent.local_addr().unwrap());
    let hastd = Node::new().with("a", &remote).with("b", &remote).start();
    let begin = Instant::now();
    for _ in 0..3 {
        for role in [Role::Primary, Role::Secondary, Role::Primary, Role::Init] {
            let all = hastd.ask(Command::SetRole(role), &["all"], PLAIN);
            assert!(all.iter().all(|part| part.error == 0), "{all:?}");
            assert_eq!(hastd.status("b").role, role.name());
        }
    }
    // The time-out of one handshake is 20 s.
    assert!(
        begin.elapsed() < Duration::from_secs(19),
        "{:?}",
        begin.elapsed()
    );
    assert!(silent.accept().is_ok(), "it had begun");
}

#[test]
fn a_provider_that_is_open_can_stay() {
    use testkit::nbd::Client;
    let hastd = Node::new().with("data", &nowhere()).start();
    hastd.role_ready(Role::Primary, "data");
    let provider = hastd.node.sandbox.run_dir().join("hast/data");
    let client = Client::connect(&provider).unwrap();
    let wishes = Wishes {
        if_closed: true,
        report: true,
        ..PLAIN
    };
    let refused = &hastd.ask(Command::SetRole(Role::Init), &["data"], wishes)[0];
    assert_eq!(refused.error, 16);
    assert_eq!(refused.reason, "somebody has its provider open");
    assert_eq!(hastd.status("data").role, "primary");
    drop(client);
    wait_for("the provider to be closed", || {
        let part = hastd.ask(Command::SetRole(Role::Init), &["data"], wishes);
        (part[0].error == 0).then_some(())
    });
    assert!(!provider.exists());
}

/// The next daemon takes the provider over; or destroys it, if it does not
/// become primary.
#[test]
fn the_daemon_s_death_leaves_the_provider_to_its_successor() {
    for role in [Role::Primary, Role::Secondary, Role::Init] {
        let node = Node::new().with("data", &nowhere());
        let hastd = node.start();
        hastd.role_ready(Role::Primary, "data");
        let worker = hastd.worker("data");
        let node = hastd.node;
        hastd.running.kill9();
        wait_for("the worker's end", || {
            kill(worker, None).is_err().then_some(())
        });
        let provider = node.sandbox.run_dir().join("hast/data");
        assert!(provider.exists());

        let hastd = node.start();
        assert_eq!(hastd.role_ready(role, "data").role, "init");
        assert_eq!(provider.exists(), role == Role::Primary, "{role}");
        if role == Role::Primary {
            hastd.wait_for_line("Device hast/data recovered.");
        }
    }
}

#[test]
fn only_a_secondary_s_data_can_be_given_up() {
    let hastd = Node::new().with("data", &nowhere()).start();
    let wishes = Wishes {
        report: true,
        ..PLAIN
    };
    let resolve = || hastd.ask(Command::Resolve, &["data"], wishes).remove(0);
    assert_eq!(resolve().error, 22);
    hastd.role_ready(Role::Primary, "data");
    let refused = resolve();
    assert_eq!(refused.error, 22);
    assert!(
        refused.reason.contains("its role is primary"),
        "{}",
        refused.reason
    );
    hastd.role_ready(Role::Secondary, "data");
    assert_eq!(resolve().error, 0);
}
