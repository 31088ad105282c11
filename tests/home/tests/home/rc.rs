//! The rc scripts with the real daemons, on a pretended FreeBSD. For a real
//! one: tests/freebsd/rc.sh.

use home::Host;
use std::fs;
use testkit::process::{free_port, wait_for};

/// A host with one of our scripts, and these lines in rc.conf.
fn host(script: &str, settings: &str) -> Host {
    let host = Host::with_programs();
    host.install(&format!("rc.d/{script}"), &format!("etc/rc.d/{script}"));
    host.write("etc/rc.conf", &host.adapt(settings));
    host
}

fn disk(host: &Host, name: &str) {
    let file = fs::File::create(host.path(name)).expect("a file");
    file.set_len(4 << 20).expect("its size");
}

fn pid(host: &Host, daemon: &str) -> String {
    host.read(&format!("var/run/{daemon}.pid"))
}

/// A host with hast.conf for one resource without another node.
fn hast_host(settings: &str) -> Host {
    let host = host("hastd", settings);
    disk(&host, "dev/da1");
    let port = free_port();
    let text = format!(
        "control /var/run/hastctl\nlisten 127.0.0.1:{port}\nresource data {{\n\
         on here {{\nlocal /dev/da1\nremote none\n}}\n}}\n"
    );
    host.write("etc/hast.conf", &host.adapt(&text));
    host.write("etc/hast.conf.ext", "node here\n");
    host.run("hastctl create data").expect_code(0);
    host
}

#[test]
fn hastd_is_started_reloaded_and_stopped() {
    let host = hast_host("hastd_enable=YES\n");
    host.run("service hastd status").expect_code(1);
    host.run("service hastd start").expect_code(0);
    // Needed before, and the daemon loads it only if it is missing.
    assert!(host.calls().contains(&"kldload geom_gate".to_owned()));
    let first = pid(&host, "hastd");
    let status = host.run("service hastd status").expect_code(0);
    assert!(status.stdout.contains(first.trim()), "{status:?}");
    let again = host.run("service hastd start").expect_code(1);
    assert!(again.stdout.contains("already running"), "{again:?}");

    // No role is taken by itself.
    let roles = host.run("hastctl status data").expect_code(0).stdout;
    assert!(roles.contains("init"), "{roles}");
    host.run("hastctl role --wait primary data").expect_code(0);
    assert!(host.path("run/hast/data").exists());

    // Another configuration for the same process.
    let changed = host
        .read("etc/hast.conf")
        .replace("resource", "timeout 7\nresource");
    host.write(
        "etc/hast.conf",
        &format!("{changed}resource more {{\non here {{\nlocal /x\nremote none\n}}\n}}\n"),
    );
    host.run("service hastd reload").expect_code(0);
    wait_for("the new resource", || {
        let status = host.run("hastctl status more");
        status.stdout.contains("init").then_some(())
    });
    assert_eq!(pid(&host, "hastd"), first);

    // The provider goes in order: its role is given up first.
    host.run("service hastd stop").expect_code(0);
    assert!(!host.path("run/hast/data").exists());
    host.run("service hastd status").expect_code(1);
    host.run("service hastd stop").expect_code(1);
}

#[test]
fn hastd_is_left_alone_unless_it_is_enabled() {
    let host = hast_host("");
    let start = host.run("service hastd start").expect_code(1);
    assert!(start.stdout.contains("hastd_enable"), "{start:?}");
    host.run("service hastd onestart").expect_code(0);
    host.run("service hastd onerestart").expect_code(0);
    host.run("service hastd onestop").expect_code(0);
}

#[test]
fn hastd_is_not_started_without_its_configuration() {
    let host = host("hastd", "hastd_enable=YES\n");
    let start = host.run("service hastd start").expect_code(1);
    assert!(
        start.stderr.contains("hast.conf is not readable"),
        "{start:?}"
    );
}

/// A hastctl that fails keeps no machine from going down.
#[test]
fn hastd_is_stopped_even_if_its_roles_cannot_be_given_up() {
    let host = hast_host("hastd_enable=YES\nhastctl=/usr/bin/false\n");
    host.run("service hastd start").expect_code(0);
    host.run("hastctl role --wait primary data").expect_code(0);
    let stop = host.run("service hastd stop").expect_code(0);
    assert!(stop.stderr.contains("role init all"), "{stop:?}");
    assert!(!host.path("run/hast/data").exists());
}

/// Base's scripts have the same variables: makes one by their rules of ours,
/// with the paths of base's programs, which are not there.
fn make_base_s(host: &Host, script: &str) {
    let path = format!("etc/rc.d/{script}");
    let base = host.read(&path).replace("usr/local/sbin", "sbin");
    assert!(base.contains(&format!("/sbin/{script}\n")));
    host.write(&path, &base);
    let start = host.run(&format!("service {script} onestart"));
    let start = start.expect_code(1);
    assert!(start.stderr.contains("cannot run"), "{start:?}");
}

/// Adds lines to rc.conf.
fn set(host: &Host, settings: &str) {
    let settings = host.read("etc/rc.conf") + &host.adapt(settings);
    host.write("etc/rc.conf", &settings);
}

#[test]
fn rc_conf_switches_base_s_hastd_to_ours() {
    let host = hast_host("hastd_enable=YES\n");
    make_base_s(&host, "hastd");
    set(&host, "hastd_program=/usr/local/sbin/hastd\n");
    host.run("service hastd start").expect_code(0);
    host.run("service hastd status").expect_code(0);
    // Its hastctl is another setting.
    let stop = host.run("service hastd stop").expect_code(0);
    assert!(stop.stderr.contains("/sbin/hastctl"), "{stop:?}");
    set(&host, "hastctl=/usr/local/sbin/hastctl\n");
    host.run("service hastd start").expect_code(0);
    let stop = host.run("service hastd stop").expect_code(0);
    assert_eq!(stop.stderr, "");
}

#[test]
fn rc_conf_switches_base_s_ggated_to_ours() {
    let host = host("ggated", "ggated_enable=YES\n");
    disk(&host, "dev/da1");
    host.write("etc/gg.exports", &host.adapt("127.0.0.1 RW /dev/da1\n"));
    make_base_s(&host, "ggated");
    set(
        &host,
        "ggated_program=/usr/local/sbin/ggated\nggated_flags='-a 127.0.0.1 -p 0'\n",
    );
    host.run("service ggated start").expect_code(0);
    host.run("service ggated status").expect_code(0);
    host.run("service ggated reload").expect_code(0);
    host.run("service ggated stop").expect_code(0);
}

/// What rcorder(8) and rc.subr(8) go by.
#[test]
fn scripts_have_the_lines_that_rcorder_reads() {
    for (script, keyword, order) in [
        ("rc.d/hastd", "nojail shutdown", Some("BEFORE: DAEMON")),
        ("rc.d/ggatec", "nojail shutdown", Some("BEFORE: DAEMON")),
        ("rc.d/ggated", "shutdown", None),
        (
            "share/examples/hast/rc",
            "nojail shutdown",
            Some("REQUIRE: hastd devd DAEMON"),
        ),
    ] {
        let text = home::read(script);
        let named = text.lines().find_map(|line| {
            let line = line.trim();
            line.strip_prefix("name=")
        });
        let name = named.expect("a name");
        let has = |line: &str| text.lines().any(|other| other.trim() == line);
        assert!(has(&format!("# PROVIDE: {name}")), "{script}");
        assert!(has(&format!("# KEYWORD: {keyword}")), "{script}");
        assert!(has(&format!("rcvar={name}_enable")), "{script}");
        assert!(has(&format!("load_rc_config {name}")), "{script}");
        assert!(has(&format!(": \"${{{name}_enable:=NO}}\"")), "{script}");
        if let Some(order) = order {
            assert!(has(&format!("# {order}")), "{script}");
        }
    }
}

#[test]
fn ggated_is_started_reloaded_and_stopped() {
    let port = free_port();
    let host = host(
        "ggated",
        &format!("ggated_enable=YES\nggated_flags='-a 127.0.0.1 -p {port}'\n"),
    );
    disk(&host, "dev/da1");
    disk(&host, "dev/da2");
    let create = |path: &str| host.run(&format!("ggatec create -p {port} -u 0 127.0.0.1 {path}"));

    let start = host.run("service ggated start").expect_code(1);
    assert!(
        start.stderr.contains("gg.exports is not readable"),
        "{start:?}"
    );
    host.write("etc/gg.exports", &host.adapt("127.0.0.1 RW /dev/da1\n"));
    host.run("service ggated start").expect_code(0);
    let first = pid(&host, "ggated");
    host.run("service ggated status").expect_code(0);
    create("/dev/da1").expect_code(0);
    host.run("ggatec destroy -u 0").expect_code(0);
    create("/dev/da2").expect_code(1);

    host.write("etc/gg.exports", &host.adapt("127.0.0.1 RW /dev/da2\n"));
    host.run("service ggated reload").expect_code(0);
    wait_for("the new exports", || {
        (create("/dev/da2").code() == 0).then_some(())
    });
    assert_eq!(pid(&host, "ggated"), first);

    // In use: the provider of a client outlives a restart.
    host.run("service ggated restart").expect_code(0);
    assert_ne!(pid(&host, "ggated"), first);
    host.run("ggatec destroy -u 0").expect_code(0);
    host.run("service ggated stop").expect_code(0);
    host.run("service ggated status").expect_code(1);
}

/// A server with two disks, and a client of both in rc.conf.
fn imports(settings: &str) -> Host {
    let port = free_port();
    let host = host(
        "ggatec",
        &format!(
            "ggatec_enable=YES\nggatec_units='0 1'\n\
             ggatec_0='-p {port} 127.0.0.1 /dev/da0'\n\
             ggatec_1='-o ro -p {port} 127.0.0.1 /dev/da1'\n{settings}\n"
        ),
    );
    disk(&host, "dev/da0");
    disk(&host, "dev/da1");
    host.write(
        "etc/gg.exports",
        &host.adapt("127.0.0.1 RW /dev/da0\n127.0.0.1 RO /dev/da1\n"),
    );
    host.write(
        "server",
        &format!("ggated -a 127.0.0.1 -p {port} /etc/gg.exports"),
    );
    host
}

fn serve(host: &Host) {
    host.run(&host.read("server")).expect_code(0);
}

#[test]
fn ggatec_creates_what_rc_conf_lists_and_destroys_it() {
    let host = imports("ggatec_1_gate='-t 30'");
    serve(&host);
    host.run("service ggatec status").expect_code(1);
    host.run("service ggatec start").expect_code(0);
    let status = host.run("service ggatec status").expect_code(0).stdout;
    for part in ["NAME: ggate0", "NAME: ggate1", "read-only", "timeout: 30"] {
        assert!(status.contains(part), "{part} in {status}");
    }
    // What is there already is left as it is.
    let again = host.run("service ggatec start").expect_code(0).stdout;
    assert!(again.contains("ggate0 is there already"), "{again}");

    host.run("service ggatec stop 1").expect_code(0);
    assert_eq!(host.run("ggatec list").stdout, "ggate0\n");
    host.run("service ggatec start 1").expect_code(0);
    host.run("service ggatec restart").expect_code(0);
    host.run("service ggatec stop").expect_code(0);
    assert_eq!(host.run("ggatec list").stdout, "");
    host.run("service ggatec stop").expect_code(0);
}

/// Power comes back for everybody at once.
#[test]
fn ggatec_waits_for_a_server_that_starts_later() {
    let host = imports("");
    let start = host.spawn("service ggatec start");
    start.wait_for_line("Creating ggate0");
    serve(&host);
    start.finish().expect_code(0);
    assert_eq!(host.run("ggatec list").stdout, "ggate0\nggate1\n");
}

#[test]
fn ggatec_gives_up_in_time_and_says_why() {
    let host = imports("ggatec_wait=2");
    let start = host.run("service ggatec start").expect_code(1);
    assert!(start.stderr.contains("WARNING: "), "{start:?}");
    assert!(start.stderr.contains("refused"), "{start:?}");
    for (units, complaint) in [
        ("x", "not the number of a unit"),
        ("2", "ggatec_2 is not set"),
    ] {
        let start = host
            .run(&format!("service ggatec start {units}"))
            .expect_code(1);
        assert!(start.stderr.contains(complaint), "{start:?}");
    }
}

#[test]
fn ggatec_serves_again_what_a_dead_one_left() {
    let host = imports("");
    serve(&host);
    host.run("service ggatec start 0").expect_code(0);
    host.run("pkill -9 -f \"[g]gatec create.*$HOST/dev/da0\"")
        .expect_code(0);
    wait_for("the rescue", || {
        let rescue = host.run("service ggatec rescue 0");
        (rescue.code() == 0).then_some(())
    });
    host.run("service ggatec stop 0").expect_code(0);
}

/// At shutdown the network goes soon; what is mounted is unmounted before, and
/// nothing else is: ggate10 is another disk than ggate1.
#[test]
fn ggatec_unmounts_at_shutdown_and_only_then() {
    let host = imports("");
    serve(&host);
    host.run("service ggatec start").expect_code(0);
    let mounts = "/dev/ggate0p1\t/a\tufs\trw\t2 2\n/dev/ggate0p2\t/a/b\tufs\trw\t2 2\n\
                  /dev/ggate10\t/c\tufs\trw\t2 2\n/dev/da0p1\t/\tufs\trw\t1 1\n";
    host.write("mounts", &host.adapt(mounts));
    let _ = host.calls();
    host.run("service ggatec restart 0").expect_code(0);
    assert_eq!(host.calls(), ["service ggatec restart 0"]);
    host.write("busy", "/a\n");
    host.run("service ggatec faststop").expect_code(0);
    let calls = host.calls();
    assert_eq!(
        calls[1..],
        ["umount /a/b", "umount /a", "umount -f /a"],
        "{calls:?}"
    );
}
