//! A question to hastd. Like base's hastctl, this one has connected before it
//! gives its privileges up, and reads the answer without any.

use crate::config::Config;
use crate::control::client::{Client, ClientError, explain};
use crate::log;
use crate::sandbox::{self, SandboxError};
use hast_core::message::{Command, ControlCode, ControlReply, ControlRequest, Names, Wishes};
use hast_core::nv::Text;

/// `EX_SOFTWARE`: the whole command failed in the daemon.
const REFUSED: u8 = 70;

/// `EX_CONFIG`.
const NO_USER: u8 = 78;

#[derive(Debug, thiserror::Error)]
enum AskError {
    #[error(transparent)]
    Client(#[from] ClientError),
    #[error("Unable to give up privileges: {0}.")]
    Privileges(#[from] SandboxError),
}

impl AskError {
    const fn status(&self) -> u8 {
        match self {
            Self::Client(error) => error.exit_code(),
            Self::Privileges(_) => NO_USER,
        }
    }
}

/// A connection, and no privileges any more.
pub(super) struct Daemon(Client);

impl Daemon {
    /// Connects; the exit status if that fails.
    pub(super) fn reach(config: &Config) -> Result<Self, u8> {
        let [daemon] = Self::reach_for(config)?;
        Ok(daemon)
    }

    /// Connects for several questions: without privileges it is too late.
    pub(super) fn reach_for<const QUESTIONS: usize>(
        config: &Config,
    ) -> Result<[Self; QUESTIONS], u8> {
        let connect = || -> Result<Vec<Self>, AskError> {
            let daemons = (0..QUESTIONS).map(|_| Client::connect(&config.control).map(Self));
            let daemons = daemons.collect::<Result<_, _>>()?;
            if let Some(user) = sandbox::user()? {
                sandbox::drop_privileges(&user, "hastctl")?;
            }
            Ok(daemons)
        };
        let daemons = connect().map_err(|error| {
            log::error!("{error}");
            error.status()
        })?;
        daemons.try_into().map_err(|_| NO_USER)
    }

    /// Asks, and hands the answer to `read`, whose result is the exit status.
    pub(super) fn ask(
        self,
        command: Command,
        names: &[String],
        wishes: Wishes,
        read: impl FnOnce(&ControlReply<'_>) -> u8,
    ) -> u8 {
        let request = ControlRequest {
            command,
            names: if super::means_all(names) {
                Names::All
            } else {
                Names::These(names.iter().map(|name| Text(name.as_bytes())).collect())
            },
            wishes,
        };
        let waiting = || log::notice!("Waiting for hastd...");
        let answer = self.0.ask(&request, waiting);
        let reply = answer.as_ref().map_err(ToString::to_string);
        let reply = reply.and_then(|answer| answer.read().map_err(|error| error.to_string()));
        match reply {
            Ok(reply) => match reply.error {
                None | Some(ControlCode(0)) => read(&reply),
                Some(code) => {
                    log::error!("hastd refuses: {}.", explain(code, reply.reason));
                    REFUSED
                }
            },
            Err(error) => {
                log::error!("{error}");
                answer.err().map_or(69, |error| error.exit_code())
            }
        }
    }
}

/// An error of one resource as an exit status: the code itself, as in base.
pub(super) fn status_of(code: ControlCode) -> u8 {
    u8::try_from(code.0 & 0xff).unwrap_or(1)
}
