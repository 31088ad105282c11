//! From a path to a configuration.

use super::diagnostic::{Diagnostic, LONGEST_FILE, Source, Warnings};
use super::extra::{self, Extra};
use super::grammar::{self, HAST_CONF};
use super::identity::{Identity, IdentityError};
use super::merge::merge;
use super::{Config, address};
use ggate::textfile::{Accept, TextError};
use nix::errno::Errno;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socket};
use std::io;
use std::path::{Path, PathBuf};

/// A configuration and where it is from.
#[derive(Clone, Debug)]
pub struct Loaded {
    /// What it says.
    pub config: Config,
    /// The file.
    pub path: PathBuf,
    /// The file with our own settings, if there is one.
    pub extra: Option<PathBuf>,
    /// Which node this is.
    pub node: Identity,
    /// What is probably not meant, in the order of the files.
    pub warnings: Vec<Diagnostic>,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be opened or read.
    #[error("cannot read the configuration {}: {error}", path.display())]
    Open {
        /// Which.
        path: PathBuf,
        /// Why.
        error: TextError,
    },
    /// The file is longer than [`LONGEST_FILE`].
    #[error(
        "the configuration {} has more than {LONGEST_FILE} bytes: is it the right file?",
        .0.display()
    )]
    TooLong(PathBuf),
    /// Something is wrong at some place.
    #[error(transparent)]
    Invalid(Box<Diagnostic>),
    /// Nobody knows which node this is.
    #[error(transparent)]
    Node(#[from] IdentityError),
    /// This machine has neither IPv4 nor IPv6.
    #[error(
        "no address to listen on: this system has neither IPv4 nor IPv6; give one with `listen`"
    )]
    NoAddress,
}

impl ConfigError {
    /// Base's exit status.
    #[must_use]
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Open { .. } => 72,
            Self::NoAddress => 75,
            Self::TooLong(_) | Self::Invalid(_) | Self::Node(_) => 78,
        }
    }
}

impl From<Diagnostic> for ConfigError {
    fn from(error: Diagnostic) -> Self {
        Self::Invalid(Box::new(error))
    }
}

impl Config {
    /// Reads the configuration of this node, and `CONFIG.ext` if there is one.
    pub fn load(path: &Path, accept: Accept, system: &Identity) -> Result<Loaded, ConfigError> {
        let main = read(path, accept)?;
        let extra = match read(&extra::path(path), accept) {
            Ok(extra) => Some(extra),
            Err(ConfigError::Open { error, .. }) if is_absent(&error) => None,
            Err(error) => return Err(error),
        };
        let mut loaded = Self::parse(&main, extra.as_ref(), system)?;
        if loaded.config.listen.is_empty() {
            loaded.config.listen = default_listen(can_create)?;
        }
        Ok(loaded)
    }

    /// The same from what was read. Does no I/O: `listen` is empty if no
    /// address is given.
    pub fn parse(
        main: &Source,
        extra: Option<&Source>,
        system: &Identity,
    ) -> Result<Loaded, ConfigError> {
        let whole = Self::parse_until(main, main.text().len(), extra, system);
        let (Some(comment), Err(_)) = (main.open_comment(), &whole) else {
            return whole;
        };
        // What base takes for configuration and refuses is the comment it was
        // meant to be.
        let Ok(mut loaded) = Self::parse_until(main, comment, extra, system) else {
            return whole;
        };
        let message = "no newline ends this comment, which makes base refuse the file: add one";
        let span = comment..main.text().len();
        loaded.warnings.push(main.diagnostic(span, message.into()));
        Ok(loaded)
    }

    /// Understands the first `length` bytes.
    fn parse_until(
        main: &Source,
        length: usize,
        extra: Option<&Source>,
        system: &Identity,
    ) -> Result<Loaded, ConfigError> {
        let mut settings = extra.map(Extra::parse).transpose()?;
        let node = settings.as_ref().and_then(Extra::node);
        let node = node.unwrap_or_else(|| system.clone());
        let (statements, mut warnings) = grammar::parse(main, length, &HAST_CONF)?;
        let mut config = merge(main, &statements, &node, &mut warnings)?;
        if let Some(settings) = &mut settings {
            settings.apply(&mut config)?;
        }
        let others = settings.map(|settings| settings.warnings);
        let both = [Some(warnings), others].into_iter().flatten();
        Ok(Loaded {
            config,
            path: main.path().to_owned(),
            extra: extra.map(|extra| extra.path().to_owned()),
            node,
            warnings: both.flat_map(Warnings::into_sorted).collect(),
        })
    }
}

fn read(path: &Path, accept: Accept) -> Result<Source, ConfigError> {
    Source::read(path, accept).map_err(|error| match error {
        TextError::TooLong => ConfigError::TooLong(path.to_owned()),
        error => ConfigError::Open {
            path: path.to_owned(),
            error,
        },
    })
}

fn is_absent(error: &TextError) -> bool {
    matches!(error, TextError::System(error) if error.kind() == io::ErrorKind::NotFound)
}

/// Where to listen unless the file says where.
fn default_listen(can_create: impl Fn(AddressFamily) -> bool) -> Result<Vec<String>, ConfigError> {
    let port = address::DEFAULT_PORT;
    let all = [
        (AddressFamily::Inet, format!("tcp4://0.0.0.0:{port}")),
        (AddressFamily::Inet6, format!("tcp6://[::]:{port}")),
    ];
    let possible = all.into_iter().filter(|(family, _)| can_create(*family));
    let listen: Vec<String> = possible.map(|(_, address)| address).collect();
    if listen.is_empty() {
        return Err(ConfigError::NoAddress);
    }
    Ok(listen)
}

/// Whether the system knows the family. An error of another kind says nothing
/// about that.
fn can_create(family: AddressFamily) -> bool {
    let socket = socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC, None);
    // The first is FreeBSD's, the second Linux's.
    !matches!(socket, Err(Errno::EPROTONOSUPPORT | Errno::EAFNOSUPPORT))
}

#[cfg(test)]
mod tests;
