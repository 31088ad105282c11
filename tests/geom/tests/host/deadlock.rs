//! The ways into GEOM's deadlock, cases A to E of `spec/geom-gate-kernel.md`
//! 7.5. For each there is a small program that does the obvious thing, and
//! hangs; and ours, which does not. Whatever hangs is set free at the end the
//! way an administrator would do it: the gate is destroyed by force.

use crate::host::{self, HUNG, Host, SIZE, THROUGH, serve_gate};
use ggate::gate::handle::Handle;
use ggate::gate::{Access, Cancel, GateId, Modify, Outcome, Started, Unit};
use ggate::media::OpenOptions;
use ggate::opener;
use ggate::wire::{ClientInitial, Direction, Token, exchange_initial, exchange_versions};
use ggated::opener::Opener;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};
use testkit::process::{free_port, wait_for};
use testkit::proxy::{Direction as Way, End, Proxy};

const UNIT: Unit = Unit(0);
const OTHER: Unit = Unit(1);

/// Answers a gate's READs with zeros, on one thread.
fn answer_with_zeros(gate: &Handle) {
    let mut buffer = [0; 512];
    while let Ok(Started::Request(request)) = gate.ctl.start(gate.unit, &mut buffer) {
        let data = vec![0; request.range.length.try_into().unwrap()];
        gate.done(&request, Outcome::Data(&data));
    }
}

/// A: the server's only thread opens a disk for a new client, while the taste
/// of a gate waits for that thread.
#[test]
fn a_naive_one_thread_opens_and_serves() {
    let host = Host::new();
    let gate = host.unserved(UNIT);
    let (geom, disk) = (Arc::clone(&host.geom), host.disk("md0"));
    let server = thread::spawn(move || {
        let _opened = geom.open(&disk, Access::ReadWrite).unwrap();
        answer_with_zeros(&gate);
    });
    host.assert_deadlock(UNIT, server);
}

/// A: clients get their sessions while a taste hangs, one for a disk that is
/// held, one for a disk that has to be opened by its first writer.
#[test]
fn a_ours_sessions_begin_while_a_taste_hangs() {
    let host = Host::new();
    host.add_disk("md1");
    let server = host.serve(host.our_opener());
    // Both importing and reloading happen while this taste hangs.
    let hanging = host.unserved(Unit(9));
    let port = server.address.port();
    let first = host.import("md0", port, UNIT);
    wait_for("a session", || host.gates.exists(UNIT).then_some(()));
    host.export(&["md0", "md1"]);
    server.server.reload();
    let second = host.import("md1", port, OTHER);
    wait_for("a session", || host.gates.exists(OTHER).then_some(()));
    assert!(!host.geom.has_node("ggate9", Duration::ZERO));
    let disk = host.disk("md0");
    let medium = opener::open(
        host.launcher().as_ref(),
        disk.as_ref(),
        OpenOptions::default(),
    );
    let serving = serve_gate(hanging, medium.unwrap());
    for unit in [Unit(9), UNIT, OTHER] {
        host.assert_node(unit);
        host.destroy(unit);
    }
    for thread in [first, second, serving] {
        thread.join().unwrap();
    }
    server.stop();
    host.assert_only_helpers_waited(&[]);
}

/// A client that was cut off while the taste of its gate waited for the server.
struct Cut {
    host: Host,
    client: host::Importing,
    began: Instant,
    _proxy: Arc<Proxy>,
}

/// Where a client goes after that.
#[derive(Clone, Copy, PartialEq)]
enum Then {
    Same,
    /// The server is restarted.
    Restarted,
}

/// What passes to the server in two handshakes: versions, initial packets,
/// hellos.
const HANDSHAKES: u64 = 2 * (20 + 1039 + 32);

/// The server sees the taste's READ, the client never sees the answer, and
/// comes back when the old session `has_ended`.
fn cut_during_taste(
    opener: fn(&Host) -> Box<dyn Opener>,
    then: Then,
    has_ended: impl Fn(&Host, &Proxy) -> bool,
) -> Cut {
    let host = Host::new();
    let server = host.serve(opener(&host));
    let mut target = server.address;
    let proxy = Arc::new(Proxy::start(target).unwrap());
    let stalled = Arc::clone(&proxy);
    host.gates
        .before_taste(move || stalled.stall(Way::ToClient, true));
    let client = host.import("md0", proxy.address().port(), UNIT);
    wait_for("the READ", || {
        (proxy.forwarded(Way::ToTarget) > HANDSHAKES).then_some(())
    });
    assert!(host.geom.is_busy(THROUGH));
    proxy.set_target(([127, 0, 0, 1], free_port()).into());
    proxy.end_all(End::Reset);
    proxy.stall(Way::ToClient, false);
    wait_for("the end of the session", || {
        has_ended(&host, &proxy).then_some(())
    });
    if then == Then::Restarted {
        // Its end may hang; the new one does not wait for it.
        thread::spawn(move || server.stop());
        let successor = host.serve(opener(&host));
        target = successor.address;
        thread::spawn(move || successor.outlive_the_test());
    } else {
        thread::spawn(move || server.outlive_the_test());
    }
    proxy.set_target(target);
    Cut {
        host,
        client,
        began: Instant::now(),
        _proxy: proxy,
    }
}

/// The last writer closes the disk.
fn closes(host: &Host, _: &Proxy) -> bool {
    !host.geom.waiting().is_empty()
}

/// The session is over; nobody closes anything.
fn is_over(_: &Host, proxy: &Proxy) -> bool {
    proxy.open() == 0
}

impl Cut {
    fn assert_deadlock(self) {
        wait_for("the new session", || {
            let opens = |name: &String| name == "handshake";
            self.host.geom.waiting().iter().any(opens).then_some(())
        });
        self.host.assert_deadlock(UNIT, self.client);
    }

    fn assert_through(self) {
        self.host.assert_node(UNIT);
        println!("through after {:?}", self.began.elapsed());
        self.host.destroy(UNIT);
        self.client.join().unwrap();
        self.host.assert_only_helpers_waited(&[]);
    }
}

/// B: the old session's end makes GEOM taste the disk again, the new one's
/// begin makes it wait for that, and the taste waits for the new session.
#[test]
fn b_naive_sessions_open_and_close() {
    cut_during_taste(Host::naive_opener, Then::Same, closes).assert_deadlock();
}

#[test]
fn b_ours_reconnects_while_its_own_taste_is_outstanding() {
    cut_during_taste(Host::our_opener, Then::Same, is_over).assert_through();
}

/// B, with another server: its first session is the first writer.
#[test]
fn b_naive_server_restarts() {
    cut_during_taste(Host::naive_opener, Then::Restarted, closes).assert_deadlock();
}

#[test]
fn b_ours_survives_a_restart_of_the_server_during_the_taste() {
    cut_during_taste(Host::our_opener, Then::Restarted, is_over).assert_through();
}

/// A client that makes its gate first and its session then.
fn hasty_client(host: &Host, server: SocketAddr) -> thread::JoinHandle<()> {
    let gate = host.unserved(UNIT);
    let path = host.path("md0");
    thread::spawn(move || {
        let connect = |direction| {
            let mut stream = TcpStream::connect(server).unwrap();
            exchange_versions(&mut stream, false).unwrap();
            let initial = ClientInitial {
                path: path.clone(),
                access: Access::ReadWrite,
                direct: false,
                direction,
                token: Token(1),
            };
            exchange_initial(&mut stream, &initial, None).unwrap();
            stream
        };
        let _session = [Direction::Send, Direction::Recv].map(connect);
        answer_with_zeros(&gate);
    })
}

/// C: the gate is there before the session is.
#[test]
fn c_naive_client_creates_before_the_handshakes() {
    let host = Host::new();
    let server = host.serve(host.naive_opener());
    let client = hasty_client(&host, server.address);
    host.assert_deadlock(UNIT, client);
}

/// C: our server answers even that client.
#[test]
fn c_our_server_answers_a_client_that_created_before() {
    let host = Host::new();
    let server = host.serve(host.our_opener());
    let client = hasty_client(&host, server.address);
    host.assert_node(UNIT);
    host.destroy(UNIT);
    client.join().unwrap();
    server.stop();
    host.assert_only_helpers_waited(&[]);
}

/// C: our client does not give even a naive server the chance.
#[test]
fn c_our_client_has_both_handshakes_behind_it_when_it_creates() {
    let host = Host::new();
    let server = host.serve(host.naive_opener());
    let proxy = Arc::new(Proxy::start(server.address).unwrap());
    let passed = Arc::clone(&proxy);
    host.gates.before_taste(move || {
        assert_eq!(passed.accepted(), 2);
        assert_eq!(passed.forwarded(Way::ToTarget), HANDSHAKES);
    });
    let client = host.import("md0", proxy.address().port(), UNIT);
    host.assert_node(UNIT);
    host.destroy(UNIT);
    client.join().unwrap();
}

/// D: the thread that has to answer asks GEOM something.
#[test]
fn d_naive_thread_lists_before_it_serves() {
    let host = Host::new();
    let gate = host.unserved(UNIT);
    let geom = Arc::clone(&host.geom);
    let server = thread::spawn(move || {
        geom.barrier();
        answer_with_zeros(&gate);
    });
    host.assert_deadlock(UNIT, server);
}

#[test]
fn d_naive_thread_resizes_before_it_serves() {
    let host = Host::new();
    let gate = host.unserved(UNIT);
    let server = thread::spawn(move || {
        let size = Modify::MediaSize(SIZE / 2);
        gate.ctl.modify(gate.unit, &size).unwrap();
        answer_with_zeros(&gate);
    });
    host.assert_deadlock(UNIT, server);
}

/// D, and row 9 of 7.4: completing a request posts an event, so that the
/// thread that completes waits for the second READ of the taste.
#[test]
fn d_naive_thread_is_held_in_done() {
    let host = Host::new();
    host.gates.post_in_done(1);
    let gate = host.unserved(UNIT);
    let server = thread::spawn(move || answer_with_zeros(&gate));
    host.assert_deadlock(UNIT, server);
}

/// D: no thread of ours asks GEOM anything, and when DONE holds one for as long
/// as it takes, another one is there.
#[test]
fn d_ours_asks_nothing_and_has_a_thread_left_when_one_is_held_in_done() {
    let host = Host::new();
    let server = host.serve(host.our_opener());
    host.gates.post_in_done(1);
    let client = host.import("md0", server.address.port(), UNIT);
    host.assert_node(UNIT);
    // Whoever lists or resizes meanwhile is in nobody's way.
    let size = Modify::MediaSize(SIZE / 2);
    host.gates.handout().modify(UNIT, &size).unwrap();
    host.geom.barrier();
    host.destroy(UNIT);
    client.join().unwrap();
    server.stop();
    // Row 9: one of the two threads that complete, through no fault of its own.
    host.assert_only_helpers_waited(&["recvtd"]);
}

/// E: a process that serves a gate and holds a disk is killed while its gate
/// is tasted, and a rescuer opens the same disk.
#[test]
fn e_naive_process_cannot_be_killed_and_not_be_rescued() {
    let host = Host::new();
    let disk = host.disk("md0");
    let opened = host.geom.open(&disk, Access::ReadWrite).unwrap();
    let _gate = host.unserved(UNIT);
    // Its threads have left START; what is left of it closes the disk.
    let exit = thread::spawn(move || drop(opened));
    wait_for("its exit", || {
        (!host.geom.waiting().is_empty()).then_some(())
    });
    let geom = Arc::clone(&host.geom);
    let gates = Arc::clone(&host.gates);
    let rescuer = thread::spawn(move || {
        let _opened = geom.open(&disk, Access::ReadWrite).unwrap();
        let ctl = gates.handout();
        // Only once the gate is gone.
        assert!(ctl.cancel(&GateId::Unit(UNIT), Cancel::All).is_err());
    });
    assert!(!host.geom.is_quiet(HUNG));
    assert!(!rescuer.is_finished());
    host.assert_deadlock(UNIT, exit);
    rescuer.join().unwrap();
}

/// E: ggatel's way. The helper is the last closer, and the rescuer's helper
/// the first writer; they wait, and nobody else does.
#[test]
fn e_ours_ends_when_killed_and_is_rescued() {
    let host = Host::new();
    let (disk, launcher) = (host.disk("md0"), host.launcher());
    let open = || opener::open(launcher.as_ref(), disk.as_ref(), OpenOptions::default()).unwrap();
    let medium = open();
    let gate = host.unserved(UNIT);
    let began = Instant::now();
    drop(medium);
    assert!(
        began.elapsed() < HUNG,
        "its exit takes {:?}",
        began.elapsed()
    );
    wait_for("the last close", || {
        (!host.geom.waiting().is_empty()).then_some(())
    });
    let medium = open();
    gate.ctl.cancel(&GateId::Unit(UNIT), Cancel::All).unwrap();
    let serving = serve_gate(gate, medium);
    host.assert_node(UNIT);
    host.destroy(UNIT);
    serving.join().unwrap();
    host.assert_only_helpers_waited(&[]);
}
