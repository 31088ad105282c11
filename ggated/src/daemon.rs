//! The life of the daemon: start, signals, orderly end.

use crate::listen;
use crate::opener::{Keeper, PATIENCE};
use crate::options::Options;
use crate::server::Server;
use ggate::daemon::{self, Mode, PidFile, Readiness, Signal, Start, on_signals};
use ggate::errno::words;
use ggate::log::{self, Sink};
use ggate::opener::Processes;
use std::io::{self, PipeWriter, Write as _};
use std::process::ExitCode;
use std::sync::Arc;

/// Runs ggated. In the background, returns in the process the user started as
/// soon as the daemon accepts connections.
pub(crate) fn run(options: &Options) -> ExitCode {
    let (mode, sink) = if options.foreground {
        (Mode::Foreground, Sink::Foreground)
    } else {
        (Mode::Background, Sink::Starting)
    };
    log::start("ggated", sink);
    match daemon::start(mode) {
        Ok(Start::Parent(status)) => status,
        Ok(Start::Daemon(ready)) => serve(options, ready),
        Err(error) => log::fatal(format_args!("Cannot become a daemon: {}.", words(&error))),
    }
}

fn serve(options: &Options, ready: Readiness) -> ExitCode {
    let opener = match Processes::new("ggated") {
        Ok(processes) => Keeper::new(Arc::new(processes), PATIENCE),
        Err(error) => return log::fatal(format_args!("Cannot open myself: {}.", words(&error))),
    };
    let server = match Server::new(&options.exports, options.tcp, Box::new(opener)) {
        Ok(server) => Arc::new(server),
        Err(error) => return log::fatal(error),
    };
    let mut pid_file = match PidFile::open(&options.pid_file) {
        Ok(pid_file) => pid_file,
        Err(error) => {
            eprintln!("ggated: {error}");
            return ExitCode::FAILURE;
        }
    };
    let listeners = match listen::bind(options) {
        Ok(listeners) => listeners,
        Err(error) => return log::fatal(format_args!("bind(): {}.", words(&error))),
    };
    if let Err(error) = pid_file.write() {
        return log::fatal(error);
    }
    let stop = match watch_signals(&server) {
        Ok(stop) => stop,
        Err(error) => return log::fatal(format_args!("Cannot catch signals: {}.", words(&error))),
    };
    // Whoever waits for this line may send signals and read the pid file.
    if let Some(Ok(address)) = listeners.first().map(std::net::TcpListener::local_addr) {
        log::info!("Listen on port: {}.", address.port());
    }
    if let Err(error) = ready.detach() {
        return log::fatal(format_args!(
            "Cannot leave the terminal: {}.",
            words(&error)
        ));
    }
    // The client, and with it a gate, may be on this host.
    daemon::protect();
    listen::accept_until(&server, &listeners, &stop);
    log::notice!("Stopping.");
    drop(listeners);
    server.stop();
    ExitCode::SUCCESS
}

/// From now on signals are obeyed; what the result can be read from says that
/// the daemon is to end.
fn watch_signals(server: &Arc<Server>) -> io::Result<io::PipeReader> {
    let (reader, writer) = io::pipe()?;
    let server = Arc::clone(server);
    let signals = &[Signal::Terminate, Signal::Reload, Signal::Report];
    on_signals(signals, move |signal| obey(&server, &writer, signal))?;
    Ok(reader)
}

fn obey(server: &Arc<Server>, mut stop: &PipeWriter, signal: Signal) {
    match signal {
        Signal::Terminate => {
            // Only fails when the reader is gone, which is what it asks for.
            let _ = stop.write_all(&[0]);
        }
        Signal::Reload => {
            // Looking up host names may take long.
            let reloading = Arc::clone(server);
            if let Err(error) = daemon::spawn("reload", move || reloading.reload()) {
                log::error!("Cannot reload: {}.", words(&error));
            }
        }
        Signal::Report => server.report(),
    }
}
