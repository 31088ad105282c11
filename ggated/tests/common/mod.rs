//! A ggated in a sandbox and a client that speaks to it byte by byte.

// Every test program uses its own part of this.
#![allow(dead_code)]

use ggate::gate::{Access, Seq};
use ggate::wire::{
    ClientInitial, Command, Direction, ExportPath, Hello, InstanceId, Reply, Request,
    ServerInitial, Token, Version,
};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::time::Duration;
use testkit::process::{DEADLINE, Running, Sandbox};

/// A running server, its sandbox and its exported files.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) address: SocketAddr,
    pub(crate) sandbox: Sandbox,
}

/// Starts `ggated -v` in the sandbox with these exports; `FILE` at the begin
/// of a path is the sandbox.
pub(crate) fn start(sandbox: Sandbox, exports: &str) -> Server {
    write_exports(&sandbox, exports);
    let arguments = ["-v", "-a", "127.0.0.1", "-p", "0", "-F", "pid", "exports"];
    let running = sandbox.spawn("ggated", arguments);
    let line = running.wait_for_line("Listen on port: ");
    let port = line.trim_end_matches('.').rsplit(' ').next();
    let port = port.and_then(|p| p.parse().ok()).expect("a port");
    Server {
        running,
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        sandbox,
    }
}

/// Replaces the exports file.
pub(crate) fn write_exports(sandbox: &Sandbox, exports: &str) {
    let dir = sandbox.path().to_str().expect("UTF-8");
    sandbox.write("exports", exports.replace("DIR", dir));
}

/// A sandbox with a sparse file `disk` of this size.
pub(crate) fn sandbox_with_disk(size: u64) -> Sandbox {
    let sandbox = Sandbox::new();
    make_file(&sandbox, "disk", size);
    sandbox
}

/// A sparse file.
pub(crate) fn make_file(sandbox: &Sandbox, name: &str, size: u64) -> PathBuf {
    let path = sandbox.write(name, b"");
    let file = std::fs::File::options().write(true).open(&path);
    file.and_then(|f| f.set_len(size)).expect("a sparse file");
    path
}

/// A server of `disk`, 1 MiB, read-write.
pub(crate) fn simple() -> Server {
    start(sandbox_with_disk(1 << 20), "127.0.0.1 RW DIR/disk\n")
}

impl Server {
    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    pub(crate) fn initial(
        &self,
        access: Access,
        direction: Direction,
        token: u32,
    ) -> ClientInitial {
        self.initial_for("disk", access, direction, token)
    }

    pub(crate) fn initial_for(
        &self,
        name: &str,
        access: Access,
        direction: Direction,
        token: u32,
    ) -> ClientInitial {
        ClientInitial {
            path: ExportPath::new(self.sandbox.file(name)).expect("a path"),
            access,
            direct: false,
            direction,
            token: Token(token),
        }
    }

    /// Both handshakes, SEND first.
    pub(crate) fn session(&self, access: Access, token: u32) -> Client {
        let ask = |direction| {
            let (stream, answer) = greet(self.connect(), &self.initial(access, direction, token));
            answer.result.expect("a session");
            stream
        };
        Client {
            replies: ask(Direction::Send),
            requests: ask(Direction::Recv),
        }
    }
}

/// A connection that fails rather than hangs.
pub(crate) fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("a connection");
    stream.set_read_timeout(Some(DEADLINE)).expect("a time-out");
    stream
        .set_write_timeout(Some(DEADLINE))
        .expect("a time-out");
    stream
}

/// Receives exactly `N` bytes.
pub(crate) fn receive<const N: usize>(stream: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).expect("an answer");
    bytes
}

/// A base client's handshake.
pub(crate) fn greet(mut stream: TcpStream, initial: &ClientInitial) -> (TcpStream, ServerInitial) {
    stream.write_all(&Version::PLAIN.encode()).expect("sent");
    assert_eq!(receive(&mut stream), Version::PLAIN.encode());
    stream.write_all(&initial.encode()).expect("sent");
    let answer = ServerInitial::decode(&receive(&mut stream));
    (stream, answer)
}

/// Our client's handshake.
pub(crate) fn greet_extended(
    mut stream: TcpStream,
    initial: &ClientInitial,
    id: InstanceId,
) -> (TcpStream, ServerInitial, InstanceId) {
    stream.write_all(&Version::EXTENDED.encode()).expect("sent");
    assert_eq!(receive(&mut stream), Version::EXTENDED.encode());
    stream.write_all(&initial.encode()).expect("sent");
    stream.write_all(&Hello { id }.encode()).expect("sent");
    let answer = ServerInitial::decode(&receive(&mut stream));
    let hello = Hello::decode(&receive(&mut stream));
    (stream, answer, hello.id)
}

/// Whether the server closes the connection without a further byte.
pub(crate) fn is_closed(stream: &mut TcpStream) -> bool {
    matches!(stream.read(&mut [0]), Ok(0) | Err(_)) && {
        // A time-out is an error, too; a closed connection stays readable.
        stream
            .set_read_timeout(Some(Duration::from_secs(1)))
            .expect("a time-out");
        !matches!(stream.read(&mut [0]), Err(e) if e.kind() == std::io::ErrorKind::WouldBlock)
    }
}

/// A session's client.
pub(crate) struct Client {
    pub(crate) replies: TcpStream,
    pub(crate) requests: TcpStream,
}

/// A request's header.
pub(crate) fn request(command: u8, offset: u64, length: u32, seq: u64) -> Request {
    Request {
        command: Command::from(command),
        offset,
        length,
        seq: Seq(seq),
    }
}

impl Client {
    pub(crate) fn send(&mut self, request: Request, payload: &[u8]) {
        let frame = [&request.encode()[..], payload].concat();
        self.requests.write_all(&frame).expect("sent");
    }

    pub(crate) fn receive(&mut self) -> (Reply, Vec<u8>) {
        let reply = Reply::decode(&receive(&mut self.replies));
        let mut payload = vec![0; usize::try_from(reply.payload_len()).expect("a length")];
        self.replies.read_exact(&mut payload).expect("a payload");
        (reply, payload)
    }

    /// Sends a request and takes the reply, which must be to it: its error
    /// number (0 for success) and data.
    pub(crate) fn ask(&mut self, request: Request, payload: &[u8]) -> (u16, Vec<u8>) {
        self.send(request, payload);
        let (reply, data) = self.receive();
        assert_eq!(reply.request, request);
        (reply.error.map_or(0, ggate::errno::WireErrno::get), data)
    }
}
