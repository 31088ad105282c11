//! The chains that are compared.

use crate::process::Daemon;
use crate::rows::{FILE_SIZE, Group};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;
use testkit::hast::{Pair, Side};
use testkit::process::{Running, Sandbox, free_port, wait_for_file, wait_for_port};
use testkit::proxy::Proxy;

/// The resource of a pair.
pub(crate) const NAME: &str = "data";

/// What metadata and map take of a component, at most.
pub(crate) const OVERHEAD: u64 = 1 << 20;

/// How long anything may take before a measurement.
const PATIENCE: Duration = Duration::from_secs(60);

/// A chain and how to reach it.
pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) uri: String,
    /// Those whose processor time and memory it costs.
    pub(crate) daemons: Vec<Daemon>,
    /// What runs, and where its files are.
    keep: Keep,
}

/// Whatever must live as long as a system.
enum Keep {
    Programs {
        _running: Vec<Running>,
        _sandbox: Rc<Sandbox>,
        link: Option<Proxy>,
    },
    Pair(Box<Pair>),
}

impl System {
    /// The link between the ends of a system of [`over_a_link`].
    pub(crate) fn link(&self) -> &Proxy {
        match &self.keep {
            Keep::Programs { link, .. } => link.as_ref().expect("a system over a link"),
            Keep::Pair(pair) => &pair.proxies[Side::A as usize],
        }
    }
}

/// How the ends of a system reach one another.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Way {
    Direct,
    /// Through a proxy.
    Link,
}

impl Way {
    /// Where a server is reached.
    fn to(self, server: SocketAddr) -> (SocketAddr, Option<Proxy>) {
        match self {
            Self::Direct => (server, None),
            Self::Link => {
                let proxy = Proxy::start(server).expect("a proxy");
                (proxy.address(), Some(proxy))
            }
        }
    }
}

/// The systems of a group; those it is about come first.
pub(crate) fn start(group: Group) -> Vec<System> {
    let sandbox = Rc::new(Sandbox::new());
    let image = image(&sandbox);
    match group {
        Group::Ggate => vec![
            ggate(&sandbox, &image, Way::Direct),
            two_hops(&sandbox, &image, Way::Direct),
            one_hop(&sandbox, &image),
            qemu(&sandbox, &image),
        ],
        Group::Hast => vec![
            hast("fullsync", "replication fullsync"),
            hast("memsync", "replication memsync"),
            hast("async", "replication async"),
            ggate(&sandbox, &image, Way::Direct),
            two_hops(&sandbox, &image, Way::Direct),
            one_hop_unix(&sandbox, &image),
        ],
        Group::Checksum => vec![
            hast("none", "replication fullsync"),
            hast("crc32", "replication fullsync\nchecksum crc32"),
            hast("sha256", "replication fullsync\nchecksum sha256"),
        ],
    }
}

/// Systems between whose ends there is a link.
pub(crate) fn over_a_link() -> [System; 5] {
    let sandbox = Rc::new(Sandbox::new());
    let image = image(&sandbox);
    [
        ggate(&sandbox, &image, Way::Link),
        filled("fullsync", "replication fullsync", Way::Link),
        filled("memsync", "replication memsync", Way::Link),
        filled("async", "replication async", Way::Link),
        two_hops(&sandbox, &image, Way::Link),
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

fn ggate(sandbox: &Rc<Sandbox>, image: &Path, way: Way) -> System {
    sandbox.write("exports", format!("127.0.0.1 RW {}\n", image.display()));
    let port = free_port();
    let text = port.to_string();
    let server = sandbox.spawn("ggated", ["-v", "-p", &text, "-F", "pid", "exports"]);
    let address = ([127, 0, 0, 1], port).into();
    wait_for_port(address);
    let (address, link) = way.to(address);
    let text = address.port().to_string();
    let image = image.to_str().expect("a path in UTF-8");
    let client = sandbox.spawn("ggatec", ["create", "-v", "-p", &text, "127.0.0.1", image]);
    client.wait_for_line("ggate0");
    let socket = sandbox.run_dir().join("ggate0");
    system(
        "ggate",
        unix_uri(&socket),
        vec![("ggatec", client), ("ggated", server)],
        sandbox,
        link,
    )
}

/// Nothing but these two.
pub(crate) fn ggate_alone() -> System {
    let sandbox = Rc::new(Sandbox::new());
    let image = image(&sandbox);
    ggate(&sandbox, &image, Way::Direct)
}

/// Both nodes of a pair, in sync, without zeros, so that nothing is a hole.
pub(crate) fn hast(name: &'static str, settings: &str) -> System {
    filled(name, settings, Way::Direct)
}

fn filled(name: &'static str, settings: &str, way: Way) -> System {
    let pair = Pair::new(&[NAME], FILE_SIZE + OVERHEAD, settings);
    if way == Way::Direct {
        pair.configure_without_proxies(settings);
    }
    for side in [Side::A, Side::B] {
        fill(&pair, side);
    }
    joined(name, pair, ["hastd"; 2])
}

/// A pair, its nodes started by these programs, in sync.
pub(crate) fn joined(name: &'static str, mut pair: Pair, programs: [&str; 2]) -> System {
    for (side, role) in [(Side::B, "secondary"), (Side::A, "primary")] {
        pair.start_program(side, programs[side as usize]);
        pair.role(side, role);
    }
    let socket = pair.wait_for_provider(Side::A, NAME);
    pair.wait_for_sync(Side::A, NAME, PATIENCE);
    System {
        name,
        uri: unix_uri(&socket),
        daemons: workers(&pair),
        keep: Keep::Pair(Box::new(pair)),
    }
}

/// The workers of both nodes of a pair.
pub(crate) fn workers(pair: &Pair) -> Vec<Daemon> {
    let worker = |side| pair.worker(side, NAME).expect("a worker");
    vec![
        Daemon::new("primary", worker(Side::A)),
        Daemon::new("secondary", worker(Side::B)),
    ]
}

fn fill(pair: &Pair, side: Side) {
    let file = OpenOptions::new().write(true).open(pair.image(side, NAME));
    let file = file.expect("an image");
    let piece = vec![0x5a; 1 << 20];
    for n in 0..FILE_SIZE >> 20 {
        file.write_all_at(&piece, OVERHEAD + (n << 20))
            .expect("room for the image");
    }
}

/// The second hop goes this way.
fn two_hops(sandbox: &Rc<Sandbox>, image: &Path, way: Way) -> System {
    let (server, address) = file_server(sandbox, image);
    let (address, link) = way.to(address);
    let socket = sandbox.file("proxy");
    let path = socket.to_str().expect("a path in UTF-8");
    let target = format!("uri=nbd://{address}");
    let proxy = sandbox.spawn("/usr/bin/nbdkit", ["-f", "-U", path, "nbd", &target]);
    wait_for_file(&socket);
    system(
        "two hops",
        unix_uri(&socket),
        vec![("nbdkit nbd", proxy), ("nbdkit file", server)],
        sandbox,
        link,
    )
}

fn one_hop(sandbox: &Rc<Sandbox>, image: &Path) -> System {
    let (server, address) = file_server(sandbox, image);
    let uri = format!("nbd://{address}");
    system("one hop", uri, vec![("nbdkit file", server)], sandbox, None)
}

/// One hop by somebody else.
fn qemu(sandbox: &Rc<Sandbox>, image: &Path) -> System {
    let port = free_port();
    let text = port.to_string();
    let image = image.to_str().expect("a path in UTF-8");
    // Persistent: it would end with the first client, who only asks whether
    // somebody listens.
    let args = ["-t", "-e", "4", "-f", "raw", "-b", "127.0.0.1", "-p", &text];
    let server = sandbox.spawn("/usr/bin/qemu-nbd", args.into_iter().chain([image]));
    wait_for_port(([127, 0, 0, 1], port).into());
    system(
        "qemu-nbd",
        format!("nbd://127.0.0.1:{port}"),
        vec![("qemu-nbd", server)],
        sandbox,
        None,
    )
}

fn one_hop_unix(sandbox: &Rc<Sandbox>, image: &Path) -> System {
    let socket = sandbox.file("direct");
    let path = socket.to_str().expect("a path in UTF-8");
    let image = image.to_str().expect("a path in UTF-8");
    let server = sandbox.spawn("/usr/bin/nbdkit", ["-f", "-U", path, "file", image]);
    wait_for_file(&socket);
    system(
        "one hop unix",
        unix_uri(&socket),
        vec![("nbdkit file", server)],
        sandbox,
        None,
    )
}

pub(crate) fn system(
    name: &'static str,
    uri: String,
    programs: Vec<(&'static str, Running)>,
    sandbox: &Rc<Sandbox>,
    link: Option<Proxy>,
) -> System {
    let daemons = programs.iter();
    let daemons = daemons.map(|(name, running)| Daemon::new(name, running.pid()));
    System {
        name,
        uri,
        daemons: daemons.collect(),
        keep: Keep::Programs {
            _running: programs.into_iter().map(|(_, running)| running).collect(),
            _sandbox: Rc::clone(sandbox),
            link,
        },
    }
}

/// nbdkit with the file, and where it listens.
fn file_server(sandbox: &Sandbox, image: &Path) -> (Running, SocketAddr) {
    let port = free_port();
    let text = port.to_string();
    let image = image.to_str().expect("a path in UTF-8");
    let args = ["-f", "-i", "127.0.0.1", "-p", &text, "file", image];
    let server = sandbox.spawn("/usr/bin/nbdkit", args);
    let address = ([127, 0, 0, 1], port).into();
    wait_for_port(address);
    (server, address)
}

pub(crate) fn unix_uri(socket: &Path) -> String {
    format!("nbd+unix:///?socket={}", socket.display())
}
