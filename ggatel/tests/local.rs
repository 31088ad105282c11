//! ggatel over files, as a process.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use std::fs;
use std::path::Path;
use testkit::nbd::{self, Client};
use testkit::process::{Running, Sandbox, wait_for};

const SIZE: u64 = 4 << 20;

fn image(sandbox: &Sandbox) -> std::path::PathBuf {
    let path = sandbox.file("work");
    fs::File::create(&path).unwrap().set_len(SIZE).unwrap();
    path
}

fn connect(sandbox: &Sandbox) -> Client {
    let socket = sandbox.run_dir().join("ggate0");
    wait_for("the provider", || Client::connect(&socket).ok())
}

fn serve(sandbox: &Sandbox, options: &[&str]) -> Running {
    let args = [&["create", "-v"], options, &["work"]].concat();
    let serving = sandbox.spawn("ggatel", args);
    serving.wait_for_line("ggate0");
    serving
}

/// Allocated bytes.
fn allocated(path: &Path) -> u64 {
    std::os::unix::fs::MetadataExt::blocks(&fs::metadata(path).unwrap()) * 512
}

/// Base's tests create over a relative path, which must survive the change of
/// the working directory.
#[test]
fn a_relative_path_a_silent_create_and_equal_data() {
    let sandbox = Sandbox::new();
    let path = image(&sandbox);
    let args = ["create", "-u", "0", "work"];
    let created = sandbox.run("ggatel", args).expect_code(0);
    assert_eq!((created.stdout.as_str(), created.stderr.as_str()), ("", ""));
    let mut client = connect(&sandbox);
    let data = vec![0xa5; 1 << 20];
    assert_eq!(client.write(1 << 20, &data).unwrap(), 0);
    assert_eq!(client.read(1 << 20, 1 << 20).unwrap(), Ok(data.clone()));
    assert_eq!(client.call(nbd::FLUSH, 0, 0, 0, &[]).unwrap().error, 0);
    assert_eq!(fs::read(path).unwrap()[1 << 20..2 << 20], data);
    let args = ["destroy", "-f", "-u", "0"];
    sandbox.run("ggatel", args).expect_code(0);
}

/// Base writes stale memory over the range (wire specification, section 16,
/// row 29).
#[test]
fn delete_gives_the_blocks_back_and_touches_nothing_else() {
    let sandbox = Sandbox::new();
    let path = image(&sandbox);
    fs::write(&path, vec![0x77; usize::try_from(SIZE).unwrap()]).unwrap();
    let _serving = serve(&sandbox, &[]);
    let mut client = connect(&sandbox);
    let before = allocated(&path);
    let trimmed = client.call(nbd::TRIM, 0, 1 << 20, 1 << 20, &[]).unwrap();
    assert_eq!(trimmed.error, 0);
    assert_eq!(client.read(0, 1 << 20).unwrap(), Ok(vec![0x77; 1 << 20]));
    assert_eq!(client.read(2 << 20, 512).unwrap(), Ok(vec![0x77; 512]));
    assert!(allocated(&path) < before);
}

/// A short read must not return what an earlier one left in memory (row 29).
#[test]
fn a_file_that_shrank_is_an_error_not_old_data() {
    let sandbox = Sandbox::new();
    let path = image(&sandbox);
    fs::write(&path, vec![0x77; usize::try_from(SIZE).unwrap()]).unwrap();
    let _serving = serve(&sandbox, &[]);
    let mut client = connect(&sandbox);
    assert_eq!(client.read(0, 4096).unwrap(), Ok(vec![0x77; 4096]));
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_len(SIZE / 2).unwrap();
    let gone = client.read(SIZE - 4096, 4096).unwrap();
    assert!(gone.is_err(), "{gone:?}");
    assert_eq!(client.read(0, 4096).unwrap(), Ok(vec![0x77; 4096]));
}

#[test]
fn rescue_serves_on_and_refuses_a_medium_that_is_too_small() {
    let sandbox = Sandbox::new();
    image(&sandbox);
    let dead = serve(&sandbox, &["-s", "4096"]);
    let mut client = connect(&sandbox);
    assert_eq!(client.write(4096, &[7; 4096]).unwrap(), 0);
    dead.kill9();
    sandbox.write("small", vec![0; 65536]);
    let args = ["rescue", "-u", "0", "small"];
    let refused = sandbox.run("ggatel", args).expect_code(1);
    assert!(refused.stderr.contains("65536"), "{refused:?}");
    let args = ["rescue", "-u", "0", "work"];
    sandbox.run("ggatel", args).expect_code(0);
    let mut client = connect(&sandbox);
    assert_eq!(client.read(4096, 4096).unwrap(), Ok(vec![7; 4096]));
    assert_eq!(client.export.blocks.unwrap()[0], 4096);
    let args = ["destroy", "-f", "-u", "0"];
    sandbox.run("ggatel", args).expect_code(0);
}

#[test]
fn a_read_only_file_is_served_read_only() {
    let sandbox = Sandbox::new();
    image(&sandbox);
    let _serving = serve(&sandbox, &["-o", "ro"]);
    let mut client = connect(&sandbox);
    assert!(client.read(0, 512).unwrap().is_ok());
    assert_ne!(client.write(0, &[0; 512]).unwrap(), 0);
}

/// SIGINFO, and SIGUSR1 on Linux, which would end a program that does not
/// know it.
#[test]
fn a_signal_has_queue_and_rates_logged() {
    use nix::sys::signal::Signal;
    #[cfg(target_os = "linux")]
    let report = Signal::SIGUSR1;
    #[cfg(not(target_os = "linux"))]
    let report = Signal::SIGINFO;
    let sandbox = Sandbox::new();
    image(&sandbox);
    let serving = serve(&sandbox, &[]);
    let mut client = connect(&sandbox);
    assert_eq!(client.write(0, &vec![1; 1 << 20]).unwrap(), 0);
    // It is counted after it was answered.
    wait_for("a report", || {
        serving.signal(report);
        let expected = "notice: ggate0: 0 requests in work; 0 reads (0 MiB), 1 writes (1 MiB), ";
        serving.stdout().contains(expected).then_some(())
    });
    assert!(client.read(0, 512).unwrap().is_ok());
}
