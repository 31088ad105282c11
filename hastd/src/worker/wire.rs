//! How messages and payloads are put on the wire, by either role.

use super::buffers::Buffers;
use super::output::{COPIED, Gone, Large};
use ggate::errno::WireErrno;
use hast_core::errno::Errno;
use hast_core::message::LONGEST;
use hast_core::nv::Full;
use hast_core::payload::{Checksum, Compression, Header, Workspace, prepare};
use hast_core::slab::RequestId;
use hast_core::units::{ByteRange, Version};
use parking_lot::RwLock;

/// What the two nodes agreed on, and what this one was configured to do.
#[derive(Debug)]
pub(super) struct Wire(RwLock<Format>);

#[derive(Clone, Copy, Debug)]
struct Format {
    version: Version,
    checksum: Checksum,
    compression: Compression,
}

impl Wire {
    pub(super) fn new(checksum: Checksum, compression: Compression) -> Self {
        Self(RwLock::new(Format {
            version: Version::V1,
            checksum,
            compression,
        }))
    }

    pub(super) fn version(&self) -> Version {
        self.0.read().version
    }

    /// What was negotiated for the link that begins.
    pub(super) fn set_version(&self, version: Version) {
        self.0.write().version = version;
    }

    /// The administrator changed his mind.
    pub(super) fn configure(&self, checksum: Checksum, compression: Compression) {
        let mut format = self.0.write();
        format.checksum = checksum;
        format.compression = compression;
    }

    /// A payload as it travels.
    pub(super) fn prepare<'a>(
        &self,
        data: &'a [u8],
        workspace: &'a mut Workspace,
    ) -> (Header, &'a [u8]) {
        let Format {
            checksum,
            compression,
            ..
        } = *self.0.read();
        prepare(data, compression, checksum, workspace)
    }
}

/// Appends a message.
///
/// # Panics
/// If it is longer than any message can be.
pub(super) fn append(bytes: &mut Vec<u8>, encode: impl FnOnce(&mut [u8]) -> Result<usize, Full>) {
    let begin = bytes.len();
    bytes.resize(begin + LONGEST, 0);
    let length = encode(&mut bytes[begin..]).expect("LONGEST is enough for every message");
    bytes.truncate(begin + length);
}

/// Appends a message with data of a request: small or transformed data behind
/// it, anything else to be sent from where it is.
pub(super) fn append_data(
    wire: &Wire,
    (buffers, id, range): (&Buffers, RequestId, ByteRange),
    bytes: &mut Vec<u8>,
    workspace: &mut Workspace,
    encode: impl FnOnce(Header, &mut [u8]) -> Result<usize, Full>,
) -> Result<Option<Large>, Gone> {
    let appended = buffers.with(id, range, |data| {
        let (header, sent) = wire.prepare(data, workspace);
        append(bytes, |room| encode(header, room));
        if header.is_verbatim() && sent.len() > COPIED {
            return Some(Large { id, range });
        }
        bytes.extend_from_slice(sent);
        None
    });
    appended.ok_or(Gone)
}

/// An error of this host as it travels.
pub(super) fn to_wire(result: nix::Result<()>) -> Result<(), Errno> {
    let number = |errno| Errno::new(WireErrno::from_host(errno).get());
    result.map_err(|errno| number(errno).unwrap_or(Errno::EIO))
}
