//! Helpers as processes of the program itself.
#![allow(clippy::unwrap_used, reason = "a test fails by it")]

use ggate::gate::Access;
use ggate::media::{MediaError, OpenOptions};
use ggate::opener::{Held, Launcher as _, Processes};
use nix::errno::Errno;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use testkit::process::{Sandbox, program, wait_for};

fn processes() -> Processes {
    Processes::with_binary("ggated", File::open(program("ggated")).unwrap())
}

/// The helper processes that hold this path.
#[cfg(target_os = "linux")]
fn helpers(path: &Path) -> usize {
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    let lines = all.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    let expected = format!("ggated: opener\0read-write\0{}\0", path.display());
    lines.filter(|line| *line == expected.as_bytes()).count()
}

/// The helper processes that hold this path.
#[cfg(not(target_os = "linux"))]
fn helpers(path: &Path) -> usize {
    let listing = std::process::Command::new("ps")
        .args(["-axww", "-o", "command="])
        .output();
    let listing = String::from_utf8(listing.unwrap().stdout).unwrap();
    let expected = format!("ggated: opener read-write {}", path.display());
    listing.lines().filter(|line| *line == expected).count()
}

#[test]
fn a_helper_opens_passes_on_and_holds_until_it_is_let_go() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("disk", [7; 4096]);
    let began = Instant::now();
    let held = Arc::new(Held::open(&processes(), &path, OpenOptions::default()).unwrap());
    assert!(began.elapsed() < Duration::from_secs(10));
    let media = held.share(&path).unwrap();
    let mut data = [0; 512];
    ggate::media::Media::read_at(&media, &mut data, 0).unwrap();
    assert_eq!(data, [7; 512]);
    wait_for("its title", || (helpers(&path) == 1).then_some(()));
    drop(media);
    drop(held);
    wait_for("its end", || (helpers(&path) == 0).then_some(()));
}

#[test]
fn the_mode_is_kept_and_an_error_is_told() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("disk", [7; 4096]);
    let options = OpenOptions {
        access: Access::ReadOnly,
        ..OpenOptions::default()
    };
    let held = Arc::new(Held::open(&processes(), &path, options).unwrap());
    let media = held.share(&path).unwrap();
    let written = ggate::media::Media::write_at(&media, &[0; 512], 0);
    assert_eq!(written, Err(Errno::EBADF));
    let missing = sandbox.file("missing");
    let error = Held::open(&processes(), &missing, options).unwrap_err();
    assert_eq!(error, MediaError::Open(Errno::ENOENT));
    let error = Held::open(&processes(), sandbox.path(), options).unwrap_err();
    assert_eq!(error.errno(), Errno::EISDIR);
}

#[test]
fn a_binary_that_is_none_is_an_error_and_no_hang() {
    let sandbox = Sandbox::new();
    let text = sandbox.write("text", "no program");
    let processes = Processes::with_binary("ggated", File::open(&text).unwrap());
    let error = Held::open(&processes, &text, OpenOptions::default()).unwrap_err();
    assert!(matches!(error, MediaError::Open(_)), "{error}");
}

#[test]
fn files_are_no_providers() {
    let sandbox = Sandbox::new();
    let path = sandbox.write("disk", [7; 4096]);
    assert!(!processes().is_provider(&path));
    assert!(!processes().is_provider(Path::new("/dev/null")) || cfg!(target_os = "freebsd"));
}
