//! A provider to try clients on.

use std::net::SocketAddr;
use testkit::chain::Chain;
use testkit::process::Running;

/// A provider of ggatec over a file of ggated.
pub(crate) struct Provider {
    pub(crate) chain: Chain,
    _ggatec: Running,
}

impl Provider {
    /// Of `size` bytes.
    pub(crate) fn new(size: u64) -> Self {
        Self::via(size, |server| server.port())
    }

    /// With ggatec talking to the port of 127.0.0.1 that `port` makes of the
    /// server's address.
    pub(crate) fn via(size: u64, port: impl FnOnce(SocketAddr) -> u16) -> Self {
        let chain = Chain::new(size);
        let ggatec = chain.ggatec_via(port(chain.server), &["create", "-v"]);
        ggatec.wait_for_line("ggate0");
        Self {
            chain,
            _ggatec: ggatec,
        }
    }

    /// As libnbd, fio and qemu take it.
    pub(crate) fn uri(&self) -> String {
        let socket = self.chain.socket("ggate0");
        format!("nbd+unix:///?socket={}", socket.display())
    }
}
