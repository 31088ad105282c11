//! What a kernel may ask of ggatec, and how, through to the file.

use crate::host::{Daemon, Host, SIZE};
use geom::Kernel;
use ggate::gate::{Command, Unit};
use ggate::range::ByteRange;
use nix::errno::Errno;
use std::thread;

const UNIT: Unit = Unit(0);

/// A chain that runs.
struct Chain {
    host: Host,
    server: Daemon,
    client: crate::host::Importing,
}

impl Chain {
    fn new(kernel: Option<Kernel>) -> Self {
        let host = Host::new();
        if let Some(kernel) = kernel {
            host.gates.interrupt_starts(kernel);
        }
        let server = host.serve(host.our_opener());
        let client = host.import("md0", server.address.port(), UNIT);
        host.assert_node(UNIT);
        Self {
            host,
            server,
            client,
        }
    }

    fn ask(&self, command: Command, range: ByteRange, data: &[u8]) -> nix::Result<Vec<u8>> {
        self.host.gates.ask(UNIT, command, range, data)
    }

    fn end(self) {
        self.host.destroy(UNIT);
        self.client.join().unwrap();
        self.server.stop();
    }
}

fn pattern(seed: u8, length: u64) -> Vec<u8> {
    (0..=250)
        .cycle()
        .take(length.try_into().unwrap())
        .map(|byte: u8| byte ^ seed)
        .collect()
}

/// Four threads write and read back their own part of the disk.
fn load(chain: &Chain, rounds: u8, length: u64) {
    thread::scope(|scope| {
        for part in 0..4_u8 {
            scope.spawn(move || {
                let range = ByteRange::new(u64::from(part) * SIZE / 4, length);
                for round in 0..rounds {
                    let data = pattern(part ^ round, length);
                    assert_eq!(chain.ask(Command::Write, range, &data), Ok(Vec::new()));
                    assert_eq!(chain.ask(Command::Read, range, &[]), Ok(data));
                }
            });
        }
    });
}

#[test]
fn signals_in_start_disturb_nobody_on_old_kernels() {
    let chain = Chain::new(Some(Kernel::Old));
    load(&chain, 100, 4096);
    chain.end();
}

#[test]
fn signals_in_start_disturb_nobody_on_new_kernels() {
    let chain = Chain::new(Some(Kernel::New));
    load(&chain, 100, 4096);
    chain.end();
}

/// The whole disk at once: eight times the buffer that waits in START, among
/// small ones.
#[test]
fn requests_above_the_buffer_pass_among_small_ones() {
    let chain = Chain::new(None);
    load(&chain, 20, SIZE / 4);
    let whole = ByteRange::new(0, SIZE);
    let data = pattern(3, SIZE);
    assert_eq!(chain.ask(Command::Write, whole, &data), Ok(Vec::new()));
    assert_eq!(chain.ask(Command::Read, whole, &[]), Ok(data));
    load(&chain, 20, 512);
    chain.end();
}

/// DELETE because the protocol has none, SPEEDUP because it is a hint, the
/// rest because nobody knows it. Base's tests want trim to fail.
#[test]
fn what_cannot_be_done_is_answered_and_service_goes_on() {
    let chain = Chain::new(None);
    let range = ByteRange::new(0, SIZE);
    for command in [Command::Speedup, Command::Other(77), Command::Delete] {
        let answer = chain.ask(command, range, &[]);
        assert_eq!(answer, Err(Errno::EOPNOTSUPP), "{command:?}");
    }
    let none = ByteRange::new(0, 0);
    assert_eq!(chain.ask(Command::Flush, none, &[]), Ok(Vec::new()));
    load(&chain, 1, 512);
    chain.end();
}

/// A gate that is destroyed while everybody uses it.
#[test]
fn destroy_under_load_answers_everybody_and_ends_the_client_in_order() {
    for _ in 0..10 {
        let chain = Chain::new(None);
        thread::scope(|scope| {
            let readers: Vec<_> = (0..4)
                .map(|_| {
                    let (chain, range) = (&chain, ByteRange::new(0, 4096));
                    let read = move || chain.ask(Command::Read, range, &[]);
                    scope.spawn(move || std::iter::repeat_with(read).find_map(Result::err))
                })
                .collect();
            chain
                .ask(Command::Read, ByteRange::new(0, 512), &[])
                .unwrap();
            chain.host.destroy(UNIT);
            for reader in readers {
                assert_eq!(reader.join().unwrap(), Some(Errno::ENXIO));
            }
        });
        chain.client.join().unwrap();
        chain.server.stop();
    }
}
