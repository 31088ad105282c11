//! share/examples/hast on a pretended FreeBSD: what is done in which order, in
//! both directions, from wherever an earlier run was interrupted.

use home::Host;
use nix::sys::signal::Signal;
use std::collections::BTreeSet;
use testkit::process::wait_for;

/// Taking everything over, as FreeBSD's programs see it.
const TAKE: [&str; 9] = [
    "hastctl role --wait primary data",
    "hastctl role --wait primary tank",
    "fsck -t ufs -p /dev/hast/data",
    "mount -t ufs -o rw /dev/hast/data /export",
    "fsck -t ufs -p /dev/hast/tankp1",
    "mount -t ufs -o rw /dev/hast/tankp1 /export/more",
    "zpool import -f -d /dev/hast pool",
    "service mountd onestart",
    "service nfsd onestart",
];

/// Giving it up.
const GIVE: [&str; 7] = [
    "service nfsd onestop",
    "service mountd onestop",
    "zpool export pool",
    "umount /export/more",
    "umount /export",
    "hastctl role --wait --if-closed secondary data",
    "hastctl role --wait --if-closed secondary tank",
];

/// A node with the kit, and hastd running.
fn node() -> Host {
    let host = Host::new();
    host.install(
        "share/examples/hast/hast-switch",
        "usr/local/sbin/hast-switch",
    );
    let settings = r#"
        PATH="$HOST/bin:$PATH"
        carp="1@em0" resources="data tank" pools="pool" services="mountd nfsd"
        file_systems="/dev/hast/data:/export /dev/hast/tankp1:/export/more"
        poll=0.02 retry=0.05 lock=$HOST/var/run/hast-switch.lock
    "#;
    host.write("usr/local/etc/hast-switch.conf", &host.adapt(settings));
    host.write("carp", "BACKUP");
    host.write("hastd", "");
    host
}

fn switch(host: &Host, arguments: &str) -> testkit::process::Finished {
    host.run(&format!("sh /usr/local/sbin/hast-switch {arguments}"))
}

/// The state that everything is in after [`TAKE`] or [`GIVE`].
fn assert_is(host: &Host, role: &str) {
    let lines = |name: &str| host.read(name).lines().count();
    let (mounts, pools, services) = match role {
        "primary" => (2, 1, 2),
        _ => (0, 0, 0),
    };
    assert_eq!(
        (lines("mounts"), lines("pools"), lines("started")),
        (mounts, pools, services)
    );
    for resource in ["data", "tank"] {
        assert_eq!(host.read(&format!("roles/{resource}")).trim(), role);
    }
}

#[test]
fn carp_decides_what_the_node_becomes() {
    let host = node();
    switch(&host, "carp").expect_code(0);
    assert_eq!(host.calls(), GIVE[5..], "nothing was mounted");
    assert_is(&host, "secondary");

    host.write("carp", "MASTER");
    switch(&host, "carp").expect_code(0);
    assert_eq!(host.calls(), TAKE);
    assert_is(&host, "primary");
    assert!(host.read("log").contains("this node is primary"));

    // An event that changes nothing.
    switch(&host, "carp").expect_code(0);
    assert_eq!(host.calls(), [""; 0]);

    for state in ["BACKUP", "INIT"] {
        switch(&host, "primary").expect_code(0);
        let _ = host.calls();
        host.write("carp", state);
        switch(&host, "carp").expect_code(0);
        assert_eq!(host.calls(), GIVE, "{state}");
        assert_is(&host, "secondary");
    }
}

#[test]
fn a_dry_run_says_everything_and_does_nothing() {
    for (role, before, expected) in [
        ("primary", "secondary", &TAKE[..]),
        ("secondary", "primary", &GIVE),
    ] {
        let host = node();
        switch(&host, before).expect_code(0);
        let _ = host.calls();
        let log = host.read("log");
        let told = switch(&host, &format!("-n {role}")).expect_code(0).stdout;
        let root = host.path("run").display().to_string();
        let told = told.replace(&root, "/dev");
        for call in expected {
            assert!(told.lines().any(|line| line == *call), "{call} in {told}");
        }
        assert_eq!(host.calls(), [""; 0]);
        assert_eq!(host.read("log"), log);
        assert_is(&host, before);
    }
}

/// Interrupts a run at each of its steps, by the power button so to speak, then
/// lets another one go on or turn back.
fn interrupt_everywhere(role: &str, other: &str, steps: &[&str], signal: Signal) {
    for step in steps {
        for next in [role, other] {
            let host = node();
            switch(&host, other).expect_code(0);
            host.write("hangs", &format!("{}\n", host.adapt(step)));
            let run = host.spawn(&format!("exec sh /usr/local/sbin/hast-switch {role}"));
            host.wait_for_call(step);
            // The script and what it started: nobody goes on with it.
            kill_everything(&host, signal);
            host.remove("hangs");
            let _ = run.finish();
            switch(&host, next).expect_code(0);
            assert_is(&host, next);
        }
    }
}

fn kill_everything(host: &Host, signal: Signal) {
    let signal = signal.as_str().trim_start_matches("SIG").to_owned();
    let conf = host.path("usr/local").display().to_string();
    let bin = host.path("bin").display().to_string();
    let _ = host.run(&format!("pkill -{signal} -f '[s]h {conf}|[s]h {bin}' || :"));
}

#[test]
fn taking_over_goes_on_or_turns_back_after_any_interruption() {
    interrupt_everywhere("primary", "secondary", &TAKE, Signal::SIGKILL);
}

#[test]
fn giving_up_goes_on_or_turns_back_after_any_interruption() {
    interrupt_everywhere("secondary", "primary", &GIVE, Signal::SIGKILL);
}

/// Even a check of a large file system is ended when nobody wants it any more.
#[test]
fn carp_turns_a_run_round_that_is_under_way() {
    let host = node();
    host.write("carp", "MASTER");
    host.write("hangs", &host.adapt("fsck -t ufs -p /dev/hast/data\n"));
    let run = host.spawn("sh /usr/local/sbin/hast-switch carp");
    host.wait_for_call("fsck -t ufs -p /dev/hast/data");
    host.write("carp", "BACKUP");
    // The second event finds the first one's script at work, and leaves it to it.
    switch(&host, "carp").expect_code(0);
    run.finish().expect_code(0);
    assert_is(&host, "secondary");
    let calls = host.calls();
    assert!(
        !calls.iter().any(|call| call.starts_with("fsck -t ufs -y")),
        "{calls:?}"
    );
}

/// hastd is not there at boot, or the disk is: whatever it is, CARP's will is
/// tried until it is done.
#[test]
fn what_fails_is_tried_again_for_as_long_as_carp_wants_it() {
    let host = node();
    host.write("carp", "MASTER");
    host.remove("hastd");
    host.write(
        "fails",
        &host.adapt("mount -t ufs -o rw /dev/hast/data /export\n"),
    );
    let run = host.spawn("sh /usr/local/sbin/hast-switch carp");
    wait_for("a poll", || {
        host.read("calls").contains("hastctl status").then_some(())
    });
    host.write("hastd", "");
    run.wait_for_line("trying again");
    assert_eq!(
        host.read("started"),
        "",
        "services that would serve an empty folder"
    );
    host.remove("fails");
    run.finish().expect_code(0);
    assert_is(&host, "primary");
}

/// Without CARP there is a person who can see what it says.
#[test]
fn what_fails_by_hand_is_told_and_not_tried_again() {
    let host = node();
    host.write(
        "fails",
        "zpool import -f -d /dev/hast pool\n"
            .replace("/dev/hast", &host.adapt("/dev/hast"))
            .as_str(),
    );
    let failed = switch(&host, "primary").expect_code(1);
    assert!(failed.stdout.contains("not primary"), "{failed:?}");
    host.remove("fails");
    switch(&host, "primary").expect_code(0);
    assert_is(&host, "primary");
    // With another way round for what is only a damaged file system.
    let host = node();
    host.write("fails", &host.adapt("fsck -t ufs -p /dev/hast/data\n"));
    switch(&host, "primary").expect_code(0);
    assert!(
        host.calls()
            .contains(&"fsck -t ufs -y /dev/hast/data".to_owned())
    );
}

/// Two nodes that are primary are a split-brain: the other one is waited for
/// as long as it is connected, that is, serves.
#[test]
fn nothing_is_taken_over_while_the_other_node_serves() {
    let host = node();
    switch(&host, "secondary").expect_code(0);
    let _ = host.calls();
    host.write("peers/tank", "");
    host.write("carp", "MASTER");
    let run = host.spawn("sh /usr/local/sbin/hast-switch carp");
    host.wait_for_call("hastctl status tank");
    assert_eq!(host.calls(), TAKE[..1]);
    host.remove("peers/tank");
    run.finish().expect_code(0);
    assert_eq!(host.calls(), TAKE[1..]);
    // And if it never stops, that is told.
    host.write("carp", "BACKUP");
    switch(&host, "carp").expect_code(0);
    host.write("peers/tank", "");
    let failed = switch(&host, "primary").expect_code(1);
    assert!(
        failed
            .stdout
            .contains("waited in vain for the other node to give tank up"),
        "{failed:?}"
    );
}

/// The other node waits for this one to let go, whatever clings to it here.
#[test]
fn what_is_in_use_is_given_up_by_force() {
    let host = node();
    switch(&host, "primary").expect_code(0);
    let _ = host.calls();
    host.write("busy", &host.adapt("/export\npool\n/dev/hast/data\n"));
    switch(&host, "secondary").expect_code(0);
    let calls: BTreeSet<String> = host.calls().into_iter().collect();
    for call in [
        "umount -f /export",
        "zpool export -f pool",
        "hastctl role --wait secondary data",
    ] {
        assert!(calls.contains(call), "{call} in {calls:?}");
    }
    assert_is(&host, "secondary");
}

/// At shutdown CARP still says MASTER, and its script may be at work, with a
/// check of a file system that would hold up the unmounting.
#[test]
fn a_shutdown_ends_what_carp_began() {
    let host = node();
    host.install("share/examples/hast/rc", "usr/local/etc/rc.d/hast_switch");
    host.write("etc/rc.conf", "hast_switch_enable=YES\n");
    host.write("carp", "MASTER");
    host.write("hangs", &host.adapt("fsck -t ufs -p /dev/hast/tankp1\n"));
    host.run("service hast_switch start").expect_code(0);
    host.wait_for_call("fsck -t ufs -p /dev/hast/tankp1");
    let stop = host.run("service hast_switch faststop").expect_code(0);
    assert!(stop.stdout.contains("this node is secondary"), "{stop:?}");
    assert_is(&host, "secondary");
    host.run("pgrep -f \"[s]h $HOST/bin/fsck\"").expect_code(1);
    let status = host.run("service hast_switch status").expect_code(0).stdout;
    for part in [
        "carp 1@em0: primary",
        "/export: not mounted",
        "service nfsd: not running",
    ] {
        assert!(status.contains(part), "{part} in {status}");
    }
}

#[test]
fn mistakes_are_told() {
    let host = node();
    for arguments in ["", "master", "-x carp", "carp carp"] {
        switch(&host, arguments).expect_code(64);
    }
    switch(&host, "-c /nowhere primary").expect_code(78);
    let settings = host.read("usr/local/etc/hast-switch.conf");
    host.write(
        "usr/local/etc/hast-switch.conf",
        &settings.replace("carp=\"1@em0\"", ""),
    );
    switch(&host, "carp").expect_code(78);
}

/// devd runs the script for the events of CARP, and waits for none.
#[test]
fn devd_s_rule_starts_the_script() {
    let host = node();
    let rule = home::read("share/examples/hast/devd.conf");
    let action = rule
        .lines()
        .find_map(|line| line.trim().strip_prefix("action \""));
    let action = action
        .and_then(|line| line.strip_suffix("\";"))
        .expect("an action");
    host.write("carp", "MASTER");
    host.run(action).expect_code(0);
    wait_for("the new role", || {
        host.read("log")
            .contains("this node is primary")
            .then_some(())
    });
    assert_is(&host, "primary");
}
