//! The data area of a component as a medium of its own.

use super::flushes::Flushes;
use super::local::Local;
use ggate::media::Media;
use ggate::range::{ByteRange, Geometry};
use nix::errno::Errno;
use std::sync::Arc;

/// Zeros written at once where a medium cannot delete, in bytes.
const ZEROS: usize = 1 << 20;

/// What lies behind the metadata and the map.
pub(super) struct DataArea {
    component: Arc<dyn Media>,
    flushes: Arc<Flushes>,
    /// Where it begins, in bytes.
    offset: u64,
    /// Its length, in bytes.
    size: u64,
}

impl DataArea {
    pub(super) fn of(local: &Local) -> Self {
        Self {
            component: local.media.clone(),
            flushes: Arc::clone(&local.flushes),
            offset: local.metadata.localoff,
            size: local.metadata.datasize,
        }
    }

    fn at(&self, offset: u64) -> nix::Result<u64> {
        self.offset.checked_add(offset).ok_or(Errno::EINVAL)
    }

    /// Both nodes must have the same after a DELETE that one of them cannot
    /// carry out.
    fn zero(&self, range: ByteRange) -> nix::Result<()> {
        let zeros = vec![0; ZEROS.min(usize::try_from(range.length).unwrap_or(ZEROS))];
        let mut done = 0;
        while done < range.length {
            let left = usize::try_from(range.length - done).unwrap_or(ZEROS);
            let part = &zeros[..zeros.len().min(left)];
            self.component
                .write_at(part, self.at(range.offset + done)?)?;
            done += part.len() as u64;
        }
        Ok(())
    }
}

impl Media for DataArea {
    fn geometry(&self) -> Geometry {
        Geometry {
            media_size: self.size,
            ..self.component.geometry()
        }
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> nix::Result<()> {
        self.component.read_at(buf, self.at(offset)?)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> nix::Result<()> {
        self.component.write_at(buf, self.at(offset)?)
    }

    fn flush(&self) -> nix::Result<()> {
        self.flushes.flush()
    }

    fn delete(&self, range: ByteRange) -> nix::Result<()> {
        let place = ByteRange::new(self.at(range.offset)?, range.length);
        match self.component.delete(place) {
            Err(Errno::EOPNOTSUPP) => self.zero(range),
            result => result,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;

    /// A medium in memory that cannot delete.
    struct Memory(Mutex<Vec<u8>>);

    impl Media for Memory {
        fn geometry(&self) -> Geometry {
            Geometry {
                media_size: 1 << 22,
                sector_size: 512,
            }
        }
        fn read_at(&self, buf: &mut [u8], offset: u64) -> nix::Result<()> {
            let offset = usize::try_from(offset).unwrap();
            buf.copy_from_slice(&self.0.lock()[offset..][..buf.len()]);
            Ok(())
        }
        fn write_at(&self, buf: &[u8], offset: u64) -> nix::Result<()> {
            let offset = usize::try_from(offset).unwrap();
            self.0.lock()[offset..][..buf.len()].copy_from_slice(buf);
            Ok(())
        }
        fn flush(&self) -> nix::Result<()> {
            Ok(())
        }
        fn delete(&self, _: ByteRange) -> nix::Result<()> {
            Err(Errno::EOPNOTSUPP)
        }
    }

    #[test]
    fn what_cannot_be_deleted_becomes_zeros_and_nothing_else_does() {
        let memory = Arc::new(Memory(Mutex::new(vec![7; 1 << 22])));
        let area = DataArea {
            component: memory.clone(),
            flushes: Arc::new(Flushes::of(memory.clone())),
            offset: 4608,
            size: (1 << 22) - 4608,
        };
        area.delete(ByteRange::new(512, (1 << 21) + 512)).unwrap();
        let bytes = memory.0.lock();
        let zeros = 4608 + 512..4608 + 1024 + (1 << 21);
        for (at, byte) in bytes.iter().enumerate() {
            assert_eq!(*byte, if zeros.contains(&at) { 0 } else { 7 }, "{at}");
        }
    }
}
