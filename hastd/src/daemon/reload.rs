//! Another configuration (SIGHUP), in two phases. Facts:
//! spec/hast-config.md section 8.
//!
//! In the first, everything is obtained that can fail, and if it cannot be had
//! nothing changes. The second cannot fail. Reading files and looking names up
//! take as long as they take, so a thread does that.

use super::listen::{Listener, Place};
use super::waker::Waker;
use super::{Daemon, StartError};
use crate::config::{Config, ConfigError, Identity, Loaded};
use crate::log;
use crate::socket::PrivateSocket;
use ggate::daemon::{self, PidFile};
use ggate::textfile::Accept;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Instant;

/// The files that belong to the daemon.
pub(super) struct Files {
    /// The configuration.
    pub(super) config: PathBuf,
    /// Which node it is read for.
    pub(super) node: Identity,
    /// The control socket.
    pub(super) control: PathBuf,
    /// The pid file, unless there is none.
    pub(super) pid: Option<PidFile>,
    /// Where it is, if that is for the configuration to say.
    pub(super) pid_by_config: Option<PathBuf>,
}

/// What the thread has read.
struct Read {
    loaded: Result<Loaded, ConfigError>,
    /// Where the addresses are that are listened on from now on.
    places: Vec<(String, io::Result<Place>)>,
}

/// The thread that reads, if there is one.
pub(super) struct Reader {
    sender: Sender<Read>,
    receiver: Receiver<Read>,
    waker: Waker,
    running: bool,
    /// Somebody wants it read once more.
    again: bool,
}

impl Reader {
    pub(super) fn new(waker: Waker) -> Self {
        let (sender, receiver) = channel();
        Self {
            sender,
            receiver,
            waker,
            running: false,
            again: false,
        }
    }

    fn start(&mut self, files: &Files) {
        if self.running {
            self.again = true;
            return;
        }
        log::info!("Reloading configuration...");
        let (path, node) = (files.config.clone(), files.node.clone());
        let (sender, waker) = (self.sender.clone(), self.waker.clone());
        let spawned = daemon::spawn("reload", move || {
            // Nobody listens when the daemon ends.
            let _ = sender.send(read(&path, &node));
            waker.wake();
        });
        match spawned {
            Ok(_) => self.running = true,
            Err(error) => log::error!("Unable to start a thread: {}.", ggate::errno::words(&error)),
        }
    }

    fn finished(&mut self) -> Option<Read> {
        let read = self.receiver.try_recv().ok()?;
        self.running = false;
        Some(read)
    }
}

fn read(path: &Path, node: &Identity) -> Read {
    let loaded = Config::load(path, Accept::Files, node);
    let listen = loaded.iter().flat_map(|loaded| &loaded.config.listen);
    let places = listen.map(|address| (address.clone(), Place::find(address)));
    Read {
        places: places.collect(),
        loaded,
    }
}

/// Everything that was obtained in the first phase.
struct Obtained {
    config: Config,
    /// If it is another one.
    control: Option<PrivateSocket>,
    listeners: Vec<Listener>,
    pid: Option<PidFile>,
}

impl Daemon {
    /// Begins to read the configuration again.
    pub(super) fn reload(&mut self) {
        self.reader.start(&self.files);
    }

    /// Takes the configuration up once it has been read.
    pub(super) fn finish_reload(&mut self, now: Instant) {
        let Some(read) = self.reader.finished() else {
            return;
        };
        if self.ending.is_some() {
            return;
        }
        match self.obtain(read) {
            Ok(obtained) => self.take_up(obtained, now),
            Err(why) => {
                log::error!("{why}");
                log::warning!("Configuration not reloaded.");
            }
        }
        if std::mem::take(&mut self.reader.again) {
            self.reload();
        }
    }

    /// The first phase.
    fn obtain(&mut self, read: Read) -> Result<Obtained, String> {
        let loaded = read.loaded.map_err(|error| error.to_string())?;
        for warning in &loaded.warnings {
            log::warning!("{warning}");
        }
        let config = loaded.config;
        let control = if config.control == self.files.control {
            None
        } else {
            let bound = PrivateSocket::bind(&config.control, config.control_mode);
            Some(bound.map_err(|source| {
                let path = config.control.clone();
                format!("{}.", StartError::Control { path, source })
            })?)
        };
        Ok(Obtained {
            control,
            listeners: self.listeners(read.places)?,
            pid: self.pid_file(&config),
            config,
        })
    }

    /// Those that are not there yet; at least one must work.
    fn listeners(&self, places: Vec<(String, io::Result<Place>)>) -> Result<Vec<Listener>, String> {
        let is_there = |address: &str| self.listeners.iter().any(|l| l.address == address);
        let mut kept = false;
        let mut new: Vec<Listener> = Vec::new();
        for (address, place) in places {
            if is_there(&address) {
                log::info!("Keep listening on address {address}.");
                kept = true;
            } else if new.iter().all(|listener| listener.address != address) {
                match place.and_then(|place| Listener::bind(&address, place)) {
                    Ok(listener) => new.push(listener),
                    Err(source) => log::warning!("{}.", StartError::Listen { address, source }),
                }
            }
        }
        if new.is_empty() && !kept {
            return Err("No address to listen on works.".into());
        }
        Ok(new)
    }

    /// Another pid file, if there is one to be had.
    fn pid_file(&self, config: &Config) -> Option<PidFile> {
        let old = self.files.pid_by_config.as_ref()?;
        if *old == config.pidfile {
            return None;
        }
        let opened = PidFile::open(&config.pidfile).and_then(|mut file| {
            file.write()?;
            Ok(file)
        });
        opened
            .inspect_err(|error| log::warning!("{error}; the old pid file stays."))
            .ok()
    }

    /// The second phase.
    fn take_up(&mut self, obtained: Obtained, now: Instant) {
        let config = obtained.config;
        if let Some(socket) = obtained.control {
            log::info!(
                "Listening on control address uds://{}.",
                config.control.display()
            );
            self.control.replace(socket);
            self.files.control = config.control;
        } else if let Err(error) = self.control.set_mode(config.control_mode) {
            log::warning!(
                "Unable to change the mode of the control socket: {}.",
                ggate::errno::words(&error)
            );
        }
        if let Some(pid) = obtained.pid {
            self.files.pid = Some(pid);
            self.files.pid_by_config = Some(config.pidfile);
        }
        for listener in obtained.listeners {
            log::info!("Listening on new address {}.", listener.address);
            self.listeners.push(listener);
        }
        self.listeners.retain(|listener| {
            let stays = config.listen.contains(&listener.address);
            if !stays {
                log::info!("No longer listening on address {}.", listener.address);
            }
            stays
        });
        self.resources
            .reload(config.resources, now, &mut self.around);
        self.know_remotes();
        log::info!("Configuration reloaded successfully.");
    }
}
