//! Neither worker allocates anything per request, in any mode, nor per request
//! that copies.

#![allow(clippy::unwrap_used, reason = "a test that fails says so")]

#[allow(dead_code, reason = "the tests of the workers use all of it")]
#[path = "worker/harness.rs"]
mod harness;

use harness::{NAME, Nodes, Worker, connect, in_sync, settings, start_of};
use hast::config::Settings;
use hast::ipc::{Event, Start};
use hast::worker::{self, Title};
use hast_core::metadata::CreateOptions;
use hast_core::payload::{Checksum, Compression};
use hast_core::primary::Replication;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, ExitCode};
use testkit::allocations::{self, Counted, Counting, PATTERNS, ROUND};
use testkit::nbd::{Client, READ, WRITE};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Bytes of an extent: small, so that there are many to copy.
const EXTENT: u32 = 8 << 10;

/// Extents to copy, a few and many.
const FEW: u32 = 64;
const MANY: u32 = ROUND / EXTENT;

fn main() -> ExitCode {
    if allocations::is_counted() {
        return worker::run();
    }
    let transformed = Settings {
        checksum: Checksum::Crc32,
        compression: Compression::Lzf,
        ..settings(Replication::Fullsync)
    };
    for settings in [
        settings(Replication::Fullsync),
        settings(Replication::Memsync),
        settings(Replication::Async),
        transformed.clone(),
        Settings {
            checksum: Checksum::Sha256,
            ..settings(Replication::Fullsync)
        },
    ] {
        requests(&settings);
    }
    for settings in [settings(Replication::Fullsync), transformed] {
        copies(&settings, |nodes| &nodes.a);
        copies(&settings, |nodes| &nodes.b);
    }
    ExitCode::SUCCESS
}

/// A worker that counts.
struct Node {
    worker: Worker,
    counted: Counted,
}

impl Node {
    fn start(nodes: &Nodes, local: &Path, title: Title, settings: &Settings) -> Self {
        // Messages for debugging are made for whoever wants them.
        let start = Start {
            debug: 0,
            ..start_of(NAME, local, title == Title::Primary, settings.clone())
        };
        let counted = Counted::at(nodes.sandbox.file(&title.of("worker")));
        let mut worker = Worker::run(&nodes.sandbox, start, |command| {
            *command = Command::new(allocations::program());
            command.arg0(title.of(NAME));
            counted.mark(command);
        });
        worker.ready();
        Self { worker, counted }
    }

    fn stop(self) {
        assert!(self.worker.stop().success());
    }
}

struct Pair {
    nodes: Nodes,
    primary: Node,
    secondary: Node,
}

impl Pair {
    fn new(settings: &Settings) -> Self {
        let options = CreateOptions {
            extentsize: Some(EXTENT.into()),
            ..CreateOptions::default()
        };
        let nodes = Nodes::with(u64::from(ROUND) + (1 << 20), options);
        let mut pair = Self::start(nodes, settings);
        connect(&mut pair.primary.worker, &mut pair.secondary.worker);
        in_sync(&mut pair.primary.worker);
        pair
    }

    fn start(nodes: Nodes, settings: &Settings) -> Self {
        Self {
            primary: Node::start(&nodes, &nodes.a, Title::Primary, settings),
            secondary: Node::start(&nodes, &nodes.b, Title::SecondaryIdle, settings),
            nodes,
        }
    }

    fn stop(self) -> Nodes {
        self.primary.stop();
        self.secondary.stop();
        self.nodes
    }

    fn counts(&self) -> [u64; 2] {
        [&self.primary, &self.secondary].map(|node| node.counted.allocations())
    }
}

fn requests(settings: &Settings) {
    let pair = Pair::new(settings);
    let mut client = Client::connect(&pair.nodes.socket()).unwrap();
    for (bytes, depth) in PATTERNS {
        for command in [READ, WRITE] {
            let what = format!("requests of {bytes} bytes (command {command}), {settings:?}");
            for node in [&pair.primary, &pair.secondary] {
                let mut round = || allocations::round(&mut client, command, bytes, depth);
                node.counted.stops_allocating(&what, &mut round);
            }
        }
    }
    for node in [&pair.primary, &pair.secondary] {
        let mut round = || allocations::flushes(&mut client);
        node.counted.stops_allocating("flushes", &mut round);
    }
    drop(client);
    pair.stop();
}

/// Asserts that copying many extents takes hardly more allocations than copying
/// a few: links, tables and up to 32 disk threads cost some, whatever is copied.
/// These threads come and go all the time on a machine that has too much to do,
/// so the best of some attempts counts.
fn copies(settings: &Settings, newer: fn(&Nodes) -> &Path) {
    let more = u64::from(MANY - FEW) / 8;
    let hardly_more = |_| {
        let (few, many) = (copy(settings, newer, FEW), copy(settings, newer, MANY));
        println!("{few:?}, {many:?}");
        let mut nodes = few.into_iter().zip(many);
        nodes.all(|(few, many)| many < few + more)
    };
    assert!((0..5).any(hardly_more), "each copy allocates: {settings:?}");
}

/// How often each of two workers allocates while this much is copied from the
/// node with this component.
fn copy(settings: &Settings, newer: fn(&Nodes) -> &Path, extents: u32) -> [u64; 2] {
    let nodes = Pair::new(settings).stop();
    write_alone(&nodes, newer(&nodes), extents);
    let mut pair = Pair::start(nodes, settings);
    let before = pair.counts();
    let _link = connect(&mut pair.primary.worker, &mut pair.secondary.worker);
    pair.primary.worker.event(Event::SyncDone);
    let after = pair.counts();
    in_sync(&mut pair.primary.worker);
    pair.nodes.assert_same();
    let done = pair.secondary.worker.status().statistics;
    assert!(done.reads + done.writes >= extents.into(), "{done:?}");
    pair.stop();
    [after[0] - before[0], after[1] - before[1]]
}

/// This node is primary for a while, without the other one.
fn write_alone(nodes: &Nodes, local: &Path, extents: u32) {
    let settings = settings(Replication::Fullsync);
    let mut worker = Worker::start(&nodes.sandbox, local, true, settings);
    worker.ready();
    let attempt = worker.asks_to_connect();
    worker.connected(attempt, None);
    let mut client = Client::connect(&nodes.socket_of(local)).unwrap();
    let data = vec![0x3c; (FEW * EXTENT) as usize];
    for begin in (0..extents).step_by(FEW as usize) {
        let offset = u64::from(begin) * u64::from(EXTENT);
        assert_eq!(client.write(offset, &data).unwrap(), 0);
    }
    drop(client);
    assert!(worker.stop().success());
}
