//! A disk with a volatile cache. A power cut leaves any subset of what was
//! written since the last flush, and of each write any of its sectors. A flush
//! that fails may leave sectors in the cache that no later flush writes, and
//! that is told once.

use crate::rng::Rng;
use hast_core::errno::Errno;

pub(crate) const SECTOR: usize = 512;

type Sector = [u8; SECTOR];

/// How the disk is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Health {
    Fine,
    /// A sparse file on a full file system: what was never written cannot be.
    Full,
    /// Nothing is written or flushed any more.
    Broken,
}

#[derive(Clone, Debug)]
pub(crate) struct Disk {
    /// Per sector: what is on the medium, then what was written since.
    sectors: Vec<Vec<Sector>>,
    /// Sectors that have blocks of the file system.
    allocated: Vec<bool>,
    /// Sectors that a flush failed to write: until they are written again they
    /// are in the cache only.
    stuck: Vec<bool>,
    /// There is no cache.
    writes_through: bool,
    pub(crate) health: Health,
}

impl Disk {
    pub(crate) fn new(bytes: usize, writes_through: bool) -> Self {
        Self {
            sectors: vec![vec![[0; SECTOR]]; bytes / SECTOR],
            allocated: vec![false; bytes / SECTOR],
            stuck: vec![false; bytes / SECTOR],
            writes_through,
            health: Health::Fine,
        }
    }

    pub(crate) fn read(&self, offset: usize, bytes: &mut [u8]) {
        let sectors = &self.sectors[offset / SECTOR..];
        for (sector, bytes) in sectors.iter().zip(bytes.chunks_mut(SECTOR)) {
            bytes.copy_from_slice(newest(sector));
        }
    }

    /// Writes whole sectors, up to the first that cannot be written.
    pub(crate) fn write(&mut self, offset: usize, bytes: &[u8]) -> Result<(), Errno> {
        let first = offset / SECTOR;
        for (n, bytes) in (first..).zip(bytes.chunks_exact(SECTOR)) {
            match self.health {
                Health::Broken => return Err(Errno::EIO),
                Health::Full if !self.allocated[n] => return Err(Errno::ENOSPC),
                Health::Full | Health::Fine => {}
            }
            self.allocated[n] = true;
            self.stuck[n] = false;
            if self.writes_through {
                self.sectors[n].clear();
            }
            self.sectors[n].push(bytes.try_into().expect("whole sectors"));
        }
        Ok(())
    }

    /// A write that fails: any of its sectors may have been written.
    pub(crate) fn tear(&mut self, offset: usize, bytes: &[u8], rng: &mut Rng) {
        for (n, bytes) in bytes.chunks_exact(SECTOR).enumerate() {
            if rng.one_in(2) {
                let _ = self.write(offset + n * SECTOR, bytes);
            }
        }
    }

    pub(crate) fn flush(&mut self) -> Result<(), Errno> {
        if self.health == Health::Broken {
            self.stuck.fill(true);
            return Err(Errno::EIO);
        }
        if self.writes_through {
            return Err(Errno::EOPNOTSUPP);
        }
        let sectors = self.sectors.iter_mut().zip(&self.stuck);
        for (sector, _) in sectors.filter(|(_, stuck)| !**stuck) {
            let older = sector.len() - 1;
            sector.drain(..older);
        }
        Ok(())
    }

    /// A flush that fails: some sectors are written, some may be later, and
    /// some never.
    pub(crate) fn fail_to_flush(&mut self, rng: &mut Rng) {
        for (sector, stuck) in self.sectors.iter_mut().zip(&mut self.stuck) {
            if sector.len() == 1 || *stuck {
                continue;
            }
            match rng.below(3) {
                0 => *stuck = true,
                1 => {
                    let older = sector.len() - 1;
                    sector.drain(..older);
                }
                _ => {}
            }
        }
    }

    /// The disk is opened anew; what it failed to write is not its business
    /// any more but that of whoever was told.
    pub(crate) fn reopen(&mut self) {
        self.stuck.fill(false);
    }

    /// A flush by a shell, which knows what a missing cache means.
    pub(crate) fn sync(&mut self) -> Result<(), Errno> {
        self.flush().or_else(|error| {
            let nothing_to_do = error.means_no_cache();
            nothing_to_do.then_some(()).ok_or(error)
        })
    }

    /// Everything a sector may hold after a power cut now.
    pub(crate) fn versions(&self, sector: usize) -> &[Sector] {
        &self.sectors[sector]
    }

    pub(crate) fn power_cut(&mut self, rng: &mut Rng) {
        self.health = Health::Fine;
        for sector in &mut self.sectors {
            let kept = sector[rng.below(sector.len())];
            sector.clear();
            sector.push(kept);
        }
    }
}

fn newest(sector: &[Sector]) -> &Sector {
    sector.last().expect("there is always one")
}
