//! What becomes of a software gate whose process is killed: it is still on
//! record, can be destroyed, and can be served by the next process while a
//! client that reconnects goes on.

#![allow(clippy::unwrap_used)] // helpers of tests

use ggate::gate::software::Software;
use ggate::gate::{
    Access, Cancel, Command, Create, GateId, Ggctl, NewName, Outcome, Started, Unit,
};
use ggate::range::Geometry;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::{env, thread};
use testkit::nbd::Client;

const RUNDIR: &str = "GGATE_TEST_RUNDIR";
const NAME: &str = "hast/data";
const GEOMETRY: Geometry = Geometry {
    media_size: 1 << 20,
    sector_size: 512,
};

/// Answers READs with `fill` and takes everything else for done.
fn serve(gates: &Software, unit: Unit, fill: u8) {
    let mut buffer = vec![0; 1 << 20];
    while let Ok(Started::Request(request)) = gates.start(unit, &mut buffer) {
        let length = usize::try_from(request.range.length).unwrap();
        let data = vec![fill; length];
        let outcome = match request.command {
            Command::Read => Outcome::Data(&data),
            _ => Outcome::Done,
        };
        gates.done(unit, &request, outcome).unwrap();
    }
}

#[test]
#[ignore = "a process of the other tests, not a test"]
fn serving_process() {
    let gates = Software::new(env::var_os(RUNDIR).unwrap()).unwrap();
    let create = Create {
        geometry: GEOMETRY,
        access: Access::ReadWrite,
        queue_limit: 128,
        timeout: 0,
        name: NewName::Named(NAME.into()),
        info: "doomed".into(),
    };
    let unit = gates.create(&create).unwrap();
    serve(&gates, unit, 1);
}

/// This file again, as a process that serves a gate. Killed when dropped.
struct Doomed {
    child: Child,
    rundir: PathBuf,
}

impl Doomed {
    fn start(dir: &Path) -> Self {
        let rundir = dir.join("run");
        let child = std::process::Command::new(env::current_exe().unwrap())
            .args(["--ignored", "--exact", "serving_process"])
            .env(RUNDIR, &rundir)
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Self { child, rundir }
    }

    fn client(&self) -> Client {
        Client::connect(&self.rundir.join(NAME)).unwrap()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Doomed {
    fn drop(&mut self) {
        // It may be dead already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn another_process_is_listed_and_destroyed() {
    let dir = tempfile::tempdir().unwrap();
    let mut doomed = Doomed::start(dir.path());
    let client = doomed.client();
    let gates = Software::new(&doomed.rundir).unwrap();
    let info = gates.list().unwrap().remove(0);
    assert_eq!(info.pid, Some(doomed.child.id()));
    assert_eq!(info.mode.to_string(), "r1w1e0");
    assert_eq!(info.config.unwrap().queue_size, 128);
    drop(client);
    gates.destroy(&GateId::Named(NAME.into()), false).unwrap();
    // Its serve loop has ended.
    assert!(doomed.child.wait().unwrap().success());
    assert_eq!(gates.list().unwrap(), []);
}

#[test]
fn a_dead_process_gate_is_listed_and_destroyed() {
    let dir = tempfile::tempdir().unwrap();
    let mut doomed = Doomed::start(dir.path());
    doomed.client().read(0, 512).unwrap().unwrap();
    doomed.kill();
    let gates = Software::new(&doomed.rundir).unwrap();
    let info = gates.list().unwrap().remove(0);
    assert_eq!((info.name.as_str(), info.pid), (NAME, None));
    gates.destroy(&GateId::Unit(Unit(0)), false).unwrap();
    assert_eq!(gates.list().unwrap(), []);
    assert!(!doomed.rundir.join("hast").exists());
}

#[test]
fn a_dead_process_gate_is_taken_over_with_its_unit_name_and_sizes() {
    let dir = tempfile::tempdir().unwrap();
    let mut doomed = Doomed::start(dir.path());
    let mut client = doomed.client();
    assert_eq!(client.read(0, 512).unwrap(), Ok(vec![1; 512]));
    doomed.kill();
    client.closed().unwrap();
    let gates = Software::new(&doomed.rundir).unwrap();
    let unit = gates
        .cancel(&GateId::Named(NAME.into()), Cancel::All)
        .unwrap();
    assert_eq!(unit, Unit(0));
    assert_eq!(gates.geometry(unit), Some(GEOMETRY));
    thread::scope(|scope| {
        scope.spawn(|| serve(&gates, unit, 2));
        let mut again = doomed.client();
        assert_eq!(again.read(0, 512).unwrap(), Ok(vec![2; 512]));
        drop(again);
        gates.destroy(&GateId::Unit(unit), true).unwrap();
    });
}
