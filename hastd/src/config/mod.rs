//! hast.conf(5): what the administrator wants. Facts: spec/hast-config.md.
//!
//! Settings that are only ours live in an optional second file beside it,
//! `CONFIG.ext`, since base's programs read the first one, too.

use hast_core::decision::OnImpossible;
use hast_core::payload::{Checksum, Compression};
use hast_core::primary::Replication;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

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
    #[serde(with = "names")]
    pub replication: Replication,
    /// How payloads are protected.
    #[serde(with = "names")]
    pub checksum: Checksum,
    /// How payloads are made smaller.
    #[serde(with = "names")]
    pub compression: Compression,
    /// Give up a connection that is silent for so long.
    pub timeout: Duration,
    /// Flush the component after each store of the map.
    pub metaflush: bool,
}

/// Settings as the words of the configuration.
pub trait Word: Sized + Copy {
    /// The word.
    fn word(self) -> &'static str;
    /// The setting of this word.
    fn from_word(word: &str) -> Option<Self>;
}

impl Word for Replication {
    fn word(self) -> &'static str {
        match self {
            Self::Fullsync => "fullsync",
            Self::Memsync => "memsync",
            Self::Async => "async",
        }
    }

    fn from_word(word: &str) -> Option<Self> {
        let all = [Self::Fullsync, Self::Memsync, Self::Async];
        all.into_iter().find(|one| one.word() == word)
    }
}

impl Word for Checksum {
    fn word(self) -> &'static str {
        self.name()
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == word)
    }
}

impl Word for Compression {
    fn word(self) -> &'static str {
        self.name()
    }

    fn from_word(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == word)
    }
}

/// [`Word`]s through serde.
mod names {
    use super::Word;
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<T: Word, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(value.word())
    }

    pub(super) fn deserialize<'de, T: Word, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let word = String::deserialize(deserializer)?;
        T::from_word(&word).ok_or_else(|| D::Error::custom(format_args!("unknown word {word}")))
    }
}
