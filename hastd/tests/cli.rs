//! hastctl's and hastd's command lines against base's.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::io::Write as _;
use std::process::{Command, Stdio};
use testkit::cases::{self, Case};
use testkit::process::{Finished, Running, Sandbox};

/// Size of the component in the captures.
const SIZE: u64 = 16 << 20;

#[test]
fn hastd_s_command_lines_end_as_base_s_do() {
    cases::run("hastd", &[], |_| {});
}

/// The captures are one story: no component, a component, a daemon.
#[test]
fn hastctl_s_command_lines_end_as_base_s_do() {
    let sandbox = Sandbox::new();
    let config = "\
        control TMPDIR/ctl\nlisten 127.0.0.1:0\npidfile TMPDIR/pid\n\
        resource test {\nlocal TMPDIR/h.img\non node { remote none }\n}\n";
    // Port 0 cannot be written.
    let port = testkit::process::free_port().to_string();
    let config = config.replace(":0", &format!(":{port}"));
    sandbox.write("h.conf", sandbox.expand(&config));
    sandbox.write("h.conf.ext", "node node\n");
    let mut daemon = None;
    let mut failures = Vec::new();
    for case in cases::all("hastctl") {
        prepare(&sandbox, &case, &mut daemon);
        let arguments = case.arguments.iter().map(|a| sandbox.expand(a));
        let finished = sandbox.run("hastctl", arguments);
        if let Some(why) = differs(&sandbox, &case, finished) {
            failures.push(format!("$ {}\n{why}\n", case.line));
        }
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

fn prepare(sandbox: &Sandbox, case: &Case, daemon: &mut Option<Running>) {
    let image = sandbox.file("h.img");
    if case.line.starts_with("hastctl create -c h.conf -e") && !image.exists() {
        let file = std::fs::File::create(image).unwrap();
        file.set_len(SIZE).unwrap();
    }
    if case.line.starts_with("hastctl list -c h.conf") && daemon.is_none() {
        let started = sandbox.spawn("hastd", ["-F", "-c", "h.conf"]);
        started.wait_for_line("Started successfully");
        *daemon = Some(started);
    }
}

fn differs(sandbox: &Sandbox, case: &Case, mut ours: Finished) -> Option<String> {
    // Base dies of an assertion.
    if case.line == "hastctl create -c h.conf -m 4k test" {
        let refused = ours.status.code() == Some(65) && !ours.stderr.is_empty();
        return (!refused).then(|| format!("not refused: {ours:#?}"));
    }
    let base = Case {
        stdout: comparable(&sandbox.expand(&case.stdout)),
        ..case.clone()
    };
    ours.stdout = comparable(&ours.stdout);
    cases::differs(&base, &ours).map(|why| format!("{why}\nours: {ours:#?}"))
}

/// Process ids differ, and so does how many requests there is room for; who is
/// not root drops no privileges.
fn comparable(text: &str) -> String {
    let is_root = nix::unistd::geteuid().is_root();
    text.lines()
        .filter(|line| is_root || !line.contains("Privileges"))
        .map(
            |line| match (line.find("workerpid: "), line.find("idle: ")) {
                (Some(_), _) => "  workerpid: PID\n".to_owned(),
                (_, Some(at)) => format!("{}idle: N\n", &line[..at]),
                _ => format!("{line}\n"),
            },
        )
        .collect()
}

/// A shell's process substitution, or what another machine prints.
#[test]
fn a_configuration_may_come_from_a_pipe() {
    let hastctl = (env!("CARGO_BIN_EXE_hastctl"), ["status", "-c"]);
    let hastd = (env!("CARGO_BIN_EXE_hastd"), ["-t", "-c"]);
    for (program, arguments) in [hastctl, hastd] {
        let (reader, mut writer) = std::io::pipe().unwrap();
        let mut command = Command::new(program);
        command.args(arguments).arg("/dev/stdin").stdin(reader);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let running = command.spawn().unwrap();
        writer.write_all(b"timeout 5\nbogus\n").unwrap();
        drop(writer);
        let output = running.wait_with_output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("/dev/stdin:2:1: "), "{output:?}");
        assert_eq!(output.status.code(), Some(78));
    }
}
