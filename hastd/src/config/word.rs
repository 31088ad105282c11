//! Settings as words, in files and in messages between processes.

use hast_core::payload::{Checksum, Compression};
use hast_core::primary::Replication;

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

/// Through serde.
pub(super) mod serde {
    use super::Word;
    use ::serde::de::Error as _;
    use ::serde::{Deserialize as _, Deserializer, Serializer};

    pub(in super::super) fn serialize<T: Word, S: Serializer>(
        value: &T,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(value.word())
    }

    pub(in super::super) fn deserialize<'de, T: Word, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<T, D::Error> {
        let word = String::deserialize(deserializer)?;
        T::from_word(&word).ok_or_else(|| D::Error::custom(format_args!("unknown word {word}")))
    }
}
