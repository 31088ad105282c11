//! A daemon for one worker, which does what the test says.

use hast::config::Settings;
use hast::ipc::{Channel, Event, FromWorker, Level, Peer, Receiver, Start, ToWorker};
use hast::status::Status;
use hast::worker::Title;
use hast_core::frame;
use hast_core::message::{Extensions, Opening, Step1Reply, Step2Request};
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
use testkit::nbd::Client;
use testkit::process::{DEADLINE, Sandbox, wait_for};

pub(crate) const NAME: &str = "data";

/// A component as `hastctl create` makes it.
pub(crate) fn create_named(name: &str, path: &Path, size: u64) -> Metadata {
    create_with(name, path, size, CreateOptions::default())
}

fn create_with(name: &str, path: &Path, size: u64, options: CreateOptions) -> Metadata {
    let provider = Provider {
        mediasize: size,
        sectorsize: 512,
    };
    let metadata = Metadata::create(name, provider, options).unwrap();
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

/// How a worker begins unless a test wants something special.
pub(crate) fn start_of(name: &str, local: &Path, primary: bool, settings: Settings) -> Start {
    Start {
        name: name.into(),
        primary,
        provider: name.into(),
        local: local.into(),
        remote: primary.then(|| "the other node".into()),
        settings,
        memory: hast::config::DEFAULT_MEMORY,
        stop_on_impossible: true,
        debug: 2,
        sandbox: None,
    }
}

/// Where the gates are of the node with this component: node b is another
/// machine, and has a run directory of its own.
fn run_dir(sandbox: &Sandbox, local: &Path) -> PathBuf {
    if local.ends_with("b.img") {
        let dir = sandbox.file("run-b");
        std::fs::create_dir_all(&dir).unwrap();
        return dir;
    }
    sandbox.run_dir()
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
        Self::run(sandbox, start_of(name, local, primary, settings), |_| {})
    }

    /// The same, with everything as the test wants it.
    pub(crate) fn run(sandbox: &Sandbox, start: Start, prepare: impl FnOnce(&mut Command)) -> Self {
        let title = if start.primary {
            Title::Primary
        } else {
            Title::SecondaryIdle
        };
        let mut command = Command::new(env!("CARGO_BIN_EXE_hastd"));
        command.arg0(title.of(&start.name));
        prepare(&mut command);
        let mut worker = Self::spawn(sandbox, &start.local, command);
        worker.tell(&ToWorker::Start(Box::new(start)));
        worker
    }

    /// A worker that was told nothing yet. Takes the command, which has the
    /// worker's end of the channel as long as it exists.
    pub(crate) fn spawn(sandbox: &Sandbox, local: &Path, mut command: Command) -> Self {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let child = command
            .env("GGATE_RUNDIR", run_dir(sandbox, local))
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
        Self {
            child,
            channel: Channel::new(ours),
            inbox,
            log: Vec::new(),
            events: Vec::new(),
            attempts: VecDeque::new(),
        }
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

    /// Waits until it is in this state.
    pub(crate) fn becomes(&mut self, state: &str) -> Status {
        wait_for(state, || {
            let status = self.status();
            (status.report.state == state).then_some(status)
        })
    }

    pub(crate) fn stop(mut self) -> ExitStatus {
        self.tell(&ToWorker::Stop { if_closed: false });
        self.ended()
    }

    /// Waits for a line of the log with these words; it may have come already,
    /// and is taken off the list.
    pub(crate) fn logged(&mut self, words: &str) -> String {
        let of = |text: &String| text.contains(words);
        if self.log.iter().any(of) {
            let at = self.log.iter().position(of).unwrap();
            return self.log.remove(at);
        }
        self.wait(words, |message| match message {
            FromWorker::Log { level, text } if !matches!(level, Level::Debug(_)) => {
                text.contains(words).then_some(())
            }
            _ => None,
        });
        self.log.pop().unwrap()
    }

    /// Takes what has come.
    pub(crate) fn catch_up(&mut self) {
        self.status();
    }

    /// Makes a primary look for its peer at once.
    pub(crate) fn reconnect(&mut self, settings: Settings) {
        self.tell(&ToWorker::Reconfigure {
            settings,
            remote: Some("the other node".into()),
            reconnect: true,
        });
    }

    /// kill -9.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The daemon goes, and the worker's channel with it.
    pub(crate) fn abandon(mut self) -> ExitStatus {
        let _ = self.channel.socket().shutdown(std::net::Shutdown::Both);
        self.ended_in_silence()
    }

    fn ended_in_silence(&mut self) -> ExitStatus {
        wait_for("the end of a worker", || self.child.try_wait().unwrap())
    }

    /// Process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets a primary of base in, over these connections.
    pub(crate) fn greet(&mut self, requests: TcpStream, replies: TcpStream) {
        self.greet_as(Extensions::NONE, requests, replies);
    }

    /// Lets a primary with these extensions in.
    pub(crate) fn greet_as(
        &mut self,
        extensions: Extensions,
        requests: TcpStream,
        replies: TcpStream,
    ) {
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
        let hello = room[frame::HEADER..length].to_vec();
        self.let_in(extensions, hello, requests, replies);
    }

    /// Lets a primary in that said this in step 2.
    pub(crate) fn let_in(
        &mut self,
        extensions: Extensions,
        hello: Vec<u8>,
        requests: TcpStream,
        replies: TcpStream,
    ) {
        let peer = ToWorker::Peer(Box::new(Peer {
            address: "tcp://127.0.0.1:1".into(),
            version: 2,
            extensions: extensions.bits(),
            hello,
        }));
        self.tell_with(&peer, vec![requests.into(), replies.into()]);
    }

    /// Waits for the end; the last lines of the log are among the others.
    pub(crate) fn ends(&mut self) -> ExitStatus {
        let status = self.ended_in_silence();
        while let Ok((message, _)) = self.inbox.recv() {
            if let FromWorker::Log { text, .. } = message {
                eprintln!("at the end: {text}");
                self.log.push(text);
            }
        }
        status
    }

    pub(crate) fn ended(mut self) -> ExitStatus {
        self.ends()
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

/// The two connections between two workers.
pub(crate) struct Link([TcpStream; 2]);

impl Link {
    /// They break.
    pub(crate) fn cut(&self) {
        for connection in &self.0 {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
    }
}

/// Does what two daemons do to connect a primary's worker to a secondary's.
pub(crate) fn connect(primary: &mut Worker, secondary: &mut Worker) -> Link {
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
    let link = Link([a.try_clone().unwrap(), b.try_clone().unwrap()]);
    secondary.let_in(extensions, hello, a, b);
    link
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
        Self::with(size, CreateOptions::default())
    }

    /// With components of this kind.
    pub(crate) fn with(size: u64, options: CreateOptions) -> Self {
        let sandbox = Sandbox::new();
        let (a, b) = (sandbox.file("a.img"), sandbox.file("b.img"));
        let metadata = create_with(NAME, &a, size, options);
        create_with(NAME, &b, size, options);
        Self {
            sandbox,
            a,
            b,
            metadata,
        }
    }

    /// A worker for node a (primary) or b.
    pub(crate) fn start(&self, primary: bool, settings: Settings) -> Worker {
        let local = if primary { &self.a } else { &self.b };
        let mut worker = Worker::start(&self.sandbox, local, primary, settings);
        worker.ready();
        worker
    }

    /// The provider of node a.
    pub(crate) fn socket(&self) -> PathBuf {
        self.socket_of(&self.a)
    }

    /// The provider of the node with this component.
    pub(crate) fn socket_of(&self, local: &Path) -> PathBuf {
        run_dir(&self.sandbox, local).join("hast").join(NAME)
    }

    /// The data of a component.
    pub(crate) fn data(&self, path: &Path) -> Vec<u8> {
        let offset = usize::try_from(self.metadata.localoff).unwrap();
        std::fs::read(path).unwrap()[offset..].to_vec()
    }

    /// Asserts that both components have the same data.
    pub(crate) fn assert_same(&self) {
        let (a, b) = (self.data(&self.a), self.data(&self.b));
        if a != b {
            let differ = a.iter().zip(&b).position(|(a, b)| a != b);
            panic!("byte {differ:?} differs, or the length does");
        }
    }
}

/// Metadata of a component, as it is on disk.
pub(crate) fn metadata(path: &Path) -> Metadata {
    try_metadata(path).unwrap()
}

/// The same while it may be being written.
pub(crate) fn try_metadata(path: &Path) -> Option<Metadata> {
    let bytes = std::fs::read(path).unwrap();
    Metadata::decode(bytes.first_chunk::<BLOCK_LENGTH>().unwrap()).ok()
}

/// Two nodes that are connected: a is primary.
pub(crate) struct Pair {
    pub(crate) nodes: Nodes,
    pub(crate) primary: Worker,
    pub(crate) secondary: Worker,
    pub(crate) link: Link,
    pub(crate) settings: Settings,
}

impl Pair {
    pub(crate) fn new(size: u64, settings: Settings) -> Self {
        Self::of(Nodes::new(size), settings)
    }

    pub(crate) fn of(nodes: Nodes, settings: Settings) -> Self {
        let mut secondary = nodes.start(false, settings.clone());
        let mut primary = nodes.start(true, settings.clone());
        let link = connect(&mut primary, &mut secondary);
        primary.event(Event::Connect);
        secondary.event(Event::Connect);
        Self {
            nodes,
            primary,
            secondary,
            link,
            settings,
        }
    }

    pub(crate) fn client(&self) -> Client {
        Client::connect(&self.nodes.socket()).unwrap()
    }

    /// The network fails; both notice.
    pub(crate) fn cut(&mut self) {
        self.link.cut();
        self.primary.event(Event::Disconnect);
        self.secondary.event(Event::Disconnect);
    }

    /// The network is back.
    pub(crate) fn reconnect(&mut self) {
        self.primary.reconnect(self.settings.clone());
        self.link = connect(&mut self.primary, &mut self.secondary);
        self.primary.event(Event::Connect);
        self.secondary.event(Event::Connect);
    }

    /// Waits until both have the same, and on disk.
    pub(crate) fn wait_for_sync(&mut self) {
        in_sync(&mut self.primary);
    }
}

/// Waits until a primary says that both nodes have the same.
pub(crate) fn in_sync(primary: &mut Worker) -> Status {
    wait_for("a pair in sync", || {
        let status = primary.status();
        let complete = status.complete && status.report.state == "complete" && status.dirty == 0;
        complete.then_some(status)
    })
}
