//! Two HAST nodes on this machine, `a` and `b`: a daemon each, one
//! configuration, and a faulty proxy on the way to either.
//!
//! The nodes share a run directory, so their providers have different names:
//! `NAME` on `a`, `NAME-b` on `b`.

use crate::process::{DEADLINE, Finished, Running, Sandbox, free_port, wait_for};
use crate::proxy::Proxy;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::fmt::Write as _;
use std::fs::File;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// One of the two nodes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Side {
    /// The one that begins as primary.
    A,
    /// The other one.
    B,
}

impl Side {
    /// The other node.
    pub const fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
        }
    }
}

/// The pair.
#[derive(Debug)]
pub struct Pair {
    /// Where everything runs.
    pub sandbox: Sandbox,
    /// On the way from a primary on `a` to `b`, and from one on `b` to `a`.
    pub proxies: [Proxy; 2],
    ports: [u16; 2],
    resources: Vec<String>,
    daemons: [Option<Running>; 2],
}

impl Pair {
    /// Resources of `size` bytes each, created on both nodes; `settings` are
    /// lines of hast.conf outside of everything.
    pub fn new(resources: &[&str], size: u64, settings: &str) -> Self {
        let sandbox = Sandbox::new();
        let ports = [free_port(), free_port()];
        let proxy = |to: u16| Proxy::start(SocketAddr::from(([127, 0, 0, 1], to)));
        let proxies = [
            proxy(ports[1]).expect("a proxy"),
            proxy(ports[0]).expect("a proxy"),
        ];
        let pair = Self {
            sandbox,
            proxies,
            ports,
            resources: resources.iter().map(|&name| name.to_owned()).collect(),
            daemons: [None, None],
        };
        let text = pair.configuration(settings);
        pair.write_configuration(&text);
        for side in [Side::A, Side::B] {
            let file = pair.config(side);
            let extra = format!("{}.ext", file.display());
            std::fs::write(extra, format!("node {}\n", side.name())).expect("CONFIG.ext");
            for name in &pair.resources {
                let image = File::create(pair.image(side, name)).expect("an image");
                image.set_len(size).expect("an image");
            }
            let names: Vec<&str> = resources.to_vec();
            pair.hastctl(side, "create", &names).expect_code(0);
        }
        pair
    }

    /// Configures both nodes anew, to reach one another without the proxies: for
    /// measurements. A daemon that runs goes on as it was.
    pub fn configure_without_proxies(&self, settings: &str) {
        let text = self.configuration_with(settings, |side| self.address(side.other()));
        self.write_configuration(&text);
    }

    fn write_configuration(&self, text: &str) {
        for side in [Side::A, Side::B] {
            std::fs::write(self.config(side), text).expect("hast.conf");
        }
    }

    /// The text of hast.conf.
    pub fn configuration(&self, settings: &str) -> String {
        self.configuration_with(settings, |side| self.proxies[side as usize].address())
    }

    /// The same, of nodes that reach one another at `remote`.
    fn configuration_with(&self, settings: &str, remote: impl Fn(Side) -> SocketAddr) -> String {
        let mut text = format!("{settings}\n");
        for side in [Side::A, Side::B] {
            let (name, port) = (side.name(), self.ports[side as usize]);
            let control = self.control(side);
            let _ = writeln!(
                text,
                "on {name} {{ control {} listen 127.0.0.1:{port} }}",
                control.display()
            );
        }
        for name in &self.resources {
            let _ = writeln!(text, "resource {name} {{");
            for side in [Side::A, Side::B] {
                let local = self.image(side, name);
                let remote = remote(side);
                let provider = Self::provider(side, name);
                let _ = writeln!(
                    text,
                    "on {} {{ name {provider} local {} remote {remote} }}",
                    side.name(),
                    local.display()
                );
            }
            let _ = writeln!(text, "}}");
        }
        text
    }

    fn provider(side: Side, name: &str) -> String {
        match side {
            Side::A => name.into(),
            Side::B => format!("{name}-b"),
        }
    }

    /// The file of hast.conf.
    pub fn config(&self, side: Side) -> PathBuf {
        self.sandbox.file(&format!("{}.conf", side.name()))
    }

    /// The control socket.
    pub fn control(&self, side: Side) -> PathBuf {
        self.sandbox.file(&format!("{}.ctl", side.name()))
    }

    /// A component.
    pub fn image(&self, side: Side, name: &str) -> PathBuf {
        self.sandbox.file(&format!("{name}.{}", side.name()))
    }

    /// The socket of a provider, there or not.
    pub fn socket(&self, side: Side, name: &str) -> PathBuf {
        let provider = Self::provider(side, name);
        self.sandbox.run_dir().join("hast").join(provider)
    }

    /// Where the daemon of a node listens for the other.
    pub fn address(&self, side: Side) -> SocketAddr {
        SocketAddr::from(([127, 0, 0, 1], self.ports[side as usize]))
    }

    /// Starts the daemon of a node; returns when it answers.
    pub fn start(&mut self, side: Side) {
        self.start_program(side, "hastd");
    }

    /// The same with another program that does what hastd does.
    pub fn start_program(&mut self, side: Side, program: &str) {
        let config = self.config(side);
        let pidfile = self.sandbox.file(&format!("{}.pid", side.name()));
        let daemon = self.sandbox.spawn(
            program,
            [
                "-F".as_ref(),
                "-c".as_ref(),
                config.as_os_str(),
                "-P".as_ref(),
                pidfile.as_os_str(),
            ],
        );
        daemon.wait_for_line("Started successfully");
        self.daemons[side as usize] = Some(daemon);
    }

    /// The daemon of a node.
    ///
    /// # Panics
    /// If it does not run.
    pub fn daemon(&self, side: Side) -> &Running {
        let daemon = self.daemons[side as usize].as_ref();
        daemon.expect("a daemon that was started")
    }

    /// Ends the daemon of a node in order.
    pub fn stop(&mut self, side: Side) -> Finished {
        let daemon = self.daemons[side as usize].take();
        daemon.expect("a daemon that was started").terminate()
    }

    /// Waits for the daemon of a node to end by itself.
    pub fn ended(&mut self, side: Side) -> Finished {
        let daemon = self.daemons[side as usize].take();
        daemon.expect("a daemon that was started").finish()
    }

    /// Kills the daemon alone; its workers notice.
    pub fn kill_daemon(&mut self, side: Side) {
        let daemon = self.daemons[side as usize].take();
        daemon.expect("a daemon that was started").kill9();
    }

    /// Kills all processes of a node, as a power cut would, except that what
    /// the system has it keeps.
    pub fn kill_node(&mut self, side: Side) {
        let workers: Vec<Pid> = self
            .resources
            .clone()
            .iter()
            .filter_map(|name| self.worker(side, name))
            .collect();
        let daemon = self.daemons[side as usize].take();
        let daemon = daemon.expect("a daemon that was started");
        for pid in workers {
            // It may have ended by itself.
            let _ = kill(pid, Signal::SIGKILL);
        }
        daemon.kill9();
    }

    /// The worker of a resource, whichever role it has: by its parent and its
    /// title, since an idle secondary's is not told.
    pub fn worker(&self, side: Side, name: &str) -> Option<Pid> {
        let parent = self.daemon(side).pid();
        let title = format!("hastd: {name} (");
        let of_parent = |pid: &Pid| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            let fields = stat.rsplit_once(')').map_or("", |(_, fields)| fields);
            fields.split_whitespace().nth(1) == Some(&parent.to_string())
        };
        let has_title = |pid: &Pid| {
            let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            line.starts_with(title.as_bytes())
        };
        std::fs::read_dir("/proc")
            .ok()?
            .flatten()
            .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
            .map(Pid::from_raw)
            .find(|pid| of_parent(pid) && has_title(pid))
    }

    /// Runs `hastctl COMMAND -c CONFIG ARGUMENTS` on a node.
    pub fn hastctl(&self, side: Side, command: &str, arguments: &[&str]) -> Finished {
        let config = self.config(side);
        let config = config.to_str().expect("a path in UTF-8");
        let mut all = vec![command, "-c", config];
        all.extend(arguments);
        self.sandbox.run("hastctl", all)
    }

    /// Sets a role, of all resources.
    pub fn role(&self, side: Side, role: &str) {
        self.hastctl(side, "role", &[role, "all"]).expect_code(0);
    }

    /// A field of `hastctl list`, as base prints it.
    pub fn field(&self, side: Side, name: &str, field: &str) -> Option<String> {
        let listed = self.hastctl(side, "list", &[name]).expect_code(0).stdout;
        let start = format!("{field}: ");
        let value = listed
            .lines()
            .find_map(|line| line.trim().strip_prefix(&start));
        value.map(str::to_owned)
    }

    /// Waits until a primary says that both nodes are the same, which is later
    /// than that nothing is left to copy: only then may the other one take
    /// over without a word about it.
    pub fn wait_for_sync(&self, side: Side, name: &str, patience: Duration) {
        let deadline = Instant::now() + patience;
        loop {
            let told = self.hastctl(side, "status", &["--json", name]);
            let told: String = told.expect_code(0).stdout.split_whitespace().collect();
            if told.contains("\"state\":\"complete\"") && told.contains("\"dirty\":0") {
                return;
            }
            assert!(
                Instant::now() < deadline,
                "{name} is not in sync: {}\n{}\n{}",
                self.hastctl(side, "status", &["-v", name]).stdout,
                self.daemon(side).stdout(),
                self.daemon(side).stderr(),
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits for the provider of a node.
    pub fn wait_for_provider(&self, side: Side, name: &str) -> PathBuf {
        let socket = self.socket(side, name);
        wait_for("a provider", || socket.exists().then_some(()));
        socket
    }

    /// The data of a component, without metadata and map.
    ///
    /// # Panics
    /// If there is no component.
    pub fn data(&self, side: Side, name: &str) -> Vec<u8> {
        let dumped = self.hastctl(side, "dump", &[name]).expect_code(0).stdout;
        let offset = dumped
            .lines()
            .find_map(|line| line.trim().strip_prefix("localoff: "));
        let offset: usize = offset.expect("localoff").parse().expect("a number");
        std::fs::read(self.image(side, name)).expect("an image")[offset..].to_vec()
    }

    /// How long anything may take.
    pub const PATIENCE: Duration = DEADLINE;
}
