use super::*;
use crate::process::wait_for;
use Direction::{ToClient, ToTarget};

/// A connection through a proxy, both ends in hand.
struct Through {
    proxy: Proxy,
    listener: TcpListener,
    client: TcpStream,
    target: TcpStream,
}

/// Longer than anything takes on a loop-back connection that works.
const SILENCE: Duration = Duration::from_millis(60);

impl Through {
    fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let proxy = Proxy::start(listener.local_addr().unwrap()).unwrap();
        let (client, target) = pair(&proxy, &listener);
        Self {
            proxy,
            listener,
            client,
            target,
        }
    }
}

fn pair(proxy: &Proxy, listener: &TcpListener) -> (TcpStream, TcpStream) {
    let client = TcpStream::connect(proxy.address()).unwrap();
    let (target, _) = listener.accept().unwrap();
    for socket in [&client, &target] {
        socket
            .set_read_timeout(Some(crate::process::DEADLINE))
            .unwrap();
    }
    (client, target)
}

/// Fails unless nothing at all arrives for a while: no byte, no end.
fn assert_silent(mut socket: &TcpStream) {
    let before = socket.read_timeout().unwrap();
    socket.set_read_timeout(Some(SILENCE)).unwrap();
    let got = socket.read(&mut [0]).map_err(|e| e.kind());
    assert!(
        matches!(got, Err(ErrorKind::WouldBlock | ErrorKind::TimedOut)),
        "{got:?}"
    );
    socket.set_read_timeout(before).unwrap();
}

fn assert_reset(mut socket: &TcpStream) {
    let got = socket.read(&mut [0]).map_err(|e| e.kind());
    assert_eq!(got, Err(ErrorKind::ConnectionReset));
}

fn assert_end(mut socket: &TcpStream) {
    assert_eq!(socket.read(&mut [0]).unwrap(), 0);
}

fn pattern(len: usize) -> Vec<u8> {
    (0..=250).cycle().take(len).collect()
}

/// Sends from one thread, receives in this one.
fn transfer(from: &TcpStream, mut to: &TcpStream, len: usize) -> Duration {
    let start = Instant::now();
    let data = pattern(len);
    let mut got = vec![0; len];
    thread::scope(|scope| {
        scope.spawn(|| { from }.write_all(&data).unwrap());
        to.read_exact(&mut got).unwrap();
    });
    assert!(got == data, "{len} bytes arrived changed");
    start.elapsed()
}

#[test]
fn without_faults_everything_arrives_and_is_counted() {
    let t = Through::new();
    transfer(&t.client, &t.target, 3 << 20);
    transfer(&t.target, &t.client, 1000);
    // The count follows the write.
    wait_for("the counts", || {
        let counts = (t.proxy.forwarded(ToTarget), t.proxy.forwarded(ToClient));
        (counts == (3 << 20, 1000)).then_some(())
    });
    assert_eq!((t.proxy.accepted(), t.proxy.open()), (1, 1));
    drop(t.client);
    assert_end(&t.target);
    drop(t.target);
    wait_for("the connection's end", || {
        (t.proxy.open() == 0).then_some(())
    });
}

#[test]
fn one_side_may_end_its_stream_and_go_on_receiving() {
    let t = Through::new();
    t.client.shutdown(Shutdown::Write).unwrap();
    assert_end(&t.target);
    transfer(&t.target, &t.client, 1000);
}

#[test]
fn a_cut_is_the_end_of_both_streams() {
    let t = Through::new();
    t.proxy.end_all(End::Cut);
    assert_end(&t.client);
    assert_end(&t.target);
}

#[test]
fn a_reset_is_an_error_on_both_sides() {
    let t = Through::new();
    t.proxy.end_all(End::Reset);
    assert_reset(&t.client);
    assert_reset(&t.target);
}

#[test]
fn a_cut_in_mid_frame_lets_exactly_so_many_bytes_through() {
    let mut t = Through::new();
    t.proxy.end_after(ToTarget, 1234, End::Cut);
    (&t.client).write_all(&pattern(4096)).unwrap();
    let mut got = Vec::new();
    t.target.read_to_end(&mut got).unwrap();
    assert!(got == pattern(1234), "{} bytes", got.len());
    // Other connections live on.
    let (client, target) = pair(&t.proxy, &t.listener);
    transfer(&client, &target, 4096);
}

#[test]
fn a_reset_in_mid_frame_lets_no_more_bytes_through() {
    let t = Through::new();
    t.proxy.end_after(ToClient, 10, End::Reset);
    (&t.target).write_all(&pattern(4096)).unwrap();
    let mut got = Vec::new();
    let error = (&t.client).read_to_end(&mut got).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionReset);
    assert!(got.len() <= 10, "{} bytes", got.len());
    assert_reset(&t.target);
}

#[test]
fn a_fuse_counts_the_bytes_of_all_connections() {
    let t = Through::new();
    let (client, target) = pair(&t.proxy, &t.listener);
    t.proxy.end_after(ToTarget, 150, End::Cut);
    transfer(&t.client, &t.target, 100);
    (&client).write_all(&pattern(100)).unwrap();
    let mut got = Vec::new();
    (&target).read_to_end(&mut got).unwrap();
    assert_eq!(got.len(), 50);
    transfer(&t.client, &t.target, 100);
}

#[test]
fn a_stall_keeps_everything_for_later() {
    let t = Through::new();
    t.proxy.stall(ToTarget, true);
    (&t.client).write_all(b"late").unwrap();
    assert_silent(&t.target);
    transfer(&t.target, &t.client, 1000);
    t.proxy.stall(ToTarget, false);
    let mut got = [0; 4];
    (&t.target).read_exact(&mut got).unwrap();
    assert_eq!(&got, b"late");
}

#[test]
fn a_stalled_connection_can_be_ended() {
    let t = Through::new();
    t.proxy.stall(ToTarget, true);
    (&t.client).write_all(b"lost").unwrap();
    t.proxy.end_all(End::Reset);
    assert_reset(&t.client);
    assert_reset(&t.target);
}

#[test]
fn a_black_hole_swallows_data_and_ends() {
    let t = Through::new();
    t.proxy.black_hole(ToTarget, true);
    (&t.client).write_all(b"lost").unwrap();
    assert_silent(&t.target);
    transfer(&t.target, &t.client, 1000);
    drop(t.client);
    assert_silent(&t.target);
}

#[test]
fn a_delay_costs_latency_and_not_bandwidth() {
    let t = Through::new();
    let delay = Duration::from_millis(50);
    t.proxy.delay(ToTarget, delay);
    assert!(transfer(&t.client, &t.target, 1) >= delay);
    // One delay, not one for each of the 128 chunks or more.
    let took = transfer(&t.client, &t.target, 8 << 20);
    assert!((delay..delay * 20).contains(&took), "{took:?}");
}

#[test]
fn a_limited_link_carries_so_much_and_does_not_save_up() {
    let t = Through::new();
    t.proxy.limit(ToTarget, 20 << 20);
    for _ in 0..2 {
        let took = transfer(&t.client, &t.target, 2 << 20);
        assert!(took >= Duration::from_millis(95), "{took:?}");
        assert!(took < Duration::from_secs(2), "{took:?}");
        std::thread::sleep(Duration::from_millis(200));
    }
}

#[test]
fn byte_by_byte_is_what_the_receiver_may_get() {
    let t = Through::new();
    t.proxy.byte_by_byte(ToTarget, true);
    transfer(&t.client, &t.target, 2000);
}

#[test]
fn refusal_is_refusal_until_it_ends() {
    let mut t = Through::new();
    t.proxy.refuse(true);
    let refused = TcpStream::connect(t.proxy.address()).map_err(|e| e.kind());
    assert_eq!(refused.err(), Some(ErrorKind::ConnectionRefused));
    // Who is in stays in.
    transfer(&t.client, &t.target, 100);
    t.proxy.refuse(false);
    let (client, target) = pair(&t.proxy, &t.listener);
    transfer(&client, &target, 100);
}

#[test]
fn a_target_that_is_not_there_ends_the_connection() {
    let t = Through::new();
    t.proxy
        .set_target(([127, 0, 0, 1], crate::process::free_port()).into());
    let client = TcpStream::connect(t.proxy.address()).unwrap();
    client
        .set_read_timeout(Some(crate::process::DEADLINE))
        .unwrap();
    assert_end(&client);
}
