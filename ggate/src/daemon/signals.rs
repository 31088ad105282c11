//! Signals as calls on a thread of their own.
//!
//! The handlers only wake that thread, so a callback may lock, log and
//! allocate. Sleeping system calls of other threads are restarted: nobody may
//! count on a signal to leave one.

use std::io;

use signal_hook::consts;
use signal_hook::iterator::Signals;

/// What somebody wants of the daemon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signal {
    /// SIGTERM or SIGINT: end in order.
    Terminate,
    /// SIGHUP: read the configuration again.
    Reload,
    /// SIGINFO, or SIGUSR1 where there is none: say what goes on.
    Report,
}

#[cfg(any(target_os = "linux", target_os = "android"))]
const REPORT: i32 = consts::SIGUSR1;
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const REPORT: i32 = consts::SIGINFO;

impl Signal {
    const fn numbers(self) -> &'static [i32] {
        match self {
            Self::Terminate => &[consts::SIGTERM, consts::SIGINT],
            Self::Reload => &[consts::SIGHUP],
            Self::Report => &[REPORT],
        }
    }
}

/// Catches `which` from now on and calls `act` for each that comes, on a
/// thread that lives as long as the process. Several of one kind that come at
/// once may be one call. Call it after the last fork.
pub fn on_signals(
    which: &'static [Signal],
    mut act: impl FnMut(Signal) + Send + 'static,
) -> io::Result<()> {
    let mut signals = Signals::new(which.iter().flat_map(|s| s.numbers()))?;
    super::spawn("signaltd", move || {
        for number in signals.forever() {
            let meant = which.iter().find(|s| s.numbers().contains(&number));
            if let Some(&signal) = meant {
                act(signal);
            }
        }
    })?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::time::Duration;

    #[test]
    fn each_signal_arrives_as_what_it_means() {
        let (sender, receiver) = mpsc::channel();
        on_signals(
            &[Signal::Terminate, Signal::Reload, Signal::Report],
            move |signal| sender.send(signal).unwrap(),
        )
        .unwrap();
        for (number, meaning) in [
            (consts::SIGTERM, Signal::Terminate),
            (consts::SIGINT, Signal::Terminate),
            (consts::SIGHUP, Signal::Reload),
            (REPORT, Signal::Report),
        ] {
            signal_hook::low_level::raise(number).unwrap();
            let got = receiver.recv_timeout(Duration::from_secs(10));
            assert_eq!(got, Ok(meaning));
        }
    }
}
