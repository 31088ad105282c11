//! A node that behaves like FreeBSD's hastd, its bugs included, to show what
//! the other node can and cannot protect against.
//! Facts: spec/hast-behaviour.md sections 5 to 8; spec/hast-disk.md sections 5
//! and 6; spec/hast-known-problems.md, part A.
//!
//! Written for their behaviour and not for their speed: each does one thing at
//! a time, straight on its disk.

mod primary;
mod secondary;
mod sync;

pub(crate) use primary::Primary;
pub(crate) use secondary::Secondary;

use crate::disk::{Disk, SECTOR};
use crate::node::{DATA, META, to_usize};
use hast_core::errno::Errno;
use hast_core::metadata::{BLOCK_LENGTH, Metadata};
use hast_core::primary::Op;

/// What a node of base has to send, in this order.
#[derive(Clone, Debug)]
pub(crate) enum Post {
    /// Step 1, and step 2 with these bytes if that is accepted.
    Connect(Vec<u8>),
    Bytes(Vec<u8>),
    HangUp,
}

/// Writes the block, and does not flush it (K10).
fn write_metadata(metadata: &Metadata, disk: &mut Disk) {
    let mut block = [0; BLOCK_LENGTH];
    metadata.encode(&mut block).expect("the name is short");
    let _ = disk.write(0, &block[..SECTOR]);
}

/// Writes the map. Whether that worked nobody asks (K11).
fn write_map(map: &[u8], disk: &mut Disk) {
    let _ = disk.write(META, map);
}

/// Carries out an operation on the data.
fn carry_out(op: Op, data: &mut Vec<u8>, disk: &mut Disk) -> Result<(), Errno> {
    let at = |offset: u64| DATA + to_usize(offset);
    match op {
        Op::Read(range) => {
            data.resize(to_usize(range.length()), 0);
            disk.read(at(range.offset()), data);
            Ok(())
        }
        Op::Write(range) => disk.write(at(range.offset()), data),
        Op::Delete(range) => {
            let zeros = vec![0; to_usize(range.length())];
            disk.write(at(range.offset()), &zeros)
        }
        Op::Flush => disk.flush(),
    }
}
