//! What a worker needs of memory.

use crate::harness::{Pair, Worker, settings};
use hast::config::DEFAULT_MEMORY;
use hast_core::primary::Replication;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use testkit::nbd::{Client, WRITE};
use testkit::process::wait_for;

/// What a busy worker may need, and an idle one, in KiB.
const BUSY: u64 = 64 << 10;
const IDLE: u64 = 8 << 10;

/// Bytes of a write, and how many are in flight.
const WRITTEN: u32 = 1 << 20;
const DEPTH: u64 = 32;

/// A line of a file about the worker, in KiB.
fn kib(worker: &Worker, file: &str, line: &str) -> u64 {
    let text = std::fs::read_to_string(format!("/proc/{}/{file}", worker.pid())).unwrap();
    let rest = text.lines().find_map(|of| of.strip_prefix(line));
    let number = rest.and_then(|rest| rest.split_whitespace().next());
    number.unwrap().parse().unwrap()
}

/// The most that was resident, libraries that it shares with others included.
fn peak(worker: &Worker) -> u64 {
    kib(worker, "status", "VmHWM:")
}

/// What is resident, with its share of what others have, too.
fn proportional(worker: &Worker) -> u64 {
    kib(worker, "smaps_rollup", "Pss:")
}

fn assert_idle(pair: &Pair) {
    for worker in [&pair.primary, &pair.secondary] {
        let now = proportional(worker);
        assert!(now <= IDLE, "{now} KiB");
    }
}

/// 256 MiB of writes.
fn write(client: &mut Client) {
    let data = vec![0x5a; WRITTEN as usize];
    let answered = |client: &mut Client| assert_eq!(client.reply().unwrap().error, 0);
    for number in 0..256 {
        if number >= DEPTH {
            answered(client);
        }
        let offset = number % 48 * u64::from(WRITTEN);
        client.send(WRITE, 0, offset, WRITTEN, &data).unwrap();
    }
    (0..DEPTH).for_each(|_| answered(client));
}

/// Asserts that a pair can do this work with so little memory. The gate in
/// software sets up to 32 MiB aside of what a client sends that pauses within a
/// payload, as one does on a machine that has too much to do: that is not the
/// worker's, so the best of some attempts counts.
fn needs_little(what: &str, mut work: impl FnMut() -> Pair) -> Pair {
    let mut attempts = (0..10).map(|_| {
        let pair = work();
        let peaks = [&pair.primary, &pair.secondary].map(peak);
        println!("{what}: {peaks:?} KiB");
        (pair, peaks)
    });
    let found = attempts.find(|(_, peaks)| peaks.iter().all(|&peak| peak <= BUSY));
    found
        .unwrap_or_else(|| panic!("{what}: more than {BUSY} KiB"))
        .0
}

#[test]
fn a_busy_worker_needs_little_and_gives_it_back() {
    let modes = [
        Replication::Fullsync,
        Replication::Memsync,
        Replication::Async,
    ];
    let busy = |replication| {
        needs_little(&format!("{replication:?}"), || {
            let mut pair = Pair::new(64 << 20, settings(replication));
            write(&mut pair.client());
            pair.wait_for_sync();
            pair
        })
    };
    for pair in modes.map(busy) {
        let now = || [&pair.primary, &pair.secondary].map(proportional);
        wait_for("workers that have given memory back", || {
            now().iter().all(|&kib| kib <= IDLE).then_some(())
        });
        println!("idle again: {:?} KiB", now());
    }
}

/// Writes are answered that the peer has not got, as many as there is memory
/// for.
#[test]
fn with_a_peer_that_is_stuck_a_worker_needs_no_more() {
    needs_little("stuck", || {
        let pair = Pair::new(64 << 20, settings(Replication::Async));
        let secondary = Pid::from_raw(pair.secondary.pid().try_into().unwrap());
        kill(secondary, Signal::SIGSTOP).unwrap();
        write(&mut pair.client());
        let most = peak(&pair.primary);
        let granted = u64::try_from(DEFAULT_MEMORY >> 10).unwrap();
        assert!(most > granted, "{most} KiB: the peer was not stuck");
        pair
    });
}

#[test]
fn sixty_four_idle_resources_need_next_to_nothing() {
    let pairs: Vec<_> = (0..64)
        .map(|_| Pair::new(8 << 40, settings(Replication::Fullsync)))
        .collect();
    pairs.iter().for_each(assert_idle);
}
