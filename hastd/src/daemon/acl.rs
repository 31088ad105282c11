//! Who may connect: the addresses of `remote`.
//! Facts: spec/hast-config.md section 6.4.
//!
//! Accepting never waits for a resolver. Addresses are known in numbers, or
//! looked up by a thread of their own, again and again; while a name cannot be
//! looked up, its last addresses count.

use super::endpoint::{look_up, numeric};
use super::greet::Origin;
use crate::config::address::{Address, TcpAddress};
use crate::log;
use ggate::daemon;
use parking_lot::{Condvar, Mutex};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How often names are looked up.
const REFRESH: Duration = Duration::from_secs(60);

/// How soon again, if somebody connects whom nobody knows, or a name could not
/// be looked up.
const SOON: Duration = Duration::from_secs(5);

/// The addresses of all `remote`s.
pub(super) struct Access {
    shared: Arc<Shared>,
    has_thread: bool,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// What is to be looked up.
    names: Vec<TcpAddress>,
    found: HashMap<TcpAddress, Vec<IpAddr>>,
    /// Somebody whom nobody knows has connected.
    doubt: bool,
    ended: bool,
}

impl Access {
    pub(super) fn new() -> Self {
        Self {
            shared: Arc::default(),
            has_thread: false,
        }
    }

    /// These are the `remote`s from now on.
    pub(super) fn set<'a>(&mut self, remotes: impl Iterator<Item = &'a str>) {
        let mut state = self.shared.state.lock();
        state.names.clear();
        for remote in remotes {
            if let Ok(Address::Tcp(host)) = Address::parse(remote)
                && numeric(&host).is_none()
                && !state.names.contains(&host)
            {
                state.names.push(host);
            }
        }
        let State { names, found, .. } = &mut *state;
        found.retain(|host, _| names.contains(host));
        state.doubt = true;
        self.shared.changed.notify_all();
        let has_names = !state.names.is_empty();
        drop(state);
        if has_names && !self.has_thread {
            self.start_thread();
        }
    }

    fn start_thread(&mut self) {
        let shared = Arc::clone(&self.shared);
        match daemon::spawn("resolver", move || shared.look_up_again_and_again()) {
            Ok(_) => self.has_thread = true,
            Err(error) => log::error!(
                "Cannot look up host names: {}.",
                ggate::errno::words(&error)
            ),
        }
    }

    /// Whether a resource with this `remote` may be asked for from there.
    pub(super) fn allows(&self, remote: Option<&str>, from: Origin) -> bool {
        let Some(Ok(address)) = remote.map(Address::parse) else {
            return false;
        };
        match (address, from) {
            (Address::Unix(_), Origin::Unix) => true,
            (Address::Tcp(host), Origin::Tcp(from)) => {
                if let Some(address) = numeric(&host) {
                    return is_same(address, from.ip());
                }
                let state = self.shared.state.lock();
                let known = state.found.get(&host).into_iter().flatten();
                known.copied().any(|address| is_same(address, from.ip()))
            }
            _ => false,
        }
    }

    /// Somebody whom nobody knows has connected: perhaps a name means another
    /// address now.
    pub(super) fn doubt(&self) {
        self.shared.state.lock().doubt = true;
        self.shared.changed.notify_all();
    }
}

impl Drop for Access {
    fn drop(&mut self) {
        self.shared.state.lock().ended = true;
        self.shared.changed.notify_all();
    }
}

fn is_same(a: IpAddr, b: IpAddr) -> bool {
    a.to_canonical() == b.to_canonical()
}

impl Shared {
    fn look_up_again_and_again(&self) {
        loop {
            let names = {
                let mut state = self.state.lock();
                state.doubt = false;
                state.names.clone()
            };
            let mut pause = REFRESH;
            for host in &names {
                if !self.look_up(host) {
                    pause = SOON;
                }
            }
            let begin = Instant::now();
            let mut state = self.state.lock();
            while !state.ended {
                let due = begin + if state.doubt { SOON.min(pause) } else { pause };
                // Names that are new are looked up at once.
                if state.names != names || Instant::now() >= due {
                    break;
                }
                self.changed.wait_until(&mut state, due);
            }
            if state.ended {
                return;
            }
        }
    }

    /// The resolver takes as long as it does, so nothing is locked meanwhile.
    fn look_up(&self, host: &TcpAddress) -> bool {
        match look_up(host, 0) {
            Ok(addresses) => {
                let addresses: Vec<IpAddr> = addresses.iter().map(SocketAddr::ip).collect();
                let mut state = self.state.lock();
                let before = state.found.insert(host.clone(), addresses.clone());
                drop(state);
                if before.as_ref() != Some(&addresses) {
                    log::debug!(1, "{} is {addresses:?}.", host.host);
                }
                true
            }
            Err(error) => {
                let known = self.state.lock().found.contains_key(host);
                let what = if known {
                    "its last addresses count"
                } else {
                    "nobody is let in by it"
                };
                log::warning!("Unable to resolve {error}; {what}.");
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use testkit::process::wait_for;

    fn from(address: &str) -> Origin {
        Origin::Tcp(address.parse().unwrap())
    }

    #[test]
    fn an_address_in_numbers_lets_itself_in_from_any_port() {
        let mut access = Access::new();
        access.set(["tcp4://10.0.0.2:28457"].into_iter());
        assert!(!access.has_thread);
        for (remote, address, allowed) in [
            (Some("tcp4://10.0.0.2:28457"), "10.0.0.2:1", true),
            (Some("10.0.0.2"), "10.0.0.2:8457", true),
            (Some("10.0.0.2"), "[::ffff:10.0.0.2]:8457", true),
            (Some("10.0.0.2"), "10.0.0.3:8457", false),
            (Some("fe80::1"), "[fe80::1]:9", true),
            (Some("tcp6://[fe80::1]:9"), "[fe80::2]:9", false),
            (Some("/var/run/peer"), "10.0.0.2:1", false),
            (None, "10.0.0.2:1", false),
        ] {
            assert_eq!(
                access.allows(remote, from(address)),
                allowed,
                "{remote:?} {address}"
            );
        }
        assert!(access.allows(Some("/var/run/peer"), Origin::Unix));
        assert!(!access.allows(Some("10.0.0.2"), Origin::Unix));
    }

    #[test]
    fn names_are_looked_up_meanwhile() {
        let mut access = Access::new();
        access.set(["tcp4://localhost", "no-such-host.invalid"].into_iter());
        wait_for("the resolver", || {
            access
                .allows(Some("tcp4://localhost"), from("127.0.0.1:5"))
                .then_some(())
        });
        assert!(!access.allows(Some("no-such-host.invalid"), from("127.0.0.1:5")));
        access.set(["tcp://10.0.0.1"].into_iter());
        assert!(!access.allows(Some("tcp4://localhost"), from("127.0.0.1:5")));
    }
}
