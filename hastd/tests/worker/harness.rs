//! A daemon for one worker, which does what the test says.

use hast::config::Settings;
use hast::ipc::{Channel, Event, FromWorker, Level, Peer, Receiver, Start, ToWorker};
use hast::status::Status;
use hast::worker::Title;
use hast_core::frame;
use hast_core::message::{Opening, Step1Reply, Step2Request};
use hast_core::metadata::{BLOCK_LENGTH, Consistency, CreateOptions, Metadata, Provider};
use hast_core::nv::Text;
use hast_core::payload::{Checksum, Compression};
use hast_core::primary::Replication;
use hast_core::units::{Counters, ResUid, Token, Version};
use std::collections::VecDeque;
use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};
use std::sync::mpsc::{Receiver as Inbox, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use testkit::process::{DEADLINE, Sandbox};

pub(crate) const NAME: &str = "data";

/// A component as `hastctl create` makes it.
pub(crate) fn create(path: &Path, size: u64) -> Metadata {
    create_named(NAME, path, size)
}

/// The same for another resource.
pub(crate) fn create_named(name: &str, path: &Path, size: u64) -> Metadata {
    let provider = Provider {
        mediasize: size,
        sectorsize: 512,
    };
    let metadata = Metadata::create(name, provider, CreateOptions::default()).unwrap();
    let mut block = [0; BLOCK_LENGTH];
    metadata.encode(&mut block).unwrap();
    let mut file = std::fs::File::create(path).unwrap();
    file.write_all(&block).unwrap();
    file.set_len(size).unwrap();
    metadata
}

pub(crate) fn settings(replication: Replication) -> Settings {
    Settings {
        replication,
        checksum: Checksum::None,
        compression: Compression::Hole,
        timeout: Duration::from_secs(5),
        metaflush: true,
    }
}

/// One worker.
pub(crate) struct Worker {
    child: Child,
    channel: Channel,
    inbox: Inbox<(FromWorker, Vec<OwnedFd>)>,
    pub(crate) log: Vec<String>,
    pub(crate) events: Vec<Event>,
    /// Attempts to connect that nobody has waited for.
    attempts: VecDeque<u64>,
}

impl Worker {
    pub(crate) fn start(
        sandbox: &Sandbox,
        local: &Path,
        primary: bool,
        settings: Settings,
    ) -> Self {
        Self::start_named(NAME, sandbox, local, primary, settings)
    }

    /// The same for another resource.
    pub(crate) fn start_named(
        name: &str,
        sandbox: &Sandbox,
        local: &Path,
        primary: bool,
        settings: Settings,
    ) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let title = if primary {
            Title::Primary
        } else {
            Title::SecondaryIdle
        };
        let child = Command::new(env!("CARGO_BIN_EXE_hastd"))
            .arg0(title.of(name))
            .env("GGATE_RUNDIR", sandbox.run_dir())
            .stdin(OwnedFd::from(theirs))
            .spawn()
            .unwrap();
        let reading = ours.try_clone().unwrap();
        let (sender, inbox) = channel();
        std::thread::spawn(move || {
            let mut receiver = Receiver::default();
            while let Ok(received) = receiver.receive(reading.as_fd()) {
                if sender
                    .send((received.message, received.descriptors))
                    .is_err()
                {
                    break;
                }
            }
        });
        let mut worker = Self {
            child,
            channel: Channel::new(ours),
            inbox,
            log: Vec::new(),
            events: Vec::new(),
            attempts: VecDeque::new(),
        };
        worker.tell(&ToWorker::Start(Box::new(Start {
            name: name.into(),
            primary,
            provider: name.into(),
            local: local.into(),
            remote: primary.then(|| "the other node".into()),
            settings,
            memory: 32 << 20,
            stop_on_impossible: true,
            debug: 2,
            sandbox: None,
        })));
        worker
    }

    pub(crate) fn tell(&mut self, message: &ToWorker) {
        self.tell_with(message, Vec::new());
    }

    pub(crate) fn tell_with(&mut self, message: &ToWorker, descriptors: Vec<OwnedFd>) {
        self.channel.send(message, descriptors).unwrap();
    }

    /// Takes messages until one is what is wanted; log lines and events are
    /// collected.
    pub(crate) fn wait<T>(
        &mut self,
        what: &str,
        mut want: impl FnMut(&FromWorker) -> Option<T>,
    ) -> T {
        let deadline = Instant::now() + DEADLINE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(left) {
                Ok((message, _)) => {
                    let found = want(&message);
                    match message {
                        FromWorker::Log { level, text } => {
                            eprintln!("{level:?}: {text}");
                            if !matches!(level, Level::Debug(_)) {
                                self.log.push(text);
                            }
                        }
                        FromWorker::Event(event) => self.events.push(event),
                        FromWorker::Connect { attempt } => self.attempts.push_back(attempt),
                        _ => {}
                    }
                    if let Some(found) = found {
                        return found;
                    }
                }
                Err(RecvTimeoutError::Timeout) => panic!("waited in vain for {what}"),
                Err(RecvTimeoutError::Disconnected) => {
                    panic!(
                        "the worker ended; waited for {what}: {:?}",
                        self.child.wait()
                    )
                }
            }
        }
    }

    pub(crate) fn ready(&mut self) {
        self.wait("Ready", |message| {
            matches!(message, FromWorker::Ready(_)).then_some(())
        });
    }

    pub(crate) fn event(&mut self, event: Event) {
        if let Some(at) = self.events.iter().position(|e| *e == event) {
            self.events.remove(at);
            return;
        }
        self.wait(event.name(), |message| {
            (*message == FromWorker::Event(event)).then_some(())
        });
        self.events.pop();
    }

    /// The attempt it asks to connect for.
    pub(crate) fn asks_to_connect(&mut self) -> u64 {
        if self.attempts.is_empty() {
            self.wait("Connect", |message| {
                matches!(message, FromWorker::Connect { .. }).then_some(())
            });
        }
        self.attempts.pop_front().unwrap()
    }

    pub(crate) fn connected(&mut self, attempt: u64, socket: Option<TcpStream>) {
        let error = socket.is_none().then(|| "connection refused".into());
        let descriptors = socket.into_iter().map(OwnedFd::from).collect();
        let message = ToWorker::Connected { attempt, error };
        self.channel.send(&message, descriptors).unwrap();
    }

    pub(crate) fn status(&mut self) -> Status {
        self.tell(&ToWorker::Status { question: 7 });
        self.wait("Status", |message| match message {
            FromWorker::Status { status, .. } => Some((**status).clone()),
            _ => None,
        })
    }

    pub(crate) fn stop(mut self) -> ExitStatus {
        self.tell(&ToWorker::Stop { if_closed: false });
        self.ended()
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets a primary of base in, over these connections.
    pub(crate) fn greet(&mut self, requests: TcpStream, replies: TcpStream) {
        let hello = Step2Request {
            resource: Text(NAME.as_bytes()),
            token: Token([9; 16]),
            virgin: false,
            resuid: ResUid::new(1).unwrap(),
            counters: Counters::default(),
            generation: None,
            consistency: Consistency::Consistent,
            dirty: None,
        };
        let mut room = [0; 512];
        let length = hello.encode(Version::V2, &mut room).unwrap();
        let peer = ToWorker::Peer(Box::new(Peer {
            address: "tcp://127.0.0.1:1".into(),
            version: 2,
            extensions: 0,
            hello: room[frame::HEADER..length].to_vec(),
        }));
        let connections = vec![OwnedFd::from(requests), OwnedFd::from(replies)];
        self.channel.send(&peer, connections).unwrap();
    }

    pub(crate) fn ended(mut self) -> ExitStatus {
        let deadline = Instant::now() + DEADLINE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                while let Ok((FromWorker::Log { text, .. }, _)) = self.inbox.recv() {
                    eprintln!("at the end: {text}");
                }
                return status;
            }
            assert!(Instant::now() < deadline, "the worker did not end");
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two ends of a TCP connection.
pub(crate) fn tcp() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
    (client, listener.accept().unwrap().0)
}

/// Reads the entries of one message.
pub(crate) fn entries(stream: &mut TcpStream) -> Vec<u8> {
    let mut header = [0; frame::HEADER];
    stream.read_exact(&mut header).unwrap();
    let mut entries = vec![0; usize::from(header[1]) + usize::from(header[2]) * 256];
    stream.read_exact(&mut entries).unwrap();
    entries
}

/// Does what two daemons do to connect a primary's worker to a secondary's.
pub(crate) fn connect(primary: &mut Worker, secondary: &mut Worker) {
    let (requests, mut a) = tcp();
    let attempt = primary.asks_to_connect();
    primary.connected(attempt, Some(requests));
    let asked = entries(&mut a);
    let Opening::Step1(step1) = Opening::decode(&asked).unwrap() else {
        panic!("not step 1");
    };
    let extensions = step1.extensions.and(hast_core::secondary::EXTENSIONS);
    let reply = Step1Reply::Accepted {
        version: Version::negotiate(step1.version),
        token: Token([9; 16]),
        extensions,
    };
    let mut room = [0; 512];
    let length = reply.encode(&mut room).unwrap();
    a.write_all(&room[..length]).unwrap();
    let (replies, mut b) = tcp();
    let attempt = primary.asks_to_connect();
    primary.connected(attempt, Some(replies));
    let hello = entries(&mut b);
    let peer = ToWorker::Peer(Box::new(Peer {
        address: "tcp://127.0.0.1:1".into(),
        version: 2,
        extensions: extensions.bits(),
        hello,
    }));
    let connections = vec![OwnedFd::from(a), OwnedFd::from(b)];
    secondary.channel.send(&peer, connections).unwrap();
}

/// Two nodes in one directory.
pub(crate) struct Nodes {
    pub(crate) sandbox: Sandbox,
    pub(crate) a: PathBuf,
    pub(crate) b: PathBuf,
    pub(crate) metadata: Metadata,
}

impl Nodes {
    pub(crate) fn new(size: u64) -> Self {
        let sandbox = Sandbox::new();
        let (a, b) = (sandbox.file("a.img"), sandbox.file("b.img"));
        let metadata = create(&a, size);
        create(&b, size);
        Self {
            sandbox,
            a,
            b,
            metadata,
        }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.sandbox.run_dir().join("hast").join(NAME)
    }

    /// The data of a component.
    pub(crate) fn data(&self, path: &Path) -> Vec<u8> {
        let offset = usize::try_from(self.metadata.localoff).unwrap();
        std::fs::read(path).unwrap()[offset..].to_vec()
    }
}
