//! Settings that change while a worker runs.

use crate::harness::{Nodes, Worker, settings};
use crate::peers::{FakeSecondary, Verdict, node};
use hast::config::Settings;
use hast::ipc::{Event, ToWorker};
use hast_core::message::Request;
use hast_core::payload::{Checksum, Compression, Digest};
use hast_core::primary::Replication;
use hast_core::role::SyncSource;
use hast_core::units::Version;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::time::Duration;
use testkit::nbd::{Client, WRITE};

/// A primary that is connected to a secondary of base.
struct Bench {
    nodes: Nodes,
    primary: Worker,
    secondary: Option<FakeSecondary>,
}

impl Bench {
    fn new(settings: Settings) -> Self {
        let nodes = Nodes::new(4 << 20);
        let mut primary = nodes.start(true, settings);
        let new = node(&nodes.metadata);
        let source = SyncSource::Primary;
        let secondary = FakeSecondary::accept(&mut primary, Version::V2, new, source, None);
        primary.event(Event::Connect);
        Self {
            nodes,
            primary,
            secondary: Some(secondary),
        }
    }

    fn client(&self) -> Client {
        Client::connect(&self.nodes.socket()).unwrap()
    }

    fn reconfigure(&mut self, settings: Settings) {
        self.primary.tell(&ToWorker::Reconfigure {
            settings,
            remote: Some("the other node".into()),
            reconnect: false,
        });
        self.primary.logged("reloaded successfully");
    }
}

#[test]
fn checksum_and_compression_change_on_a_link_that_stays() {
    let plain = Settings {
        compression: Compression::None,
        ..settings(Replication::Fullsync)
    };
    let mut bench = Bench::new(plain.clone());
    let (told, writes) = mpsc::channel();
    let serving = bench
        .secondary
        .take()
        .unwrap()
        .serve(vec![0; 4 << 20], move |request| {
            if let Request::Write { payload, .. } = request {
                let _ = told.send(*payload);
            }
            Verdict::Do
        });
    let mut client = bench.client();
    let text = b"the same again, ".repeat(512);
    let mut sent = |bench: &mut Bench, settings: Settings| {
        bench.reconfigure(settings);
        assert_eq!(client.write(0, &text).unwrap(), 0);
        writes.recv().unwrap()
    };
    let header = sent(&mut bench, plain.clone());
    assert_eq!(header.compression, Compression::None);
    assert_eq!(header.digest, Digest::None);
    let header = sent(
        &mut bench,
        Settings {
            checksum: Checksum::Crc32,
            ..plain.clone()
        },
    );
    assert!(matches!(header.digest, Digest::Crc32(_)));
    let header = sent(
        &mut bench,
        Settings {
            checksum: Checksum::Sha256,
            compression: Compression::Lzf,
            ..plain
        },
    );
    assert!(matches!(header.digest, Digest::Sha256(_)));
    assert_eq!(header.compression, Compression::Lzf);
    assert!(!bench.primary.events.contains(&Event::Disconnect));
    assert!(bench.primary.stop().success());
    assert!(serving.join().unwrap().data[..text.len()] == text);
}

/// K29: base takes it back at the next reconnect.
#[test]
fn the_mode_changes_for_the_requests_that_come() {
    let mut bench = Bench::new(settings(Replication::Async));
    let may_answer = Arc::new(AtomicBool::new(false));
    let answer = Arc::clone(&may_answer);
    let (told, asked) = mpsc::channel();
    let serving = bench
        .secondary
        .take()
        .unwrap()
        .serve(vec![0; 4 << 20], move |request| {
            let Request::Write { memsync, .. } = request else {
                return Verdict::Do;
            };
            let _ = told.send(*memsync);
            while !answer.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
            Verdict::Do
        });
    let mut client = bench.client();
    // Answered although the peer has not answered.
    assert_eq!(client.write(0, &[1; 512]).unwrap(), 0);
    assert!(!asked.recv().unwrap());
    may_answer.store(true, Ordering::SeqCst);
    bench.reconfigure(settings(Replication::Memsync));
    assert_eq!(client.write(512, &[2; 512]).unwrap(), 0);
    assert!(asked.recv().unwrap());
    bench.reconfigure(settings(Replication::Fullsync));
    may_answer.store(false, Ordering::SeqCst);
    client.send(WRITE, 0, 1024, 512, &[3; 512]).unwrap();
    assert!(!asked.recv().unwrap());
    // On the local component it is, and nobody was told.
    let stream = client.stream();
    stream
        .set_read_timeout(Some(Duration::from_millis(300)))
        .unwrap();
    assert!(client.reply().is_err(), "answered without the peer");
    may_answer.store(true, Ordering::SeqCst);
    let stream = client.stream();
    stream
        .set_read_timeout(Some(Duration::from_secs(20)))
        .unwrap();
    assert_eq!(client.reply().unwrap().error, 0);
    assert!(bench.primary.stop().success());
    serving.join().unwrap();
}

#[test]
fn a_shorter_timeout_gives_a_silent_peer_up_sooner() {
    let patient = Settings {
        timeout: Duration::from_secs(3600),
        ..settings(Replication::Fullsync)
    };
    let mut bench = Bench::new(patient.clone());
    let serving =
        bench
            .secondary
            .take()
            .unwrap()
            .serve(vec![0; 4 << 20], |request| match request {
                Request::Write { .. } => Verdict::Silence,
                _ => Verdict::Do,
            });
    let mut client = bench.client();
    client.send(WRITE, 0, 0, 512, &[1; 512]).unwrap();
    bench.reconfigure(Settings {
        timeout: Duration::from_secs(1),
        ..patient
    });
    bench.primary.event(Event::Disconnect);
    bench.primary.logged("in time");
    // The client does not wait for a peer that is gone.
    assert_eq!(client.reply().unwrap().error, 0);
    serving.join().unwrap();
}

#[test]
fn a_new_address_is_connected_to_at_once() {
    let mut bench = Bench::new(settings(Replication::Fullsync));
    bench.primary.tell(&ToWorker::Reconfigure {
        settings: settings(Replication::Fullsync),
        remote: Some("tcp://192.0.2.7".into()),
        reconnect: true,
    });
    bench.primary.event(Event::Disconnect);
    bench.primary.logged("its address changed");
    let attempt = bench.primary.asks_to_connect();
    bench.primary.connected(attempt, None);
    let status = bench.primary.becomes("degraded");
    assert!(status.report.reason.contains("192.0.2.7"));
}

#[test]
fn without_a_remote_nobody_is_looked_for() {
    let nodes = Nodes::new(4 << 20);
    let start = hast::ipc::Start {
        remote: None,
        ..crate::harness::start_of("data", &nodes.a, true, settings(Replication::Fullsync))
    };
    let mut primary = Worker::run(&nodes.sandbox, start, |_| {});
    primary.ready();
    let mut client = Client::connect(&nodes.socket()).unwrap();
    assert_eq!(client.write(0, &[1; 512]).unwrap(), 0);
    let status = primary.status();
    assert_eq!(status.report.state, "alone");
    assert!(!status.complete);
    assert!(status.dirty > 0);
}
