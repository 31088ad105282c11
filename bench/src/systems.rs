//! The chains that are compared.

use crate::process::Daemon;
use crate::rows::FILE_SIZE;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use testkit::process::{Running, Sandbox, free_port, wait_for_file, wait_for_port};

/// A chain and how to reach it.
#[derive(Debug)]
pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) uri: String,
    /// Those whose processor time and memory it costs.
    pub(crate) daemons: Vec<Daemon>,
    /// Where its files are, for as long as it runs.
    _sandbox: Rc<Sandbox>,
}

impl System {
    /// Seconds of processor time of all its daemons.
    pub(crate) fn cpu(&self) -> f64 {
        self.daemons.iter().map(Daemon::cpu).sum()
    }
}

/// All systems over one file; ours is the first.
pub(crate) fn start() -> [System; 3] {
    let sandbox = Rc::new(Sandbox::new());
    let image = image(&sandbox);
    [
        ours(&sandbox, &image),
        two_hops(&sandbox, &image),
        one_hop(&sandbox, &image),
    ]
}

/// A file without zeros, all of it in memory.
fn image(sandbox: &Sandbox) -> PathBuf {
    let path = sandbox.file("disk.img");
    let mut file = File::create(&path).expect("a file");
    let piece = vec![0x5a; 1 << 20];
    for _ in 0..FILE_SIZE >> 20 {
        file.write_all(&piece).expect("room for the file");
    }
    path
}

fn ours(sandbox: &Rc<Sandbox>, image: &Path) -> System {
    sandbox.write("exports", format!("127.0.0.1 RW {}\n", image.display()));
    let port = free_port();
    let text = port.to_string();
    let server = sandbox.spawn("ggated", ["-v", "-p", &text, "-F", "pid", "exports"]);
    wait_for_port(([127, 0, 0, 1], port).into());
    let image = image.to_str().expect("a path in UTF-8");
    let client = sandbox.spawn("ggatec", ["create", "-v", "-p", &text, "127.0.0.1", image]);
    client.wait_for_line("ggate0");
    let socket = sandbox.run_dir().join("ggate0");
    System {
        name: "ours",
        uri: unix_uri(&socket),
        daemons: vec![Daemon::new("ggatec", client), Daemon::new("ggated", server)],
        _sandbox: Rc::clone(sandbox),
    }
}

fn two_hops(sandbox: &Rc<Sandbox>, image: &Path) -> System {
    let (server, uri) = file_server(sandbox, image);
    let socket = sandbox.file("proxy");
    let path = socket.to_str().expect("a path in UTF-8");
    let target = format!("uri={uri}");
    let proxy = sandbox.spawn("/usr/bin/nbdkit", ["-f", "-U", path, "nbd", &target]);
    wait_for_file(&socket);
    System {
        name: "two hops",
        uri: unix_uri(&socket),
        daemons: vec![
            Daemon::new("nbdkit nbd", proxy),
            Daemon::new("nbdkit file", server),
        ],
        _sandbox: Rc::clone(sandbox),
    }
}

fn one_hop(sandbox: &Rc<Sandbox>, image: &Path) -> System {
    let (server, uri) = file_server(sandbox, image);
    System {
        name: "one hop",
        uri,
        daemons: vec![Daemon::new("nbdkit file", server)],
        _sandbox: Rc::clone(sandbox),
    }
}

/// nbdkit with the file on a TCP port, and how to reach it.
fn file_server(sandbox: &Sandbox, image: &Path) -> (Running, String) {
    let port = free_port();
    let text = port.to_string();
    let image = image.to_str().expect("a path in UTF-8");
    let args = ["-f", "-i", "127.0.0.1", "-p", &text, "file", image];
    let server = sandbox.spawn("/usr/bin/nbdkit", args);
    wait_for_port(([127, 0, 0, 1], port).into());
    (server, format!("nbd://127.0.0.1:{port}"))
}

fn unix_uri(socket: &Path) -> String {
    format!("nbd+unix:///?socket={}", socket.display())
}
