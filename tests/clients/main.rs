//! Whole programs with other people's clients, a module per client.
//! `make test-clients` installs the clients and builds the programs first.

mod completions;
mod fio;
mod libnbd;
mod provider;
mod qemu;
mod torture;

use std::process::{Command, Stdio};

/// The clients, each with an argument that makes it say that it is there.
const CLIENTS: [(&str, &str); 5] = [
    ("fio", "--version"),
    ("qemu-io", "--version"),
    ("nbdcopy", "--version"),
    ("nbdinfo", "--version"),
    ("nbdkit", "--version"),
];

#[test]
fn every_client_is_installed() {
    for (program, argument) in CLIENTS {
        let status = Command::new(program)
            .arg(argument)
            .stdout(Stdio::null())
            .status()
            .unwrap_or_else(|error| panic!("{program}: {error}; run scripts/setup.sh"));
        assert!(status.success(), "{program} {argument}: {status}");
    }
}
