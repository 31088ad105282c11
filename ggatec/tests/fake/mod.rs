//! A server that does what a test says, message by message, over real TCP.

use ggate::errno::WireErrno;
use ggate::range::Geometry;
use ggate::wire::{
    ClientInitial, Direction, Hello, InstanceId, Reply, Request, ServerInitial, Version,
};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;
use testkit::process::DEADLINE;

/// What the server has on offer.
pub(crate) const MEDIUM: Geometry = Geometry {
    media_size: 1 << 20,
    sector_size: 512,
};

/// A listening server.
pub(crate) struct Server {
    listener: TcpListener,
}

/// One session with the client.
pub(crate) struct Session {
    pub(crate) requests: TcpStream,
    replies: Arc<Mutex<TcpStream>>,
    pub(crate) initial: ClientInitial,
}

impl Server {
    pub(crate) fn new() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        Self { listener }
    }

    pub(crate) fn port(&self) -> u16 {
        self.listener.local_addr().unwrap().port()
    }

    /// A session as base's servers grant it.
    pub(crate) fn base_session(&self, medium: Geometry) -> Session {
        self.session(medium, None)
    }

    /// A session of one of our servers, in this run of it.
    pub(crate) fn our_session(&self, run: u8) -> Session {
        let session = self.our_silent_session(run);
        let replies = Arc::downgrade(&session.replies);
        thread::spawn(move || {
            while let Some(replies) = replies.upgrade() {
                // The client may be gone.
                let _ = replies
                    .lock()
                    .unwrap()
                    .write_all(&Reply::HEARTBEAT.encode());
                drop(replies);
                thread::sleep(Duration::from_millis(300));
            }
        });
        session
    }

    /// The same without heartbeats.
    pub(crate) fn our_silent_session(&self, run: u8) -> Session {
        self.session(MEDIUM, Some(InstanceId([run; 16])))
    }

    fn session(&self, medium: Geometry, hello: Option<InstanceId>) -> Session {
        let (replies, initial) = self.handshake(medium, hello);
        assert_eq!(initial.direction, Direction::Send, "SEND comes first");
        let (requests, second) = self.handshake(medium, hello);
        assert_eq!(second.direction, Direction::Recv);
        assert_eq!(
            (&second.path, second.token, second.access),
            (&initial.path, initial.token, initial.access)
        );
        Session {
            requests,
            replies: Arc::new(Mutex::new(replies)),
            initial,
        }
    }

    /// Grants the first connection of a session and not the second one.
    #[allow(dead_code, reason = "not every test program lies like this")]
    pub(crate) fn refuse_second(&self) {
        let first = self.handshake(MEDIUM, None);
        drop(self.listener.accept().unwrap());
        drop(first);
    }

    fn handshake(&self, medium: Geometry, hello: Option<InstanceId>) -> (TcpStream, ClientInitial) {
        let (mut stream, _) = self.listener.accept().unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let asked = Version::decode(&read(&mut stream)).unwrap();
        assert!(asked.is_extended(), "our clients offer the extension");
        let answer = match hello {
            Some(_) => Version::EXTENDED,
            None => Version::PLAIN,
        };
        stream.write_all(&answer.encode()).unwrap();
        let initial = ClientInitial::decode(&read(&mut stream)).unwrap();
        if hello.is_some() {
            let _client: Hello = Hello::decode(&read(&mut stream));
        }
        let granted = ServerInitial { result: Ok(medium) };
        stream.write_all(&granted.encode()).unwrap();
        if let Some(id) = hello {
            stream.write_all(&Hello { id }.encode()).unwrap();
        }
        (stream, initial)
    }
}

impl Session {
    /// The next request with its payload.
    pub(crate) fn next(&mut self) -> (Request, Vec<u8>) {
        let request = Request::decode(&read(&mut self.requests));
        let mut payload = vec![0; usize::try_from(request.payload_len()).unwrap()];
        self.requests.read_exact(&mut payload).unwrap();
        (request, payload)
    }

    /// Answers a request.
    pub(crate) fn answer(&mut self, request: Request, error: Option<WireErrno>, data: &[u8]) {
        let mut reply = request.reply(error).encode().to_vec();
        reply.extend_from_slice(data);
        self.replies.lock().unwrap().write_all(&reply).unwrap();
    }

    /// Sends anything in place of a reply.
    #[allow(dead_code, reason = "not every test program lies like this")]
    pub(crate) fn say(&self, bytes: &[u8]) {
        // The client may have had enough.
        let _ = self.replies.lock().unwrap().write_all(bytes);
    }

    /// Answers requests with success until the client ends the session.
    pub(crate) fn please(mut self) {
        let mut header = [0; Request::SIZE];
        while self.requests.read_exact(&mut header).is_ok() {
            let request = Request::decode(&header);
            let mut payload = vec![0; usize::try_from(request.payload_len()).unwrap()];
            self.requests.read_exact(&mut payload).unwrap();
            let reply = request.reply(None);
            let data = vec![0; usize::try_from(reply.payload_len()).unwrap()];
            self.answer(request, None, &data);
        }
    }
}

fn read<const N: usize>(stream: &mut TcpStream) -> [u8; N] {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}
