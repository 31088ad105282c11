//! The packets between ggatec and ggated: whatever comes is read, and what was
//! read is written as it came.
#![no_main]

use ggate::gate::Access;
use ggate::range::Geometry;
use ggate::wire::{
    ClientInitial, Direction, ExportPath, Hello, InstanceId, Reply, Request, ServerInitial, Token,
    Version, exchange_initial, exchange_versions,
};
use libfuzzer_sys::fuzz_target;
use std::io::{self, Read, Write};

/// A server that says what it says, whatever it is asked.
struct Server<'a>(&'a [u8]);

impl Read for Server<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        self.0.read(buf)
    }
}

impl Write for Server<'_> {
    fn write(&mut self, buf: &[u8]) -> io::Result<usize> {
        Ok(buf.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn packets(input: &[u8]) {
    if let Some(bytes) = input.first_chunk()
        && let Ok(version) = Version::decode(bytes)
    {
        assert_eq!(version.encode(), *bytes);
    }
    if let Some(bytes) = input.first_chunk()
        && let Ok(initial) = ClientInitial::decode(bytes)
    {
        let _ = initial.path.to_string();
        assert_eq!(ClientInitial::decode(&initial.encode()), Ok(initial));
    }
    if let Some(bytes) = input.first_chunk() {
        let initial = ServerInitial::decode(bytes);
        assert_eq!(ServerInitial::decode(&initial.encode()), initial);
    }
    if let Some(bytes) = input.first_chunk() {
        let hello = Hello::decode(bytes);
        assert_eq!(Hello::decode(&hello.encode()), hello);
    }
}

fn client(input: &[u8]) {
    let mut server = Server(input);
    let Ok(extended) = exchange_versions(&mut server, true) else {
        return;
    };
    let initial = ClientInitial {
        path: ExportPath::new("/dev/md0").expect("a path"),
        access: Access::ReadWrite,
        direct: false,
        direction: Direction::Send,
        token: Token(1),
    };
    let id = extended.then_some(InstanceId([7; 16]));
    if let Err(error) = exchange_initial(&mut server, &initial, id) {
        assert!(!error.to_string().is_empty());
    }
}

/// A stream of requests and the replies to them, as both ends walk it.
fn stream(mut input: &[u8]) {
    let medium = Geometry {
        media_size: 1 << 30,
        sector_size: 512,
    };
    while let Some((header, rest)) = input.split_first_chunk::<{ Request::SIZE }>() {
        let request = Request::decode(header);
        assert_eq!(Request::decode(&request.encode()), request);
        let reply = Reply::decode(header);
        assert_eq!(reply.encode(), *header);
        assert!(reply.error.is_none() || reply.payload_len() == 0);
        if medium.check(request.range()).is_ok() {
            assert!(request.range().end().is_some_and(|end| end <= 1 << 30));
        }
        input = rest.get(request.payload_len() as usize..).unwrap_or(&[]);
    }
}

fuzz_target!(|input: &[u8]| {
    packets(input);
    client(input);
    stream(input);
});
