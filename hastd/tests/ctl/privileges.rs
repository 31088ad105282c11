//! What hastctl still may while it reads what the daemon says.

use crate::fake::{Node, about, arguments, status};
use hast_core::role::Role;
use nix::unistd::geteuid;
use std::sync::mpsc::channel;
use testkit::process::DEADLINE;

/// A field of `/proc/PID/status`: name, then words.
#[cfg(target_os = "linux")]
fn field<'a>(text: &'a str, name: &str) -> Vec<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().skip(1).collect()
}

/// hastd answers when the test has looked at hastctl.
#[cfg(target_os = "linux")]
#[test]
fn they_are_gone_before_the_answer_is_read() {
    for line in ["status -d", "list -d", "role -d init test", "stop -d"] {
        let node = Node::new();
        let (arrived, waiting) = channel();
        let (go, gone) = channel::<()>();
        let _hastd = node.hastd(move |_| {
            arrived.send(()).unwrap();
            gone.recv_timeout(DEADLINE).unwrap();
            about(&status(Role::Init, "/dev/da0", None))
        });
        let hastctl = node.sandbox.spawn("hastctl", arguments(line));
        waiting.recv_timeout(DEADLINE).unwrap();
        let proc = format!("/proc/{}", hastctl.pid());
        let text = std::fs::read_to_string(format!("{proc}/status")).unwrap();
        let root = std::fs::read_link(format!("{proc}/root")).unwrap();
        go.send(()).unwrap();
        let finished = hastctl.finish();
        let told = |what: &str| assert!(finished.stdout.contains(what), "{line}: {finished:?}");
        if !geteuid().is_root() {
            told("[DEBUG][1] Not root: there are no privileges to give up.\n");
            continue;
        }
        told("[DEBUG][1] Privileges successfully dropped using ");
        let ids = field(&text, "Uid:");
        assert!(ids.iter().all(|id| *id != "0" && *id == ids[0]), "{ids:?}");
        let groups = field(&text, "Gid:");
        assert!(
            groups.iter().all(|id| *id != "0" && *id == groups[0]),
            "{groups:?}"
        );
        assert_eq!(field(&text, "Groups:"), [groups[0]], "{line}");
        assert_eq!(field(&text, "CapEff:"), ["0000000000000000"], "{line}");
        assert_eq!(field(&text, "NoNewPrivs:"), ["1"], "{line}");
        // Containers may forbid it, which is told.
        let stays = finished.stdout.contains("Cannot leave the file system");
        let left = root.to_string_lossy().ends_with("(deleted)");
        assert!(left != stays, "{}: {finished:?}", root.display());
    }
}

#[cfg(not(target_os = "linux"))]
#[test]
fn they_are_gone_before_the_answer_is_read() {
    let node = Node::new();
    let _hastd = node.hastd(|_| about(&status(Role::Init, "/dev/da0", None)));
    let finished = node.run("status -d").expect_code(0);
    let text = if geteuid().is_root() {
        "Privileges successfully dropped using "
    } else {
        "Not root"
    };
    assert!(finished.stdout.contains(text), "{finished:?}");
    let _ = (arguments, channel::<()>, DEADLINE);
}
