//! An NBD client for tests, written from NBD's `doc/proto.md` and from nothing
//! of the server's, so that both cannot share a mistake.
//!
//! It sends whatever it is told, however wrong: that is what tests need.

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

/// Commands.
pub const READ: u16 = 0;
/// See [`READ`].
pub const WRITE: u16 = 1;
/// See [`READ`].
pub const DISC: u16 = 2;
/// See [`READ`].
pub const FLUSH: u16 = 3;
/// See [`READ`].
pub const TRIM: u16 = 4;
/// See [`READ`].
pub const WRITE_ZEROES: u16 = 6;
/// Command flag: durable before the reply.
pub const FUA: u16 = 1;

/// No reply of a sound server takes this long; a test fails instead of hanging.
const PATIENCE: Duration = Duration::from_secs(20);

/// How a client opens a connection.
#[derive(Clone, Copy, Debug, Default)]
pub struct Opening<'a> {
    /// The export to ask for.
    pub name: &'a str,
    /// Ask for structured replies.
    pub structured: bool,
    /// Use the old option that knows no refusal.
    pub export_name: bool,
}

/// A connection past the handshake.
#[derive(Debug)]
pub struct Client {
    stream: UnixStream,
    structured: bool,
    next_cookie: u64,
    /// Lengths of the READs that have not been answered.
    reads: HashMap<u64, usize>,
    /// What the server said of the export.
    pub export: Export,
}

/// What the server tells of an export.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Export {
    /// Media size in bytes.
    pub size: u64,
    /// Transmission flags.
    pub flags: u16,
    /// Smallest, preferred and largest request, if the server said so.
    pub blocks: Option<[u32; 3]>,
}

/// A reply.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reply {
    /// Of the request.
    pub cookie: u64,
    /// NBD's number; 0 is success.
    pub error: u32,
    /// Of a READ that succeeded.
    pub data: Vec<u8>,
}

fn invalid(what: impl Into<String>) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.into())
}

fn get<const N: usize>(stream: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn get16(stream: &mut impl Read) -> io::Result<u16> {
    Ok(u16::from_be_bytes(get(stream)?))
}

fn get32(stream: &mut impl Read) -> io::Result<u32> {
    Ok(u32::from_be_bytes(get(stream)?))
}

fn get64(stream: &mut impl Read) -> io::Result<u64> {
    Ok(u64::from_be_bytes(get(stream)?))
}

fn get_vec(stream: &mut impl Read, length: u32) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; usize::try_from(length).map_err(io::Error::other)?];
    stream.read_exact(&mut bytes)?;
    Ok(bytes)
}

fn expect<T: PartialEq + std::fmt::LowerHex>(what: &str, got: &T, want: &T) -> io::Result<()> {
    if got == want {
        return Ok(());
    }
    Err(invalid(format!("{what}: got {got:#x}, want {want:#x}")))
}

/// Connects and does nothing more. The socket may not be there yet.
pub fn dial(socket: &Path) -> io::Result<UnixStream> {
    let deadline = Instant::now() + PATIENCE;
    let stream = loop {
        match UnixStream::connect(socket) {
            Ok(stream) => break stream,
            Err(error) if Instant::now() > deadline => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(1)),
        }
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

/// Reads the greeting and answers with the flags "fixed newstyle, no zeroes".
pub fn greet(stream: &mut UnixStream) -> io::Result<()> {
    expect("NBDMAGIC", &get64(stream)?, &0x4e42_444d_4147_4943)?;
    expect("IHAVEOPT", &get64(stream)?, &0x4948_4156_454f_5054)?;
    expect("handshake flags", &get16(stream)?, &3)?;
    stream.write_all(&3u32.to_be_bytes())
}

/// The bytes of an option.
#[must_use]
pub fn option(number: u32, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).expect("options of tests are short");
    let mut bytes = 0x4948_4156_454f_5054u64.to_be_bytes().to_vec();
    bytes.extend(number.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes.extend(data);
    bytes
}

/// One reply to an option: its type and data.
pub fn option_reply(stream: &mut UnixStream, number: u32) -> io::Result<(u32, Vec<u8>)> {
    expect("option reply", &get64(stream)?, &0x0003_e889_0455_65a9)?;
    expect("option", &get32(stream)?, &number)?;
    let kind = get32(stream)?;
    let length = get32(stream)?;
    Ok((kind, get_vec(stream, length)?))
}

/// The 28 bytes of a request.
#[must_use]
pub fn request(command: u16, flags: u16, cookie: u64, offset: u64, length: u32) -> Vec<u8> {
    let mut bytes = 0x2560_9513u32.to_be_bytes().to_vec();
    bytes.extend(flags.to_be_bytes());
    bytes.extend(command.to_be_bytes());
    bytes.extend(cookie.to_be_bytes());
    bytes.extend(offset.to_be_bytes());
    bytes.extend(length.to_be_bytes());
    bytes
}

impl Client {
    /// Connects with `OPT_GO`, simple replies and the empty name.
    pub fn connect(socket: &Path) -> io::Result<Self> {
        Self::open(socket, Opening::default())
    }

    /// Connects as told.
    pub fn open(socket: &Path, opening: Opening<'_>) -> io::Result<Self> {
        let mut stream = dial(socket)?;
        greet(&mut stream)?;
        if opening.structured {
            stream.write_all(&option(8, &[]))?;
            expect("STRUCTURED_REPLY", &option_reply(&mut stream, 8)?.0, &1)?;
        }
        let export = if opening.export_name {
            stream.write_all(&option(1, opening.name.as_bytes()))?;
            Export {
                size: get64(&mut stream)?,
                flags: get16(&mut stream)?,
                blocks: None,
            }
        } else {
            go(&mut stream, opening.name)?
        };
        Ok(Self {
            stream,
            structured: opening.structured,
            next_cookie: 1,
            reads: HashMap::new(),
            export,
        })
    }

    /// The socket, for what no client should do.
    pub fn stream(&mut self) -> &mut UnixStream {
        &mut self.stream
    }

    /// Sends a request without waiting for its reply; returns its cookie.
    pub fn send(
        &mut self,
        command: u16,
        flags: u16,
        offset: u64,
        length: u32,
        payload: &[u8],
    ) -> io::Result<u64> {
        let cookie = self.next_cookie;
        self.next_cookie += 1;
        if command == READ {
            let length = usize::try_from(length).map_err(io::Error::other)?;
            self.reads.insert(cookie, length);
        }
        let mut bytes = request(command, flags, cookie, offset, length);
        bytes.extend(payload);
        self.stream.write_all(&bytes)?;
        Ok(cookie)
    }

    /// Waits for the next reply to whatever request.
    pub fn reply(&mut self) -> io::Result<Reply> {
        match get32(&mut self.stream)? {
            0x6744_6698 => self.simple_reply(),
            0x668e_33ef => self.structured_reply(),
            magic => Err(invalid(format!("reply magic {magic:#x}"))),
        }
    }

    fn simple_reply(&mut self) -> io::Result<Reply> {
        let error = get32(&mut self.stream)?;
        let cookie = get64(&mut self.stream)?;
        let read = self.reads.remove(&cookie);
        if read.is_some() && self.structured {
            return Err(invalid("simple reply to a READ"));
        }
        let mut data = vec![0; read.filter(|_| error == 0).unwrap_or(0)];
        self.stream.read_exact(&mut data)?;
        Ok(Reply {
            cookie,
            error,
            data,
        })
    }

    fn structured_reply(&mut self) -> io::Result<Reply> {
        let flags = get16(&mut self.stream)?;
        let kind = get16(&mut self.stream)?;
        let cookie = get64(&mut self.stream)?;
        let length = get32(&mut self.stream)?;
        expect("chunk flags", &flags, &1)?;
        if !self.structured {
            return Err(invalid("structured reply that nobody asked for"));
        }
        let wanted = self.reads.remove(&cookie);
        match kind {
            0 if wanted == Some(0) && length == 0 => Ok(Reply {
                cookie,
                error: 0,
                data: vec![],
            }),
            1 => {
                let _offset = get64(&mut self.stream)?;
                let data = get_vec(&mut self.stream, length - 8)?;
                if wanted != Some(data.len()) {
                    return Err(invalid("READ reply of a wrong length"));
                }
                Ok(Reply {
                    cookie,
                    error: 0,
                    data,
                })
            }
            0x8001 => {
                let error = get32(&mut self.stream)?;
                let text = get16(&mut self.stream)?;
                expect("error chunk", &length, &(6 + u32::from(text)))?;
                get_vec(&mut self.stream, text.into())?;
                Ok(Reply {
                    cookie,
                    error,
                    data: vec![],
                })
            }
            kind => Err(invalid(format!("chunk type {kind:#x}"))),
        }
    }

    /// Sends a request and waits for the reply, which must be the next one.
    pub fn call(
        &mut self,
        command: u16,
        flags: u16,
        offset: u64,
        length: u32,
        payload: &[u8],
    ) -> io::Result<Reply> {
        let cookie = self.send(command, flags, offset, length, payload)?;
        let reply = self.reply()?;
        expect("cookie", &reply.cookie, &cookie)?;
        Ok(reply)
    }

    /// Reads; the error is NBD's number.
    pub fn read(&mut self, offset: u64, length: u32) -> io::Result<Result<Vec<u8>, u32>> {
        let reply = self.call(READ, 0, offset, length, &[])?;
        Ok(if reply.error == 0 {
            Ok(reply.data)
        } else {
            Err(reply.error)
        })
    }

    /// Writes; NBD's error number.
    pub fn write(&mut self, offset: u64, data: &[u8]) -> io::Result<u32> {
        let length = u32::try_from(data.len()).map_err(io::Error::other)?;
        Ok(self.call(WRITE, 0, offset, length, data)?.error)
    }

    /// Says goodbye and waits until the server closes.
    pub fn disconnect(mut self) -> io::Result<()> {
        self.send(DISC, 0, 0, 0, &[])?;
        self.closed()
    }

    /// Waits until the server closes; anything else it says is an error.
    pub fn closed(&mut self) -> io::Result<()> {
        let mut byte = [0];
        match self.stream.read(&mut byte) {
            Ok(0) => Ok(()),
            Ok(_) => Err(invalid("the server goes on")),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn go(stream: &mut UnixStream, name: &str) -> io::Result<Export> {
    let length = u32::try_from(name.len()).map_err(io::Error::other)?;
    let mut data = length.to_be_bytes().to_vec();
    data.extend(name.as_bytes());
    data.extend([0, 0]);
    stream.write_all(&option(7, &data))?;
    let mut export = Export::default();
    loop {
        let (kind, data) = option_reply(stream, 7)?;
        let mut data = data.as_slice();
        match kind {
            1 => return Ok(export),
            3 => match get16(&mut data)? {
                0 => {
                    export.size = get64(&mut data)?;
                    export.flags = get16(&mut data)?;
                }
                3 => {
                    let block = |data: &mut &[u8]| get32(data);
                    export.blocks = Some([block(&mut data)?, block(&mut data)?, block(&mut data)?]);
                }
                _ => {}
            },
            kind => {
                let text = format!("OPT_GO refused: {kind:#x}");
                return Err(io::Error::new(io::ErrorKind::NotFound, text));
            }
        }
    }
}
