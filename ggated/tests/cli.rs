//! Base's command lines: exit codes, usage texts, streams.

use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use testkit::cases::{self, Refused};
use testkit::process::Sandbox;

const DIFFERENCES: &[Refused] = &[Refused {
    line: "ggated -v -F TMPDIR/p TMPDIR/alphamask.exp",
    why: "base takes a prefix that is no number for 0 and exports to everybody",
}];

#[test]
fn command_lines_end_as_base_s_do() {
    cases::run("ggated", DIFFERENCES, prepare);
}

fn prepare(sandbox: &Sandbox) {
    sandbox.write("empty.exp", "# nothing\n");
    sandbox.write("few.exp", "127.0.0.1 RW\n");
    sandbox.write("many.exp", "127.0.0.1 RW /x y\n");
    sandbox.write("badmask.exp", "127.0.0.1/33 RW /x\n");
    sandbox.write("alphamask.exp", "127.0.0.1/abc RW /x\n");
    sandbox.write("ok.exp", "127.0.0.1 RW /x\n");
    // Another daemon's pid file, locked until this test ends.
    let held = File::open(sandbox.write("p2", "4242")).expect("the pid file");
    let lock = Flock::lock(held, FlockArg::LockExclusiveNonblock);
    std::mem::forget(lock.expect("its lock"));
}
