//! The guides, done: two hosts with the real programs, and FreeBSD's pretended.
//!
//! What differs from the guide's hosts is stated in [`Pair::adapt`]. Programs
//! that only FreeBSD has write down how they were called.

use home::manual::Manual;
use home::transcript::{Step, of_block, steps};
use home::{Host, read};
use std::sync::atomic::{AtomicU8, Ordering};
use testkit::process::wait_for;

/// Two hosts that can reach one another, and nobody else can.
struct Pair {
    hosts: [Host; 2],
    /// The first three numbers of their addresses.
    network: String,
}

const NAMES: [&str; 2] = ["nodea", "nodeb"];

/// Commands for which there is nothing to do in a test: what is built is there.
const SKIPPED: [&str; 3] = ["pkg install", "make", "kldload"];

static PAIRS: AtomicU8 = AtomicU8::new(1);

impl Pair {
    fn new() -> Self {
        // Tests beside this one, in this process and in others, have others.
        let pid = std::process::id();
        let pair = PAIRS.fetch_add(1, Ordering::Relaxed);
        let network = format!(
            "127.{}.{}",
            10 + pid % 200,
            u32::from(pair) + (pid / 200 % 30) * 8
        );
        let hosts = NAMES.map(|name| {
            let host = Host::with_programs();
            host.write("etc/hast.conf.ext", &format!("node {name}\n"));
            for disk in ["da1", "da2"] {
                host.run(&format!("truncate -s 64M $HOST/dev/{disk}"))
                    .expect_code(0);
            }
            for script in ["hastd", "ggated", "ggatec"] {
                let folder = if script == "ggatec" {
                    "usr/local/etc"
                } else {
                    "etc"
                };
                host.install(
                    &format!("rc.d/{script}"),
                    &format!("{folder}/rc.d/{script}"),
                );
            }
            for file in ["hast-switch", "devd.conf", "rc"] {
                let path = format!("share/examples/hast/{file}");
                host.install(&path, &format!("usr/local/{path}"));
            }
            host.write("carp", "BACKUP");
            host
        });
        let pair = Self { hosts, network };
        for (node, host) in pair.hosts.iter().enumerate() {
            let own = pair.own(node);
            host.write("etc/rc.conf", &format!("ggated_flags='-a {own}'\n"));
        }
        pair
    }

    /// The guide's addresses are this pair's. Each node listens on its own
    /// address only, and connects from it, which it would on a machine of its
    /// own without being told. ggatec cannot be told; what it imports is a
    /// file of the other node.
    fn adapt(&self, text: &str) -> String {
        let server = self.hosts[0].path("dev/da2").display().to_string();
        let replaced = [
            ("10.0.0.2 RW", "127.0.0.1 RW".to_owned()),
            ("/dev/da2", server),
            ("10.0.0.", format!("{}.", self.network)),
        ];
        let apply = |text: String, (from, to): &(&str, String)| text.replace(from, to);
        replaced.iter().fold(text.to_owned(), apply)
    }

    fn own(&self, node: usize) -> String {
        format!("{}.{}", self.network, node + 1)
    }

    fn write(&self, path: &str, text: &str) {
        for (node, host) in self.hosts.iter().enumerate() {
            let text = match path {
                "/etc/hast.conf" => {
                    let listen = format!("listen {}\n", self.own(node));
                    listen + "control /var/run/hastctl\n" + &self.with_sources(text)
                }
                // Its poll is short, and its programs are the pretended ones.
                "/usr/local/etc/hast-switch.conf" => {
                    format!("{text}PATH=$HOST/bin:$PATH poll=0.05 retry=0.1\n")
                }
                _ => text.to_owned(),
            };
            let text = host.adapt(&self.adapt(&text));
            host.write(path.trim_start_matches('/'), &text);
        }
    }

    /// A configuration in which each node's block has its `source`.
    fn with_sources(&self, text: &str) -> String {
        let mut result = String::new();
        let mut block = 0;
        for line in text.lines().map(str::trim) {
            if let Some(node) = NAMES
                .iter()
                .position(|name| line.contains(&format!("on {name}")))
            {
                block = node;
            }
            if line.starts_with("remote") {
                result.extend(["source ", &self.own(block), "\n"]);
            }
            result.push_str(line);
            result.push('\n');
        }
        result
    }

    fn run(&self, node: usize, command: &str) {
        let host = &self.hosts[node];
        let command = self.adapt(command);
        let command = command.replace("/usr/local/share/", "$HOST/usr/local/share/");
        let done = host.run(&command);
        let name = NAMES[node];
        assert_eq!(
            done.code(),
            0,
            "{name}# {command}: {done:?}\n{}",
            host.read("log")
        );
        if let Some(state) = command.strip_prefix("ifconfig em0 vhid 1 state ") {
            self.elect(node, state);
        }
    }

    /// CARP gives the address to the other node, and devd tells of it.
    fn elect(&self, node: usize, state: &str) {
        let (loser, winner) = match state {
            "backup" => (node, 1 - node),
            _ => (1 - node, node),
        };
        for (node, state) in [(loser, "BACKUP"), (winner, "MASTER")] {
            self.hosts[node].write("carp", state);
            self.hosts[node]
                .run("hast-switch carp >/dev/null 2>&1 &")
                .expect_code(0);
        }
        wait_for("the fail-over", || {
            let mounts = self.hosts[winner].read("mounts");
            mounts.contains("/export").then_some(())
        });
        let left = self.hosts[loser].read("mounts");
        assert_eq!(left, "", "still mounted");
    }

    /// Does a whole guide; what can be seen from outside is looked at between.
    fn follow(&self, steps: &[Step], look: impl Fn(&Self, usize, &str)) {
        for step in steps {
            match step {
                Step::Write { path, text } => self.write(path, text),
                Step::Run { command, .. } if is_skipped(command) => {}
                Step::Run { on, command } => {
                    for node in nodes(on) {
                        self.run(node, command);
                        look(self, node, command);
                    }
                }
            }
        }
    }
}

fn is_skipped(command: &str) -> bool {
    SKIPPED.iter().any(|skipped| command.starts_with(skipped))
}

/// Which hosts a prompt means.
fn nodes(prompt: &str) -> Vec<usize> {
    let nodes = NAMES.iter().position(|name| *name == prompt);
    match prompt {
        "both" => vec![0, 1],
        _ => vec![nodes.unwrap_or_else(|| panic!("who is {prompt}?"))],
    }
}

/// The files that freebsd.md begins with.
fn files() -> Vec<Step> {
    let mut steps = steps(&read("docs/freebsd.md"));
    steps.retain(|step| matches!(step, Step::Write { .. }));
    steps
}

/// What the text promises behind the commands.
fn promises(pair: &Pair, node: usize, command: &str) {
    let host = &pair.hosts[node];
    let has_provider = || host.path("run/hast/data").exists();
    let said = |part: &str| host.run("hastctl status -v data").stdout.contains(part);
    match command {
        "hastctl role --wait primary data" => {
            assert!(has_provider());
            wait_for("the nodes to be in sync", || said("complete").then_some(()));
        }
        "hastctl role --wait --if-closed secondary data" | "hastctl role init all" => {
            assert!(!has_provider());
        }
        "service ggatec start" => assert_eq!(host.run("ggatec list").stdout, "ggate0\n"),
        _ => {}
    }
}

#[test]
fn freebsd_md_leads_from_empty_machines_to_a_fail_over() {
    let pair = Pair::new();
    pair.follow(&steps(&read("docs/freebsd.md")), promises);
    // CARP's last word was that the first node serves. The other one was
    // upgraded since, and was given what it missed.
    assert!(pair.hosts[0].path("run/hast/data").exists());
    assert!(pair.hosts[0].read("mounts").contains("/export"));
    wait_for("the upgraded node", || {
        let status = pair.hosts[0].run("hastctl status -v data").stdout;
        status.contains("complete for").then_some(())
    });
    assert!(!pair.hosts[1].path("run/hast/data").exists());
}

/// With ours in the part of base's, whose paths they are: what is shown is that
/// the order of the steps works, and that nothing is lost on the way.
#[test]
fn migrating_md_changes_one_program_at_a_time() {
    let pair = Pair::new();
    // What is there already: the pair in service, and a disk imported.
    pair.follow(&files(), promises);
    for node in [0, 1] {
        pair.run(node, "hastctl create data");
        pair.run(node, "sysrc hastd_enable=YES");
        pair.run(node, "service hastd start");
    }
    pair.run(1, "hastctl role --wait secondary data");
    pair.run(0, "hastctl role --wait primary data");
    pair.run(0, "mount /dev/hast/data /export");
    pair.run(0, "sysrc ggated_enable=YES");
    pair.run(0, "service ggated start");
    pair.run(1, "ggatec create -u 0 10.0.0.1 /dev/da2");
    pair.follow(&steps(&read("docs/migrating.md")), promises);
    let status = pair.hosts[1]
        .run("hastctl status -v data")
        .expect_code(0)
        .stdout;
    assert!(status.contains("primary"), "{status}");
    assert_eq!(
        pair.hosts[1].run("ggatec list").stdout,
        "ggate0\nhast/data\n"
    );
}

#[test]
fn the_examples_of_hastctl_run() {
    let pair = Pair::new();
    pair.follow(&files(), promises);
    for display in Manual::of("hastctl.8").displays("EXAMPLES") {
        let steps = of_block(&display);
        assert!(!steps.is_empty(), "{display:?}");
        pair.follow(&steps, promises);
    }
}

#[test]
fn the_examples_of_hastd_run() {
    let pair = Pair::new();
    pair.follow(&files(), promises);
    pair.run(0, "hastctl create data");
    for display in Manual::of("hastd.8").displays("EXAMPLES") {
        for command in display.iter().filter_map(|line| line.strip_prefix("# ")) {
            match command {
                // That is what the tests of the rc scripts do.
                _ if command.starts_with("sysrc") || command.starts_with("service") => {}
                // One runs already, and has the pid file until it has ended.
                "hastd -dF -c /tmp/hast.conf" => {
                    let stop = "hastctl stop; while service hastd onestatus; do sleep 0.1; done";
                    pair.run(0, stop);
                    pair.run(0, "timeout 2 hastd -dF; test $? = 124");
                }
                command => pair.run(0, command),
            }
        }
    }
}
