//! Components that fail. The system makes them: a limit on the size of files,
//! set on a worker that runs, lets every write beyond it fail; a file that was
//! cut shorter has nothing to read where it ended.

use crate::harness::{Nodes, Pair, Worker, connect, in_sync, metadata, settings, start_of};
use hast::ipc::Event;
use hast_core::metadata::Consistency;
use hast_core::primary::Replication;
use std::fs::{File, OpenOptions};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use testkit::nbd::{Client, FLUSH};
use testkit::process::wait_for;

const SIZE: u64 = 8 << 20;

/// NBD's EIO.
const EIO: u32 = 5;

/// Half of a component of [`SIZE`], in its data.
const HALF: u64 = 4 << 20;

/// A worker that lives on when a write fails for the limit.
fn start(nodes: &Nodes, local: &Path, primary: bool, replication: Replication) -> Worker {
    let start = start_of("data", local, primary, settings(replication));
    let mut worker = Worker::run(&nodes.sandbox, start, |command| {
        let ignore = || {
            // SAFETY: it is ignored, so no handler runs.
            #[allow(unsafe_code)]
            unsafe {
                nix::sys::signal::signal(
                    nix::sys::signal::Signal::SIGXFSZ,
                    nix::sys::signal::SigHandler::SigIgn,
                )?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec this makes one system call and
        // allocates nothing.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(ignore);
        }
    });
    worker.ready();
    worker
}

/// From now on the worker's writes beyond so many bytes of a file fail.
fn limit(worker: &Worker, bytes: Option<u64>) {
    let limit = libc::rlimit {
        rlim_cur: bytes.unwrap_or(libc::RLIM_INFINITY),
        rlim_max: libc::RLIM_INFINITY,
    };
    let pid = worker.pid().try_into().unwrap();
    // SAFETY: `limit` outlives the call, and the old one is not asked for.
    #[allow(unsafe_code)]
    let result = unsafe {
        libc::prlimit(
            pid,
            libc::RLIMIT_FSIZE,
            &raw const limit,
            std::ptr::null_mut(),
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

fn pair(replication: Replication) -> Pair {
    let nodes = Nodes::new(SIZE);
    let mut secondary = start(&nodes, &nodes.b, false, replication);
    let mut primary = start(&nodes, &nodes.a, true, replication);
    let link = connect(&mut primary, &mut secondary);
    primary.event(Event::Connect);
    secondary.event(Event::Connect);
    in_sync(&mut primary);
    Pair {
        nodes,
        primary,
        secondary,
        link,
        settings: settings(replication),
    }
}

fn alone(nodes: &Nodes) -> (Worker, Client) {
    let mut primary = start(nodes, &nodes.a, true, Replication::Fullsync);
    let attempt = primary.asks_to_connect();
    primary.connected(attempt, None);
    let client = Client::connect(&nodes.socket()).unwrap();
    (primary, client)
}

/// K4: base goes on reading what the disk had before.
#[test]
fn what_the_local_component_could_not_write_is_read_from_the_peer_and_copied_back() {
    for replication in [
        Replication::Fullsync,
        Replication::Memsync,
        Replication::Async,
    ] {
        let mut pair = pair(replication);
        let mut client = pair.client();
        assert_eq!(client.write(HALF, &[1; 4096]).unwrap(), 0);
        assert_eq!(client.call(FLUSH, 0, 0, 0, &[]).unwrap().error, 0);
        limit(&pair.primary, Some(HALF));
        assert_eq!(client.write(HALF, &[2; 4096]).unwrap(), 0);
        // Whoever finds the component says so, before the client heard.
        let stored = metadata(&pair.nodes.a);
        assert_eq!(stored.consistency, Consistency::Inconsistent);
        assert_eq!(client.read(HALF, 4096).unwrap().unwrap(), [2; 4096]);
        pair.primary.logged("WRITE of");
        let status = pair.primary.status();
        assert_eq!(status.statistics.write_errors, 1);
        assert_eq!(status.report.state, "synchronizing");
        let (trouble, _) = status.report.last_error.unwrap();
        assert!(trouble.contains("the local component: WRITE"), "{trouble}");
        limit(&pair.primary, None);
        pair.wait_for_sync();
        assert!(pair.nodes.data(&pair.nodes.a)[4 << 20..][..4096] == [2; 4096]);
        pair.nodes.assert_same();
        let stored = metadata(&pair.nodes.a);
        assert_eq!(stored.consistency, Consistency::Consistent);
    }
}

#[test]
fn a_write_that_nobody_could_carry_out_is_an_error() {
    let nodes = Nodes::new(SIZE);
    let (primary, mut client) = alone(&nodes);
    assert_eq!(client.write(HALF, &[1; 512]).unwrap(), 0);
    limit(&primary, Some(HALF));
    assert_ne!(client.write(HALF, &[2; 512]).unwrap(), 0);
    // That one extent is in trouble, no other is.
    assert_eq!(client.write(512, &[3; 512]).unwrap(), 0);
    limit(&primary, None);
    assert_eq!(client.write(HALF, &[4; 512]).unwrap(), 0);
    assert_eq!(client.read(HALF, 512).unwrap().unwrap(), [4; 512]);
}

/// K11: base writes all the same, and after a crash nobody knows what differs.
#[test]
fn what_cannot_be_noted_in_the_map_is_not_written_anywhere() {
    let mut pair = pair(Replication::Async);
    let mut client = pair.client();
    limit(&pair.primary, Some(4096));
    assert_eq!(client.write(HALF, &[1; 512]).unwrap(), EIO);
    pair.primary
        .logged("the map of what differs cannot be stored");
    let status = pair.primary.status();
    // Each attempt once.
    assert!((1..=10).contains(&status.statistics.write_errors));
    assert_eq!(status.statistics.flush_errors, 0);
    for component in [&pair.nodes.a, &pair.nodes.b] {
        assert!(pair.nodes.data(component).iter().all(|byte| *byte == 0));
    }
    limit(&pair.primary, None);
    wait_for("a write", || {
        (client.write(HALF, &[1; 512]).unwrap() == 0).then_some(())
    });
    pair.wait_for_sync();
    pair.nodes.assert_same();
}

#[test]
fn what_the_peer_could_not_write_is_copied_when_it_can() {
    for replication in [Replication::Fullsync, Replication::Async] {
        let mut pair = pair(replication);
        let mut client = pair.client();
        limit(&pair.secondary, Some(HALF));
        assert_eq!(client.write(HALF, &[1; 4096]).unwrap(), 0);
        let status = pair.primary.becomes("synchronizing");
        assert!(status.dirty > 0);
        let (trouble, _) = status.report.last_error.unwrap();
        assert!(trouble.contains("the other node: WRITE"), "{trouble}");
        pair.secondary.logged("WRITE of");
        assert!(pair.secondary.status().statistics.write_errors > 0);
        limit(&pair.secondary, None);
        pair.wait_for_sync();
        pair.nodes.assert_same();
        assert!(!pair.primary.events.contains(&Event::Disconnect));
    }
}

#[test]
fn a_secondary_that_cannot_store_what_it_says_says_nothing() {
    let nodes = Nodes::new(SIZE);
    let mut secondary = start(&nodes, &nodes.b, false, Replication::Fullsync);
    let mut primary = start(&nodes, &nodes.a, true, Replication::Fullsync);
    limit(&secondary, Some(0));
    // A new node stores the resource's id before it answers.
    let _link = connect(&mut primary, &mut secondary);
    secondary.logged("the metadata cannot be stored");
    primary.logged("Handshake");
    assert!(!primary.status().complete);
    assert_eq!(metadata(&nodes.b).resuid, None);
    limit(&secondary, None);
    primary.reconnect(settings(Replication::Fullsync));
    let _link = connect(&mut primary, &mut secondary);
    primary.event(Event::Connect);
    in_sync(&mut primary);
    assert_eq!(metadata(&nodes.a).resuid, metadata(&nodes.b).resuid);
}

fn cut(path: &Path, length: u64) {
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_len(length).unwrap();
}

#[test]
fn what_cannot_be_read_here_is_read_from_the_peer() {
    let mut pair = pair(Replication::Fullsync);
    let mut client = pair.client();
    let data = [7; 4096];
    assert_eq!(client.write(HALF, &data).unwrap(), 0);
    pair.wait_for_sync();
    cut(&pair.nodes.a, HALF);
    assert_eq!(client.read(HALF, 4096).unwrap().unwrap(), data);
    pair.primary.logged("READ of");
    let statistics = pair.primary.status().statistics;
    assert_eq!((statistics.reads, statistics.read_errors), (1, 1));
    // Nobody is left to ask.
    pair.cut();
    assert_eq!(client.read(HALF, 4096).unwrap(), Err(EIO));
    assert_eq!(client.read(0, 4096).unwrap().unwrap(), [0; 4096]);
}

/// K5: base calls clean what it could not read.
#[test]
fn what_cannot_be_read_is_not_called_copied() {
    let nodes = Nodes::new(SIZE);
    let (mut primary, mut client) = alone(&nodes);
    assert_eq!(client.write(HALF, &[7; 4096]).unwrap(), 0);
    let whole = std::fs::read(&nodes.a).unwrap();
    cut(&nodes.a, HALF);
    let mut secondary = start(&nodes, &nodes.b, false, Replication::Fullsync);
    primary.reconnect(settings(Replication::Fullsync));
    let _link = connect(&mut primary, &mut secondary);
    primary.event(Event::SyncStart);
    let status = wait_for("an error", || {
        let status = primary.status();
        let (trouble, _) = status.report.last_error.clone()?;
        trouble
            .contains("the local component: READ")
            .then_some(status)
    });
    assert!(status.dirty > 0 && status.report.state == "synchronizing");
    assert!(!primary.events.contains(&Event::SyncDone));
    // The disk comes to its senses.
    let file = File::options().write(true).open(&nodes.a).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &whole[4 << 20..], HALF).unwrap();
    primary.event(Event::SyncDone);
    in_sync(&mut primary);
    nodes.assert_same();
}
