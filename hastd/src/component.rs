//! The local component: the file or disk that holds a resource's data, its
//! metadata in front of it. Facts: spec/hast-disk.md sections 1, 2 and 5.
//!
//! What `hastctl create` and `dump`, `hastd -t` and the workers do to it
//! alike; the layout itself is in [`hast_core::metadata`].
//!
//! **Invariant:** nothing read leads outside the component ([`Extents`] come
//! only from metadata that were checked against its size), and nothing is
//! written after an error.

mod initialise;

use ggate::gate::Access;
use ggate::media::{self, Identity, LocalMedia, Media as _, MediaError, OpenOptions};
use hast_core::extent::Extents;
use hast_core::metadata::{BLOCK, BLOCK_LENGTH, Metadata, MetadataError, Provider};
use hast_core::nv::{Entries, Text};
use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::{fmt, io};

/// An open component.
#[derive(Debug)]
pub struct Component {
    path: PathBuf,
    media: Arc<LocalMedia>,
    lock: Option<Flock<OwnedFd>>,
}

/// What became of [`Component::lock`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[must_use = "a component that cannot be locked is worth a warning"]
pub enum Lock {
    /// Nobody else can have it until this component is dropped.
    Held,
    /// There are no locks where it lies. Base goes on with a warning.
    Unsupported,
}

impl Component {
    /// Opens and measures it. May wait for GEOM on FreeBSD, if for writing.
    pub fn open(path: &Path, access: Access) -> Result<Self, ComponentError> {
        let options = OpenOptions {
            access,
            ..OpenOptions::default()
        };
        let media = media::open(path, options)
            .map_err(|error| ComponentError::new(path, Problem::Open(error)))?;
        Ok(Self {
            path: path.to_owned(),
            media: Arc::new(media),
            lock: None,
        })
    }

    /// Locks out every other hastd and hastctl, base's included, without
    /// waiting.
    pub fn lock(&mut self) -> Result<Lock, ComponentError> {
        // The lock belongs to the open file, whichever descriptor names it.
        let fd = self.media.as_fd().try_clone_to_owned();
        let fd = fd.map_err(|error| self.error(Problem::Lock(errno(&error))))?;
        match Flock::lock(fd, FlockArg::LockExclusiveNonblock) {
            Ok(lock) => {
                self.lock = Some(lock);
                Ok(Lock::Held)
            }
            Err((_, Errno::EWOULDBLOCK)) => Err(self.error(Problem::Locked)),
            Err((_, Errno::EOPNOTSUPP)) => Ok(Lock::Unsupported),
            Err((_, error)) => Err(self.error(Problem::Lock(error))),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What reads and writes its data.
    #[must_use]
    pub const fn media(&self) -> &Arc<LocalMedia> {
        &self.media
    }

    /// All of its descriptors, for who limits what can be done with them.
    pub fn descriptors(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let lock = self.lock.iter().map(|lock| lock.as_fd());
        lock.chain([self.media.as_fd()])
    }

    /// Which file or disk it is, whatever its path.
    pub fn identity(&self) -> Result<Identity, ComponentError> {
        let identity = self.media.identity();
        identity.map_err(|error| self.error(Problem::Open(error)))
    }

    /// Its sizes when it was opened.
    #[must_use]
    pub fn provider(&self) -> Provider {
        let geometry = self.media.geometry();
        Provider {
            mediasize: geometry.media_size,
            sectorsize: geometry.sector_size,
        }
    }

    /// The metadata of resource `name`, checked against the component.
    pub fn read_metadata(&self, name: &str) -> Result<(Metadata, Extents), ComponentError> {
        let metadata = self.peek_metadata(name)?;
        let extents = metadata
            .validate(self.provider())
            .map_err(|error| self.error(Problem::Impossible(name.to_owned(), error)))?;
        Ok((metadata, extents))
    }

    /// What the metadata of resource `name` say, which may be impossible: to
    /// be shown, not to be used.
    pub fn peek_metadata(&self, name: &str) -> Result<Metadata, ComponentError> {
        let name = || name.to_owned();
        if self.provider().mediasize < BLOCK {
            return Err(self.error(Problem::TooShort));
        }
        let mut block = [0; BLOCK_LENGTH];
        self.media
            .read_at(&mut block, 0)
            .map_err(|error| self.error(Problem::Io(Step::ReadMetadata, error)))?;
        if block.iter().all(|byte| *byte == 0) {
            return Err(self.error(Problem::NotInitialised(name())));
        }
        let metadata = Metadata::decode(&block).map_err(|error| {
            self.error(if has_resource(&block) {
                Problem::Damaged(name(), error)
            } else {
                Problem::NoMetadata(name())
            })
        })?;
        if metadata.resource != name() {
            let found = Text(metadata.resource.as_bytes()).to_string();
            return Err(self.error(Problem::Foreign(name(), found)));
        }
        Ok(metadata)
    }

    /// Stores the metadata and flushes. They are checked once more before.
    pub fn write_metadata(&self, metadata: &Metadata) -> Result<(), ComponentError> {
        let block = self.encode(metadata)?;
        self.media
            .write_at(&block, 0)
            .map_err(|error| self.error(Problem::Io(Step::WriteMetadata, error)))?;
        self.flush()
    }

    /// The dirty map. Flushes before, if opened for writing: base stores maps
    /// without, and what is read here is taken for durable.
    pub fn read_map(&self, extents: Extents) -> Result<Vec<u8>, ComponentError> {
        self.flush()?;
        let size = extents.map_size(self.provider().sectorsize);
        let mut map = vec![0; usize::try_from(size).unwrap_or(usize::MAX)];
        self.media
            .read_at(&mut map, BLOCK)
            .map_err(|error| self.error(Problem::Io(Step::ReadMap, error)))?;
        Ok(map)
    }

    /// Makes a component of it: these metadata and an empty map. What it was
    /// before it is no more, whenever the power goes.
    pub fn initialise(&self, metadata: &Metadata) -> Result<(), ComponentError> {
        let block = self.encode(metadata)?;
        initialise::initialise(&*self.media, &block, metadata.localoff)
            .map_err(|(step, error)| self.error(Problem::Io(step, error)))
    }

    /// Brings everything written before to stable storage.
    pub fn flush(&self) -> Result<(), ComponentError> {
        self.media
            .flush()
            .map_err(|error| self.error(Problem::Io(Step::Flush, error)))
    }

    fn encode(&self, metadata: &Metadata) -> Result<[u8; BLOCK_LENGTH], ComponentError> {
        let mut block = [0; BLOCK_LENGTH];
        metadata
            .validate(self.provider())
            .and_then(|_| metadata.encode(&mut block))
            .map_err(|error| self.error(Problem::Impossible(metadata.resource.clone(), error)))?;
        Ok(block)
    }

    fn error(&self, problem: Problem) -> ComponentError {
        ComponentError::new(&self.path, problem)
    }
}

/// Whether this was metadata once: whole entries up to the name of a resource.
fn has_resource(block: &[u8]) -> bool {
    Entries::new(block)
        .map_while(Result::ok)
        .any(|entry| entry.name() == b"resource")
}

fn errno(error: &io::Error) -> Errno {
    error.raw_os_error().map_or(Errno::EIO, Errno::from_raw)
}

/// What is wrong with which component.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ComponentError {
    path: PathBuf,
    problem: Problem,
}

impl ComponentError {
    fn new(path: &Path, problem: Problem) -> Self {
        Self {
            path: path.to_owned(),
            problem,
        }
    }

    /// The component.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is wrong with it.
    #[must_use]
    pub const fn problem(&self) -> &Problem {
        &self.problem
    }
}

impl fmt::Display for ComponentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path.display(), self.problem)?;
        match self.problem.advice() {
            Some(advice) => write!(f, ": {advice}"),
            None => Ok(()),
        }
    }
}

impl std::error::Error for ComponentError {}

/// What is wrong with a component. Strings are the name of the resource it
/// should belong to.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// It cannot be opened or measured, or is no disk.
    #[error("cannot open the component: {0}")]
    Open(MediaError),
    /// Somebody else holds the lock.
    #[error("locked by another program")]
    Locked,
    /// The lock cannot be had for another reason.
    #[error("cannot lock the component: {}", .0.desc())]
    Lock(Errno),
    /// Reading or writing failed.
    #[error("cannot {0}: {text}", text = .1.desc())]
    Io(Step, Errno),
    /// There is no room for metadata.
    #[error("fewer than {BLOCK} bytes are too small for metadata")]
    TooShort,
    /// The block is all zeros.
    #[error("not initialised")]
    NotInitialised(String),
    /// The block holds something that never was metadata.
    #[error("holds something other than metadata of HAST")]
    NoMetadata(String),
    /// Metadata that are torn or damaged.
    #[error("damaged: {1}")]
    Damaged(String, MetadataError),
    /// Metadata of another resource, whose name comes second.
    #[error("belongs to resource {1}, not to {0}")]
    Foreign(String, String),
    /// Metadata that contradict themselves or the size of the component.
    #[error("metadata of resource {0} do not fit the component: {1}")]
    Impossible(String, MetadataError),
}

impl Problem {
    /// What to do about it.
    #[must_use]
    pub fn advice(&self) -> Option<String> {
        Some(match self {
            Self::Open(MediaError::Open(Errno::ENOENT)) => "create it, or correct `local`".into(),
            Self::Locked => "is hastd serving it?".into(),
            Self::NotInitialised(name) => format!("run hastctl create {name}"),
            Self::NoMetadata(name) => {
                format!(
                    "if it is the right disk, and all on it may be lost, run hastctl create {name}"
                )
            }
            Self::Damaged(name, _) => format!(
                "its data may be whole, so copy it before anything else; then hastctl create --force {name} \
                 makes it new, to be filled from the other node"
            ),
            Self::Foreign(..) => "correct `local` of one of them".into(),
            Self::Impossible(..) => "has it shrunk, or been taken for another?".into(),
            Self::TooShort => "enlarge it, or correct `local`".into(),
            Self::Open(_) | Self::Lock(_) | Self::Io(..) => return None,
        })
    }
}

/// What was being done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(missing_docs, reason = "Display says it")]
#[non_exhaustive]
pub enum Step {
    ReadMetadata,
    EraseMetadata,
    WriteMetadata,
    ReadMap,
    WriteMap,
    Flush,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::ReadMetadata => "read the metadata",
            Self::EraseMetadata => "erase the old metadata",
            Self::WriteMetadata => "write the metadata",
            Self::ReadMap => "read the dirty map",
            Self::WriteMap => "write the dirty map",
            Self::Flush => "flush",
        })
    }
}

#[cfg(test)]
mod tests;
