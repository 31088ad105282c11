//! A disk with a volatile cache. A power cut leaves any subset of what was
//! written since the last flush, and of each write any of its sectors.

use crate::rng::Rng;

pub(crate) const SECTOR: usize = 512;

type Sector = [u8; SECTOR];

#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// Per sector: what is on the medium, then what was written since.
    sectors: Vec<Vec<Sector>>,
}

impl Disk {
    pub(crate) fn new(bytes: usize) -> Self {
        Self {
            sectors: vec![vec![[0; SECTOR]]; bytes / SECTOR],
        }
    }

    pub(crate) fn read(&self, offset: usize, bytes: &mut [u8]) {
        let sectors = &self.sectors[offset / SECTOR..];
        for (sector, bytes) in sectors.iter().zip(bytes.chunks_mut(SECTOR)) {
            bytes.copy_from_slice(sector.last().expect("there is always one"));
        }
    }

    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) {
        let sectors = &mut self.sectors[offset / SECTOR..];
        for (sector, bytes) in sectors.iter_mut().zip(bytes.chunks_exact(SECTOR)) {
            sector.push(bytes.try_into().expect("whole sectors"));
        }
    }

    pub(crate) fn flush(&mut self) {
        for sector in &mut self.sectors {
            let newest = sector.len() - 1;
            sector.drain(..newest);
        }
    }

    pub(crate) fn power_cut(&mut self, rng: &mut Rng) {
        for sector in &mut self.sectors {
            let kept = sector[rng.below(sector.len())];
            sector.clear();
            sector.push(kept);
        }
    }
}
