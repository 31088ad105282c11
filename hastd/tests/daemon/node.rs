//! hastd as a process, with its configuration and its components, and a client
//! of its control socket.

use hast_core::frame::{CONTROL_LIMIT, Decoder, Event};
use hast_core::message::{Command, ControlReply, ControlRequest, Names, Wishes};
use hast_core::metadata::{BLOCK_LENGTH, CreateOptions, Metadata, Provider};
use hast_core::nv::Text;
use hast_core::role::Role;
use nix::unistd::Pid;
use std::io::{Read as _, Write as _};
use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use testkit::process::{DEADLINE, Finished, Running, Sandbox, free_port, wait_for};

/// What to ask for; base asks for nothing more.
pub(crate) const PLAIN: Wishes = Wishes {
    wait: false,
    if_closed: false,
    report: false,
};

/// A node before it is started.
pub(crate) struct Node {
    pub(crate) sandbox: Sandbox,
    pub(crate) address: String,
    /// Lines for the configuration, at the top.
    pub(crate) settings: String,
    /// The resources, each with its lines for this node.
    pub(crate) resources: Vec<(String, String)>,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self {
            sandbox: Sandbox::new(),
            address: format!("tcp4://127.0.0.1:{}", free_port()),
            settings: String::new(),
            resources: Vec::new(),
        }
    }

    /// With a resource whose component is initialised.
    pub(crate) fn with(mut self, name: &str, remote: &str) -> Self {
        let local = self.component(name);
        let lines = format!("local {}\nremote {remote}\n", local.display());
        self.resources.push((name.into(), lines));
        self
    }

    pub(crate) fn settings(mut self, lines: &str) -> Self {
        self.settings.push_str(lines);
        self
    }

    /// A component as `hastctl create` makes it.
    fn component(&self, name: &str) -> PathBuf {
        let size = 8 << 20;
        let provider = Provider {
            mediasize: size,
            sectorsize: 512,
        };
        let metadata = Metadata::create(name, provider, CreateOptions::default()).unwrap();
        let mut block = [0; BLOCK_LENGTH];
        metadata.encode(&mut block).unwrap();
        let path = self.sandbox.write(&format!("{name}.img"), block);
        let file = std::fs::File::options().write(true).open(&path).unwrap();
        file.set_len(size).unwrap();
        path
    }

    /// Writes hast.conf and hast.conf.ext.
    pub(crate) fn configure(&self) {
        let control = self.sandbox.file("ctl");
        let mut text = format!(
            "control {}\nlisten {}\n{}\n",
            control.display(),
            self.address,
            self.settings
        );
        for (name, lines) in &self.resources {
            let resource = ["resource ", name, " {\non here {\n", lines, "}\n}\n"];
            text.extend(resource);
        }
        self.sandbox.write("hast.conf", text);
        if !self.sandbox.file("hast.conf.ext").exists() {
            self.sandbox.write("hast.conf.ext", "node here\n");
        }
    }

    /// In the foreground, with its pid file.
    pub(crate) fn start(self) -> Hastd {
        self.configure();
        let arguments = ["-F", "-dd", "-c", "hast.conf", "-P", "pid"];
        let running = self.sandbox.spawn(env!("CARGO_BIN_EXE_hastd"), arguments);
        running.wait_for_line("Listening on address");
        Hastd {
            running,
            node: self,
        }
    }
}

/// A daemon that runs.
pub(crate) struct Hastd {
    pub(crate) running: Running,
    pub(crate) node: Node,
}

/// What the daemon said about one resource.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Part {
    pub(crate) error: i16,
    pub(crate) reason: String,
    pub(crate) role: String,
    /// `complete` or `degraded`, if there is a worker.
    pub(crate) status: String,
    pub(crate) workerpid: i32,
    pub(crate) report: String,
}

impl Hastd {
    pub(crate) fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.node.sandbox.file("ctl")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    /// One request and its answer.
    pub(crate) fn ask(&self, command: Command, names: &[&str], wishes: Wishes) -> Vec<Part> {
        let mut stream = self.connect();
        stream.write_all(&request(command, names, wishes)).unwrap();
        parts(&answer(&mut stream))
    }

    pub(crate) fn status(&self, name: &str) -> Part {
        self.ask(Command::Status, &[name], PLAIN).remove(0)
    }

    /// With what is ours.
    pub(crate) fn report(&self, name: &str) -> Part {
        let wishes = Wishes {
            report: true,
            ..PLAIN
        };
        self.ask(Command::Status, &[name], wishes).remove(0)
    }

    pub(crate) fn role(&self, role: Role, name: &str) -> Part {
        self.ask(Command::SetRole(role), &[name], PLAIN).remove(0)
    }

    /// Sets a role and waits for the worker.
    pub(crate) fn role_ready(&self, role: Role, name: &str) -> Part {
        let wishes = Wishes {
            wait: true,
            report: true,
            ..PLAIN
        };
        self.ask(Command::SetRole(role), &[name], wishes).remove(0)
    }

    /// The worker's process, with or without a primary.
    pub(crate) fn worker(&self, name: &str) -> Pid {
        wait_for("a worker", || {
            // There is none of one that has just died.
            let report = self.report(name).report;
            let report: serde_json::Value = serde_json::from_str(&report).ok()?;
            let pid = report["daemon"]["workerpid"].as_i64().unwrap();
            (pid != 0).then(|| Pid::from_raw(pid.try_into().unwrap()))
        })
    }

    /// Waits until it has said this.
    pub(crate) fn wait_for_line(&self, part: &str) {
        wait_for(&format!("a line with {part:?}"), || {
            let said = self.running.stdout() + &self.running.stderr();
            said.contains(part).then_some(())
        });
    }

    pub(crate) fn terminate(self) -> Finished {
        self.running.terminate()
    }
}

/// A request as hastctl sends it.
pub(crate) fn request(command: Command, names: &[&str], wishes: Wishes) -> Vec<u8> {
    let names = match names {
        ["all"] => Names::All,
        names => Names::These(names.iter().map(|name| Text::from(*name)).collect()),
    };
    let request = ControlRequest {
        command,
        names,
        wishes,
    };
    let mut bytes = vec![0; 1 << 18];
    let length = request.encode(&mut bytes).unwrap();
    bytes.truncate(length);
    bytes
}

/// The entries of the answer, after which the daemon hangs up.
pub(crate) fn answer(stream: &mut UnixStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    let mut decoder = Decoder::new(CONTROL_LIMIT);
    match decoder.next(&bytes) {
        Ok((taken, Some(Event::Message(entries)))) => {
            assert_eq!(taken, bytes.len());
            entries.to_vec()
        }
        other => panic!("no answer: {other:?}"),
    }
}

pub(crate) fn parts(entries: &[u8]) -> Vec<Part> {
    let reply = ControlReply::decode(entries).unwrap();
    let text = |text: Option<Text<'_>>| text.unwrap_or_default().to_string();
    let parts = reply.resources.iter().map(|part| {
        let worker = part.status.and_then(|status| status.worker);
        Part {
            error: part.error.map_or(0, |code| code.0),
            reason: text(part.reason),
            role: text(part.role),
            status: text(worker.map(|worker| worker.status)),
            workerpid: part.status.map_or(0, |status| status.workerpid),
            report: text(part.report),
        }
    });
    parts.collect()
}

/// An address nobody listens at.
pub(crate) fn nowhere() -> String {
    format!("tcp4://{}:{}", Ipv4Addr::LOCALHOST, free_port())
}
