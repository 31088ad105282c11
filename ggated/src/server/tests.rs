//! The server with a medium and an opener that can be held.

use super::*;
use crate::listen;
use crate::options::Options;
use ggate::gate::{Access, Seq};
use ggate::media::{MediaError, OpenOptions};
use ggate::range::{ByteRange, Geometry};
use ggate::wire::{ClientInitial, Command, ExportPath, Reply, Request, ServerInitial, Version};
use parking_lot::Condvar;
use std::io::{PipeWriter, Read as _, Write as _};
use std::net::SocketAddr;
use std::thread::JoinHandle;

const LONG: Duration = Duration::from_secs(20);
const SIZE: u64 = 1 << 20;

/// Something that does not return while it is held.
#[derive(Default)]
struct Gate {
    held: Mutex<bool>,
    entered: Mutex<usize>,
    changed: Condvar,
}

impl Gate {
    fn hold(&self, held: bool) {
        *self.held.lock() = held;
        self.changed.notify_all();
    }

    fn enter(&self) {
        *self.entered.lock() += 1;
        let mut held = self.held.lock();
        while *held {
            self.changed.wait(&mut held);
        }
    }

    fn wait_for(&self, count: usize) {
        let deadline = Instant::now() + LONG;
        while *self.entered.lock() < count {
            assert!(Instant::now() < deadline, "nobody came");
            std::thread::yield_now();
        }
    }
}

/// A medium that notes its writes; also its own opener, for which the path
/// `/slow` is held.
#[derive(Default)]
struct Disk {
    writing: Gate,
    opening: Gate,
    writes: Mutex<Vec<(u64, u8)>>,
}

impl Media for Disk {
    fn geometry(&self) -> Geometry {
        Geometry {
            media_size: SIZE,
            sector_size: 512,
        }
    }

    fn read_at(&self, buf: &mut [u8], _: u64) -> nix::Result<()> {
        buf.fill(0);
        Ok(())
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> nix::Result<()> {
        self.writing.enter();
        self.writes.lock().push((offset, buf[0]));
        Ok(())
    }

    fn flush(&self) -> nix::Result<()> {
        Ok(())
    }

    fn delete(&self, _: ByteRange) -> nix::Result<()> {
        Ok(())
    }
}

struct TestOpener(Arc<Disk>);

impl Opener for TestOpener {
    fn open(&self, path: &ExportPath, _: OpenOptions) -> Result<Arc<dyn Media>, MediaError> {
        if path.as_bytes() == b"/slow" {
            self.0.opening.enter();
        }
        Ok(Arc::clone(&self.0) as _)
    }
}

/// A server that accepts until it is dropped.
struct Running {
    server: Arc<Server>,
    disk: Arc<Disk>,
    address: SocketAddr,
    stop: Option<PipeWriter>,
    accepting: Option<JoinHandle<()>>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.disk.writing.hold(false);
        self.disk.opening.hold(false);
        // The end of the pipe can be read.
        drop(self.stop.take());
        if let Some(thread) = self.accepting.take() {
            thread.join().unwrap();
        }
        self.server.stop();
    }
}

fn start() -> Running {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(file, "127.0.0.1 RW /disk\n127.0.0.1 RW /slow").unwrap();
    let tcp = TcpOptions {
        no_delay: true,
        send_buffer: None,
        receive_buffer: None,
    };
    let disk = Arc::<Disk>::default();
    let opener = Box::new(TestOpener(Arc::clone(&disk)));
    let server = Arc::new(Server::new(file.path(), tcp, opener).unwrap());
    let listeners = listen::bind(&Options {
        address: Some("127.0.0.1".parse().unwrap()),
        port: 0,
        tcp,
        pid_file: PathBuf::new(),
        exports: PathBuf::new(),
        foreground: true,
    })
    .unwrap();
    let address = listeners[0].local_addr().unwrap();
    let (reader, writer) = io::pipe().unwrap();
    let accepting = Arc::clone(&server);
    Running {
        server,
        disk,
        address,
        stop: Some(writer),
        accepting: Some(std::thread::spawn(move || {
            listen::accept_until(&accepting, &listeners, &reader);
        })),
    }
}

impl Running {
    /// Sends both packets of a handshake and takes the first answer.
    fn begin(&self, path: &str, direction: Direction, token: u32) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let initial = ClientInitial {
            path: ExportPath::new(path).unwrap(),
            access: Access::ReadWrite,
            direct: false,
            direction,
            token: Token(token),
        };
        let packets = [&Version::PLAIN.encode()[..], &initial.encode()].concat();
        stream.write_all(&packets).unwrap();
        let mut version = [0; Version::SIZE];
        stream.read_exact(&mut version).unwrap();
        stream
    }

    fn session(&self, path: &str, token: u32) -> (TcpStream, TcpStream) {
        let [replies, requests] = [Direction::Send, Direction::Recv].map(|direction| {
            let mut stream = self.begin(path, direction, token);
            finish(&mut stream);
            stream
        });
        (replies, requests)
    }
}

fn finish(stream: &mut TcpStream) {
    let mut answer = [0; ServerInitial::SIZE];
    stream.read_exact(&mut answer).unwrap();
    assert!(ServerInitial::decode(&answer).result.is_ok());
}

/// A WRITE of eight sectors of this byte.
fn write(sector: u64, byte: u8, seq: u64) -> Vec<u8> {
    let request = Request {
        command: Command::Write,
        offset: sector * 512,
        length: 4096,
        seq: Seq(seq),
    };
    [&request.encode()[..], &[byte; 4096]].concat()
}

/// Weak point 26 of base: after a broken connection the old session executed
/// its queued writes behind those that the client had sent again.
#[test]
fn old_writes_never_execute_after_the_successor_was_answered() {
    let running = start();
    let disk = &running.disk;
    disk.writing.hold(true);
    let (_old_replies, mut old) = running.session("/disk", 1);
    // The first one runs; the others, which overlap it, wait.
    for seq in 0..10 {
        old.write_all(&write(seq % 2, 1, seq)).unwrap();
    }
    disk.writing.wait_for(1);

    let mut new = running.begin("/disk", Direction::Send, 2);
    new.set_read_timeout(Some(Duration::from_millis(100)))
        .unwrap();
    let early = new.read(&mut [0]).unwrap_err();
    assert_eq!(
        early.kind(),
        io::ErrorKind::WouldBlock,
        "answered too early"
    );
    disk.writing.hold(false);
    new.set_read_timeout(Some(LONG)).unwrap();
    finish(&mut new);
    assert_eq!(*disk.writes.lock(), [(0, 1)]);

    let mut requests = running.begin("/disk", Direction::Recv, 2);
    finish(&mut requests);
    requests.write_all(&write(0, 2, 0)).unwrap();
    let mut reply = [0; Reply::SIZE];
    new.read_exact(&mut reply).unwrap();
    assert_eq!(Reply::decode(&reply).error, None);
    assert_eq!(*disk.writes.lock(), [(0, 1), (0, 2)]);
}

/// A client that comes back at once must not miss what it began.
#[test]
fn a_session_is_found_by_its_successor_as_soon_as_it_was_answered() {
    let running = start();
    let client = Client {
        address: running.address.ip(),
        instance: None,
        path: ExportPath::new("/disk").unwrap(),
        access: Access::ReadWrite,
    };
    for token in 0..50 {
        let (mut replies, _requests) = running.session("/disk", token);
        running.server.end_predecessors(&client).unwrap();
        replies.set_read_timeout(Some(LONG)).unwrap();
        assert_eq!(replies.read(&mut [0]).unwrap(), 0);
    }
}

#[test]
fn a_medium_that_is_slow_to_open_holds_up_only_who_asked_for_it() {
    let running = start();
    running.disk.opening.hold(true);
    let mut slow = running.begin("/slow", Direction::Send, 1);
    running.disk.opening.wait_for(1);
    drop(running.session("/disk", 2));
    running.disk.opening.hold(false);
    finish(&mut slow);
}

/// Base only cleaned up when the next client came.
#[test]
fn half_open_sessions_go_when_their_time_is_over() {
    let running = start();
    let mut half = running.begin("/disk", Direction::Send, 1);
    finish(&mut half);
    running.server.expire(Instant::now());
    assert_eq!(running.server.half_open.lock().len(), 1);
    running.server.expire(Instant::now() + PATIENCE);
    assert_eq!(running.server.half_open.lock().len(), 0);
    assert_eq!(half.read(&mut [0]).unwrap(), 0);
}

#[test]
fn stopping_waits_for_what_runs_and_drops_the_rest() {
    let running = start();
    running.disk.writing.hold(true);
    let (mut replies, mut requests) = running.session("/disk", 1);
    for seq in 0..3 {
        requests.write_all(&write(0, 1, seq)).unwrap();
    }
    running.disk.writing.wait_for(1);
    std::thread::scope(|scope| {
        let stopping = scope.spawn(|| running.server.stop());
        assert_eq!(replies.read(&mut [0]).unwrap(), 0);
        assert!(!stopping.is_finished());
        running.disk.writing.hold(false);
    });
    assert_eq!(*running.disk.writes.lock(), [(0, 1)]);
}
