//! What nodes of base do that no node of ours would, and still must be lived
//! with. Facts: spec/hast-wire.md sections 5 to 8; spec/hast-known-problems.md.

use crate::harness::{Nodes, Worker, create_named, in_sync, metadata, settings};
use crate::peers::{FakePrimary, FakeSecondary, Verdict, first_step, node, receive, wait_for_end};
use hast::ipc::{Event, Peer, ToWorker};
use hast_core::frame::HEADER;
use hast_core::message::{BASE_LONGEST, Node, Opening, Reply, Request, Step2Reply};
use hast_core::primary::Replication;
use hast_core::role::SyncSource;
use hast_core::units::{Counters, Version};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use testkit::nbd::{Client, FLUSH, TRIM};
use testkit::noise::Noise;
use testkit::process::Sandbox;

const SIZE: u64 = 8 << 20;

/// FreeBSD's numbers.
const ENOTTY: u16 = 25;
const ENOSPC: u16 = 28;
const EOPNOTSUPP: u16 = 45;

fn vectors() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/hast")
}

/// A node with a primary, and what its peer, which is base's, says of itself.
struct Bench {
    nodes: Nodes,
    primary: Worker,
    node: Node,
}

impl Bench {
    fn new(replication: Replication) -> Self {
        let nodes = Nodes::new(SIZE);
        let primary = nodes.start(true, settings(replication));
        let node = node(&nodes.metadata);
        Self {
            nodes,
            primary,
            node,
        }
    }

    fn accept(&mut self, source: SyncSource, map: Option<&[u8]>) -> FakeSecondary {
        self.accept_as(Version::V2, source, map)
    }

    fn accept_as(
        &mut self,
        version: Version,
        source: SyncSource,
        map: Option<&[u8]>,
    ) -> FakeSecondary {
        let secondary = FakeSecondary::accept(&mut self.primary, version, self.node, source, map);
        self.primary.event(Event::Connect);
        secondary
    }

    fn empty(&self) -> Vec<u8> {
        vec![0; usize::try_from(self.nodes.metadata.datasize).unwrap()]
    }

    fn client(&self) -> Client {
        Client::connect(&self.nodes.socket()).unwrap()
    }
}

fn longest(asked: &[Request]) -> u64 {
    let length = |request: &Request| match request {
        Request::Read { range, .. } | Request::Write { range, .. } => range.length(),
        _ => 0,
    };
    asked.iter().map(length).max().unwrap()
}

/// K28: MAXPHYS of FreeBSD 12 and of 32-bit machines.
#[test]
fn base_is_never_asked_to_write_more_than_it_can_take() {
    for replication in [
        Replication::Fullsync,
        Replication::Memsync,
        Replication::Async,
    ] {
        let mut bench = Bench::new(replication);
        let secondary = bench.accept(SyncSource::Primary, Some(&[0xff; 512]));
        let serving = secondary.serve(bench.empty(), |_| Verdict::Do);
        let mut client = bench.client();
        let data = Noise::new(1).bytes(1 << 20);
        assert_eq!(client.write(512, &data).unwrap(), 0);
        assert_eq!(client.write(3 << 20, &data[..131_584]).unwrap(), 0);
        in_sync(&mut bench.primary);
        drop(client);
        assert!(bench.primary.stop().success());
        let past = serving.join().unwrap();
        assert_eq!(longest(&past.asked), u64::from(BASE_LONGEST));
        assert!(
            past.data == bench.nodes.data(&bench.nodes.a),
            "{replication:?}"
        );
        let memsync = |request: &Request| matches!(request, Request::Write { memsync: true, .. });
        assert_eq!(
            past.asked.iter().any(memsync),
            replication == Replication::Memsync
        );
    }
}

#[test]
fn base_is_never_asked_to_read_more_than_it_can_take() {
    let mut bench = Bench::new(Replication::Fullsync);
    bench.node = Node {
        virgin: false,
        counters: Counters {
            local: 1,
            remote: 0,
        },
        ..bench.node
    };
    let data = Noise::new(2).bytes(bench.empty().len());
    let secondary = bench.accept(SyncSource::Secondary, Some(&[0xff; 512]));
    let serving = secondary.serve(data.clone(), |_| Verdict::Do);
    let mut client = bench.client();
    // Before it is copied: in pieces, too.
    let read = client.read(4 << 20, 1 << 20).unwrap().unwrap();
    assert!(read == data[4 << 20..5 << 20]);
    in_sync(&mut bench.primary);
    assert!(bench.nodes.data(&bench.nodes.a) == data);
    drop(client);
    assert!(bench.primary.stop().success());
    let past = serving.join().unwrap();
    assert_eq!(longest(&past.asked), u64::from(BASE_LONGEST));
}

/// Base has files and some disks for which there is no flush.
#[test]
fn a_component_that_cannot_flush_has_nothing_to_flush() {
    for error in [EOPNOTSUPP, ENOTTY] {
        let mut bench = Bench::new(Replication::Fullsync);
        let secondary = bench.accept(SyncSource::Primary, None);
        let serving = secondary.serve(bench.empty(), move |request| match request {
            Request::Flush { .. } => Verdict::Fail(error),
            _ => Verdict::Do,
        });
        let mut client = bench.client();
        assert_eq!(client.write(0, &[1; 512]).unwrap(), 0);
        for _ in 0..2 {
            assert_eq!(client.call(FLUSH, 0, 0, 0, &[]).unwrap().error, 0);
        }
        let status = in_sync(&mut bench.primary);
        assert_eq!(status.report.last_error, None);
        assert!(!bench.primary.events.contains(&Event::Disconnect));
        assert!(bench.primary.stop().success());
        serving.join().unwrap();
    }
}

/// K1, K5: base forgets that the other component lacks it.
#[test]
fn what_base_could_not_write_or_delete_is_copied_until_it_can() {
    let mut bench = Bench::new(Replication::Fullsync);
    let secondary = bench.accept(SyncSource::Primary, None);
    let (mut writes, mut deletes) = (0, 0);
    let serving = secondary.serve(bench.empty(), move |request| match request {
        Request::Delete { .. } if deletes == 0 => {
            deletes += 1;
            Verdict::Fail(ENOTTY)
        }
        Request::Write { .. } => {
            writes += 1;
            // The client's, and the first that copy.
            if writes <= 4 {
                Verdict::Fail(ENOSPC)
            } else {
                Verdict::Do
            }
        }
        _ => Verdict::Do,
    });
    in_sync(&mut bench.primary);
    let mut client = bench.client();
    let data = Noise::new(3).bytes(4096);
    assert_eq!(client.write(0, &data).unwrap(), 0);
    // Before the client was told so, this node's metadata said that the other
    // one lacks something.
    let counters = metadata(&bench.nodes.a).counters;
    assert!(counters.local > 0);
    let status = bench.primary.status();
    assert!(status.dirty > 0 && status.report.state == "synchronizing");
    let trim = client.call(TRIM, 0, 4 << 20, 8192, &[]).unwrap();
    assert_eq!(trim.error, 0);
    in_sync(&mut bench.primary);
    drop(client);
    assert!(bench.primary.stop().success());
    let past = serving.join().unwrap();
    assert!(past.data == bench.nodes.data(&bench.nodes.a));
    assert!(past.data[..4096] == data);
    let asked = past.asked.iter();
    let asked_to_delete = asked.filter(|request| matches!(request, Request::Delete { .. }));
    assert_eq!(asked_to_delete.count(), 1);
}

/// Version 1 knows no memsync.
#[test]
fn towards_an_old_base_memsync_is_fullsync() {
    let mut bench = Bench::new(Replication::Memsync);
    let secondary = bench.accept_as(Version::V1, SyncSource::Primary, None);
    // It asserts that it is not asked for two replies.
    let serving = secondary.serve(bench.empty(), |_| Verdict::Do);
    let mut client = bench.client();
    assert_eq!(client.write(0, &[1; 4096]).unwrap(), 0);
    in_sync(&mut bench.primary);
    drop(client);
    assert!(bench.primary.stop().success());
    assert!(serving.join().unwrap().data[..4096] == [1; 4096]);
}

/// Plays what base's secondary answered in a capture, on its connection number
/// `link`.
fn play_answers(primary: &mut Worker, capture: &str, link: u32) {
    let path = vectors()
        .join(capture)
        .join(format!("tcp-a2b/{link:02}.s2c.bin"));
    let answers = std::fs::read(path).unwrap();
    let length = |bytes: &[u8]| HEADER + usize::from(bytes[1]) + 256 * usize::from(bytes[2]);
    let (first, second) = answers.split_at(length(&answers));
    let mut requests = first_step(primary);
    requests.write_all(first).unwrap();
    if second.is_empty() {
        return wait_for_end(&mut requests);
    }
    let attempt = primary.asks_to_connect();
    let (theirs, mut replies) = crate::harness::tcp();
    primary.connected(attempt, Some(theirs));
    let hello = receive(&mut replies, |_| 0).unwrap();
    assert!(matches!(
        Opening::decode(&hello.entries),
        Ok(Opening::Step2(_))
    ));
    requests.write_all(second).unwrap();
    wait_for_end(&mut requests);
    wait_for_end(&mut replies);
}

fn primary_of_test(sandbox: &Sandbox) -> Worker {
    let image = sandbox.file("a.img");
    create_named("test", &image, 16 << 20);
    let settings = settings(Replication::Fullsync);
    let mut primary = Worker::start_named("test", sandbox, &image, true, settings);
    primary.ready();
    primary
}

#[test]
fn a_split_brain_that_base_found_is_one() {
    let sandbox = Sandbox::new();
    let mut primary = primary_of_test(&sandbox);
    play_answers(&mut primary, "split-brain", 3);
    primary.event(Event::SplitBrain);
    primary.logged("hastctl resolve --discard-local test");
    primary.becomes("split-brain");
}

#[test]
fn a_component_that_base_takes_for_another_s_is_told_of() {
    let sandbox = Sandbox::new();
    let mut primary = primary_of_test(&sandbox);
    play_answers(&mut primary, "resuid-mismatch", 3);
    primary.logged("Resource unique ID mismatch");
    let report = primary.becomes("refused").report;
    assert!(report.next.contains("hastctl create --force test"));
}

#[test]
fn base_s_reasons_to_refuse_step_1_are_told() {
    for (capture, reason) in [
        ("remote-not-secondary", "Remote node acts as init"),
        ("resource-not-configured", "Resource not configured."),
    ] {
        let sandbox = Sandbox::new();
        let mut primary = primary_of_test(&sandbox);
        play_answers(&mut primary, capture, 1);
        primary.logged(reason);
        primary.becomes("refused");
        // It serves all the same.
        let socket = sandbox.run_dir().join("hast/test");
        let mut client = Client::connect(&socket).unwrap();
        assert_eq!(client.write(0, &[1; 512]).unwrap(), 0);
    }
}

/// spec/hast-wire.md section 4.2: `wait`.
#[test]
fn a_node_that_is_primary_itself_is_asked_again_before_anything_is_served() {
    let mut bench = Bench::new(Replication::Fullsync);
    for _ in 0..2 {
        let mut requests = first_step(&mut bench.primary);
        let mut room = [0; 256];
        let reason = "Remote node acts as primary for the resource and not as secondary.";
        let refused = hast_core::message::Step1Reply::Refused {
            reason: reason.into(),
            wait: true,
        };
        let length = refused.encode(&mut room).unwrap();
        requests.write_all(&room[..length]).unwrap();
        bench.primary.logged("waiting for it to step down");
    }
    let secondary = bench.accept(SyncSource::Primary, None);
    let serving = secondary.serve(bench.empty(), |_| Verdict::Do);
    assert_eq!(bench.client().write(0, &[1; 512]).unwrap(), 0);
    assert!(bench.primary.stop().success());
    serving.join().unwrap();
}

/// A KEEPALIVE is all that an idle primary says, and base does not answer it.
#[test]
fn an_idle_base_is_not_taken_for_a_dead_one() {
    let nodes = Nodes::new(SIZE);
    let mut settings = settings(Replication::Fullsync);
    settings.timeout = std::time::Duration::from_secs(1);
    let mut primary = nodes.start(true, settings);
    let source = SyncSource::Primary;
    let new = node(&nodes.metadata);
    let mut secondary = FakeSecondary::accept(&mut primary, Version::V2, new, source, None);
    primary.event(Event::Connect);
    loop {
        let (request, _) = secondary.request().unwrap();
        match request.seq() {
            Some(seq) => secondary.reply(&Reply::done(seq), &[]),
            None => break,
        }
    }
    assert!(primary.status().complete);
    assert!(!primary.events.contains(&Event::Disconnect));
}

/// Captured: a primary made by hand asked base's secondary for odd things. Ours
/// answers the same, but that it takes longer requests, and that it writes
/// nothing it was not sent (K9).
#[test]
fn odd_requests_are_answered_as_base_answers_them() {
    let sandbox = Sandbox::new();
    let image = sandbox.file("b.img");
    create_named("test", &image, 16 << 20);
    let settings = settings(Replication::Memsync);
    let mut secondary = Worker::start_named("test", &sandbox, &image, false, settings);
    secondary.ready();
    let folder = vectors().join("raw-primary-errors/tcp-a2b");
    // The others are refused by the daemon.
    for link in [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 25] {
        play_odd_link(&mut secondary, &folder, link);
    }
    assert_eq!(metadata(&image).counters, Counters::default());
}

/// Replies that can be told apart, in the order of their requests.
type Gist = (u8, u64, bool, Option<u16>, usize);

fn gists(mut bytes: &[u8]) -> Vec<Gist> {
    let mut gists = Vec::new();
    while let Some(header) = bytes.first_chunk::<HEADER>() {
        let end = HEADER + usize::from(header[1]) + 256 * usize::from(header[2]);
        let reply = Reply::decode(&bytes[HEADER..end]).unwrap();
        let payload = usize::try_from(reply.payload_size()).unwrap();
        gists.push((
            header[0],
            reply.seq.map_or(0, hast_core::units::Seq::get),
            reply.received,
            reply.error.map(hast_core::errno::Errno::get),
            payload,
        ));
        bytes = &bytes[end + payload..];
    }
    // Only base carries out one after the other.
    gists.sort_unstable_by_key(|gist| gist.1);
    gists
}

fn play_odd_link(secondary: &mut Worker, folder: &Path, link: u32) {
    let read = |link: u32, way: &str| std::fs::read(folder.join(format!("{link:02}.{way}.bin")));
    let (requests, answers) = (read(link, "c2s").unwrap(), read(link, "s2c").unwrap());
    let (hello, replies) = (
        read(link + 1, "c2s").unwrap(),
        read(link + 1, "s2c").unwrap(),
    );
    let length = |bytes: &[u8]| HEADER + usize::from(bytes[1]) + 256 * usize::from(bytes[2]);
    let (first, second) = answers.split_at(length(&answers));
    let peer = ToWorker::Peer(Box::new(Peer {
        address: "base".into(),
        version: first[0],
        extensions: 0,
        hello: hello[HEADER..].to_vec(),
    }));
    let mut primary = FakePrimary::with(secondary, |secondary, a, b| {
        secondary.tell_with(&peer, vec![a.into(), b.into()]);
    });
    assert_eq!(primary.answer.version, second[0], "link {link}");
    let (ours, base) = (
        Step2Reply::decode(&primary.answer.entries).unwrap(),
        Step2Reply::decode(&second[HEADER..length(second)]).unwrap(),
    );
    match (ours, base) {
        (Step2Reply::Refused { reason, .. }, Step2Reply::Refused { reason: base, .. }) => {
            assert_eq!(reason, base);
            return primary.loses_its_link();
        }
        (
            Step2Reply::Accepted { node, source, map },
            Step2Reply::Accepted {
                node: base_node,
                source: base_source,
                map: base_map,
            },
        ) => {
            assert_eq!((source, map), (base_source, base_map), "link {link}");
            assert_eq!(node.counters, base_node.counters);
        }
        _ => panic!("{ours:?} instead of {base:?}"),
    }
    secondary.event(Event::Connect);
    let mut expected = gists(&replies);
    let mut end = requests.len();
    if link == 1 {
        // Base has nothing for longer reads, and wrote what nobody sent; with
        // that our link ends.
        expected.retain(|gist| gist.1 != 12);
        for gist in expected.iter_mut().filter(|gist| gist.1 == 5) {
            *gist = (2, 5, false, None, 131_584);
        }
        end = 2175;
    }
    primary.raw(&requests[length(&requests)..end]);
    let mut bytes = Vec::new();
    for _ in &expected {
        let size = |entries: &[u8]| Reply::decode(entries).unwrap().payload_size();
        bytes.extend(receive(&mut primary.replies, size).unwrap().bytes());
    }
    assert_eq!(gists(&bytes), expected, "link {link}");
    primary.raw(&requests[end..]);
    primary
        .requests
        .shutdown(std::net::Shutdown::Write)
        .unwrap();
    primary.loses_its_link();
    if link == 1 {
        secondary.logged("payload of the wrong length");
    }
    secondary.event(Event::Disconnect);
}
