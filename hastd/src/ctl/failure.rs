//! Why a whole command ended without success, and base's exit status for it.
//! Facts: spec/hast-behaviour.md section 11.2, spec/hast-config.md 6.2.
//!
//! What concerns one resource of several is logged where it happens, and the
//! others go on.

use crate::config::ConfigError;
use crate::control::client::ClientError;
use crate::sandbox::SandboxError;
use std::io;

#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    #[error("{0}")]
    Config(#[from] ConfigError),
    #[error("{0}")]
    Client(#[from] ClientError),
    #[error("hastd refuses the command (error {code}): {why}.")]
    Refused { code: i16, why: String },
    #[error("Unable to give privileges up: {0}.")]
    Privileges(#[from] SandboxError),
    #[error("Unable to write the output: {}.", ggate::errno::words(.0))]
    Output(#[from] io::Error),
    /// The daemon would take the command for another one.
    #[error(
        "This hastd is FreeBSD's own and does not know {0}, which it would ignore; nothing was changed."
    )]
    Base(&'static str),
    /// The command needs something that the user has not given.
    #[error("{0}")]
    Usage(String),
}

impl Failure {
    /// `EX_USAGE`.
    const USAGE: u8 = 64;
    /// `EX_UNAVAILABLE`.
    const UNAVAILABLE: u8 = 69;
    /// `EX_SOFTWARE`.
    const SOFTWARE: u8 = 70;
    /// `EX_IOERR`.
    const IO: u8 = 74;
    /// `EX_CONFIG`.
    const CONFIG: u8 = 78;

    pub(super) const fn status(&self) -> u8 {
        match self {
            Self::Config(error) => error.exit_code(),
            Self::Client(error) => error.exit_code(),
            Self::Refused { .. } => Self::SOFTWARE,
            Self::Privileges(_) => Self::CONFIG,
            Self::Output(_) => Self::IO,
            Self::Base(_) => Self::UNAVAILABLE,
            Self::Usage(_) => Self::USAGE,
        }
    }

    /// Whether there is anything to say: not if nobody reads any more.
    pub(super) fn is_worth_words(&self) -> bool {
        !matches!(self, Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
