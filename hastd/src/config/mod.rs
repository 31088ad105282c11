//! hast.conf(5): what the administrator wants. Facts: spec/hast-config.md.
//!
//! Settings that are only ours live in an optional second file beside it,
//! `CONFIG.ext`, since base's programs read the first one, too.
//!
//! | module | what |
//! |---|---|
//! | [`lexer`], [`grammar`] | text to statements |
//! | [`merge`], [`resource`] | statements to what they mean for this node |
//! | [`extra`] | the second file |
//! | [`identity`] | which node this is |
//! | [`address`] | what addresses mean |
//! | [`load`] | all of it, from a path |
//! | [`change`] | what a reload has to do |
//! | [`diagnostic`] | what is wrong, with its place |
//!
//! Whatever base accepts is accepted and means the same. What base swallows
//! without a word is a warning.

pub mod address;
pub mod change;
mod diagnostic;
mod extra;
mod grammar;
mod identity;
mod lexer;
mod load;
mod merge;
mod resource;
#[cfg(test)]
mod testing;
mod word;

pub use diagnostic::{Diagnostic, LONGEST_FILE, Source};
pub use identity::{Identity, IdentityError};
pub use load::{ConfigError, Loaded};
pub use word::Word;

use hast_core::decision::OnImpossible;
use hast_core::payload::{Checksum, Compression};
use hast_core::primary::Replication;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// Mode of the control socket, unless `controlmode` says otherwise.
pub const DEFAULT_CONTROL_MODE: u32 = 0o600;

/// Bytes of payload a worker holds, unless `memory` says otherwise: 32 requests
/// of 1 MiB and some. With what it copies and all else a worker stays below 64
/// MiB.
pub const DEFAULT_MEMORY: usize = 40 << 20;

/// A worker with less could not have a window of the longest requests.
pub const LEAST_MEMORY: usize = 8 << 20;

/// More is a slip of the pen.
pub const MOST_MEMORY: usize = 64 << 30;

/// Everything that concerns this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// Path of the control socket.
    pub control: PathBuf,
    /// Mode of the control socket (`controlmode`, ours).
    pub control_mode: u32,
    /// Where the daemon writes its process id.
    pub pidfile: PathBuf,
    /// Addresses to listen on, as written; the default set if none was.
    pub listen: Vec<String>,
    /// In the order of the file.
    pub resources: Vec<Resource>,
}

/// A resource, merged for this node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Resource {
    /// Its name, the same on both nodes.
    pub name: String,
    /// Name of the provider without `hast/`.
    pub provider: String,
    /// The local component.
    pub local: PathBuf,
    /// Address of the other node, as written; none for `remote none`.
    pub remote: Option<String>,
    /// Address to connect from, as written.
    pub source: Option<String>,
    /// Hook program.
    pub exec: Option<PathBuf>,
    /// What a worker can take up while it runs.
    pub settings: Settings,
    /// What to do where the counters are impossible (`on-impossible`, ours).
    pub on_impossible: OnImpossible,
    /// Most bytes of payload a worker holds (`memory`, ours).
    pub memory: usize,
}

/// What a worker can take up while it runs.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// When writes are answered.
    #[serde(with = "word::serde")]
    pub replication: Replication,
    /// How payloads are protected.
    #[serde(with = "word::serde")]
    pub checksum: Checksum,
    /// How payloads are made smaller.
    #[serde(with = "word::serde")]
    pub compression: Compression,
    /// Give up a connection that is silent for so long.
    pub timeout: Duration,
    /// Flush the component after each store of the map.
    pub metaflush: bool,
}
