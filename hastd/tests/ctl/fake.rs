//! A node whose hastd is a thread of the test.

use hast_core::frame::{CONTROL_REQUEST_LIMIT, Decoder, Event};
use hast_core::message::{
    Command, ControlCode, ControlReply, ControlRequest, Names, ResourceReply, StatusReply, Wishes,
    WorkerStatus,
};
use hast_core::nv::Text;
use hast_core::role::Role;
use std::io::{Read as _, Write as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread::{self, JoinHandle};
use testkit::process::{Finished, Sandbox};

/// A component of base's captures.
pub(crate) const SIZE: u64 = 16 << 20;

/// A sandbox with a configuration of one resource, `test`.
pub(crate) struct Node {
    pub(crate) sandbox: Sandbox,
}

impl Node {
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::new();
        let dir = sandbox.path().display();
        let text = format!(
            "control {dir}/ctl\nlisten 127.0.0.1:8457\nresource test {{\n\
             on here {{ local {dir}/h.img remote none }} }}\n"
        );
        sandbox.write("h.conf", text);
        sandbox.write("h.conf.ext", "node here\n");
        Self { sandbox }
    }

    /// Makes the file of the component, full of zeros.
    pub(crate) fn with_image(self) -> Self {
        let image = std::fs::File::create(self.sandbox.file("h.img")).unwrap();
        image.set_len(SIZE).unwrap();
        self
    }

    pub(crate) fn image(&self) -> Vec<u8> {
        std::fs::read(self.sandbox.file("h.img")).unwrap()
    }

    /// Runs a line of hastctl's.
    pub(crate) fn run(&self, line: &str) -> Finished {
        self.sandbox.run("hastctl", arguments(line))
    }

    /// Lets `answer` be hastd: for a request, a whole message or nothing.
    pub(crate) fn hastd(
        &self,
        answer: impl FnMut(&ControlRequest<'_>) -> Vec<u8> + Send + 'static,
    ) -> Hastd {
        Hastd::start(&self.sandbox, answer)
    }
}

/// The arguments of `COMMAND -c h.conf REST`, or of a line that names its
/// configuration.
pub(crate) fn arguments(line: &str) -> Vec<String> {
    let mut words: Vec<String> = line.split_whitespace().map(str::to_owned).collect();
    if !words.iter().any(|word| word == "-c") {
        let config = ["-c".to_owned(), "h.conf".to_owned()];
        words.splice(1..1, config);
    }
    words
}

/// What was asked, as values that live.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Asked {
    pub(crate) command: Command,
    /// None for all.
    pub(crate) names: Option<Vec<String>>,
    pub(crate) wishes: Wishes,
}

/// A daemon, for as long as this lives.
pub(crate) struct Hastd {
    path: std::path::PathBuf,
    thread: Option<JoinHandle<()>>,
    asked: Receiver<Asked>,
}

impl Hastd {
    fn start(
        sandbox: &Sandbox,
        mut answer: impl FnMut(&ControlRequest<'_>) -> Vec<u8> + Send + 'static,
    ) -> Self {
        let path = sandbox.file("ctl");
        let listener = UnixListener::bind(&path).unwrap();
        let (tell, asked) = channel();
        let thread = thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let Some(entries) = request(&mut stream) else {
                    // Only the test itself says nothing.
                    return;
                };
                let request = ControlRequest::decode(&entries).unwrap().unwrap();
                let names = match &request.names {
                    Names::All => None,
                    Names::These(names) => Some(names.iter().map(Text::to_string).collect()),
                };
                let (command, wishes) = (request.command, request.wishes);
                let _ = tell.send(Asked {
                    command,
                    names,
                    wishes,
                });
                // In pieces; the client may have gone.
                for piece in answer(&request).chunks(11) {
                    if stream.write_all(piece).is_err() {
                        break;
                    }
                }
            }
        });
        Self {
            path,
            thread: Some(thread),
            asked,
        }
    }

    /// Everything that was asked so far.
    pub(crate) fn asked(&self) -> Vec<Asked> {
        self.asked.try_iter().collect()
    }
}

impl Drop for Hastd {
    fn drop(&mut self) {
        let _ = UnixStream::connect(&self.path);
        if let Some(thread) = self.thread.take() {
            let ended = thread.join();
            if !thread::panicking() {
                ended.expect("a daemon that understands hastctl");
            }
        }
        let _ = std::fs::remove_file(&self.path);
    }
}

fn request(stream: &mut UnixStream) -> Option<Vec<u8>> {
    let mut decoder = Decoder::new(CONTROL_REQUEST_LIMIT);
    let mut byte = [0];
    while stream.read(&mut byte).ok()? == 1 {
        if let (_, Some(Event::Message(entries))) = decoder.next(&byte).unwrap() {
            return Some(entries.to_vec());
        }
    }
    None
}

/// A message.
pub(crate) fn encode(reply: &ControlReply<'_>) -> Vec<u8> {
    let mut buffer = vec![0; 64 << 10];
    let length = reply.encode(&mut buffer).unwrap();
    buffer.truncate(length);
    buffer
}

/// The answer about one resource.
pub(crate) fn about(resource: &ResourceReply<'_>) -> Vec<u8> {
    encode(&ControlReply {
        error: None,
        reason: None,
        resources: vec![*resource],
    })
}

/// An answer with an error for all.
pub(crate) fn refusal(code: ControlCode) -> Vec<u8> {
    encode(&ControlReply {
        error: Some(code),
        reason: None,
        resources: Vec::new(),
    })
}

/// How resource `test` is, as base tells it.
pub(crate) fn status<'a>(
    role: Role,
    local: &'a str,
    worker: Option<WorkerStatus<'a>>,
) -> ResourceReply<'a> {
    ResourceReply {
        name: "test".into(),
        role: Some(role.name().into()),
        status: Some(StatusReply {
            provname: "test".into(),
            localpath: local.into(),
            remoteaddr: "none".into(),
            sourceaddr: None,
            replication: "memsync".into(),
            checksum: "none".into(),
            compression: "hole".into(),
            workerpid: worker.map_or(0, |_| 4242),
            worker,
        }),
        ..ResourceReply::default()
    }
}
