//! Replays everything base's programs were captured sending and storing
//! (`tests/vectors/hast`, its README tells how it was made):
//!
//! * each message is what an independent decoder says it is;
//! * it decodes to a typed value which encodes to base's bytes, but for the
//!   padding behind names, which is whatever base's memory held;
//! * each payload expands to exactly the data its request is about, and that
//!   data is sent again as base sent it;
//! * messages that were made wrong on purpose are refused for the right
//!   reason, and nothing else is refused;
//! * no file is left out.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod components;
mod replay;
mod streams;
mod text;

use std::path::{Path, PathBuf};
use std::{fs, io};

/// The captures.
pub(crate) fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/hast")
}

/// What a folder holds, sorted by name.
pub(crate) fn list(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap();
    let mut paths: Vec<_> = entries.map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The scenarios.
pub(crate) fn scenarios() -> Vec<PathBuf> {
    let mut scenarios = list(&folder());
    scenarios.retain(|path| path.is_dir());
    assert_eq!(scenarios.len(), 40);
    scenarios
}

/// The last part of a path.
pub(crate) fn name(path: &Path) -> &str {
    path.file_name().unwrap().to_str().unwrap()
}

/// The text an independent decoder made of a capture.
pub(crate) fn decoded(capture: &Path) -> String {
    // It takes bytes for Latin-1 where there is no text.
    let text = fs::read(capture.with_extension("txt")).unwrap();
    String::from_utf8(text).unwrap()
}

/// Whether both are the same but for what pads names.
pub(crate) fn assert_same_entries(ours: &[u8], base: &[u8], what: &str) {
    let mut base = base.to_vec();
    let mut at = 0;
    while base.get(at).is_some_and(|code| *code != 0) {
        let name = usize::from(base[at + 1]);
        let data = u32::from_le_bytes(base[at + 2..at + 6].try_into().unwrap());
        let padded = name.next_multiple_of(8);
        base[at + 6 + name..at + 6 + padded].fill(0);
        at += 6 + padded + usize::try_from(data).unwrap().next_multiple_of(8);
    }
    assert!(ours == base, "{what}:\nours {ours:02x?}\nbase {base:02x?}");
}

#[test]
fn every_capture_is_replayed() -> io::Result<()> {
    let (mut replayed, mut refused) = (0, 0);
    println!(
        "{:40} {:>7} {:>8} {:>9} {:>8} {:>6}",
        "scenario", "files", "messages", "payload", "refused", "blocks"
    );
    for scenario in scenarios() {
        let mut sum = replay::Summary::default();
        for folder in list(&scenario).iter().filter(|path| path.is_dir()) {
            replay::replay(folder, &mut sum)?;
        }
        components::replay(&scenario, &mut sum)?;
        println!(
            "{:40} {:>7} {:>8} {:>9} {:>8} {:>6}",
            name(&scenario),
            sum.files,
            sum.messages,
            sum.payload,
            sum.refused,
            sum.blocks
        );
        replayed += sum.files;
        refused += sum.refused;
    }
    let all = scenarios().iter().map(|scenario| captures(scenario)).sum();
    assert_eq!(replayed, all, "a capture was left out");
    assert_eq!(refused, replay::WRONG.len(), "all that is wrong is refused");
    assert_eq!(all, 368);
    Ok(())
}

/// Number of captures in a folder and below.
fn captures(folder: &Path) -> usize {
    let inside = |path: &PathBuf| {
        if path.is_dir() {
            captures(path)
        } else {
            usize::from(path.extension().is_some_and(|e| e == "bin"))
        }
    };
    list(folder).iter().map(inside).sum()
}
