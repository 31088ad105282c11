//! `create` and `dump`: bytes on disk as base's, and what base lacks.

use crate::fake::{Node, SIZE};
use hast_core::metadata::{BLOCK_LENGTH, Metadata};
use nix::fcntl::{Flock, FlockArg};
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/hast/ondisk-create-and-roles")
}

/// The first 8192 bytes of a component of base's.
fn captured(name: &str) -> Vec<u8> {
    std::fs::read(folder().join(format!("disk-{name}.bin"))).unwrap()
}

fn metadata(bytes: &[u8]) -> Metadata {
    Metadata::decode(bytes.first_chunk::<BLOCK_LENGTH>().unwrap()).unwrap()
}

/// A node whose component begins with these bytes.
fn node_with(bytes: &[u8]) -> Node {
    let node = Node::new().with_image();
    let image = File::options()
        .write(true)
        .open(node.sandbox.file("h.img"))
        .unwrap();
    image.write_all_at(bytes, 0).unwrap();
    node
}

/// What base says in `disk-NAME.txt`, in the words of `hastctl dump`.
fn dumped_by_base(name: &str) -> Vec<String> {
    let text = std::fs::read_to_string(folder().join(format!("disk-{name}.txt"))).unwrap();
    let lines = text.lines().filter_map(|line| {
        let (name, value) = line.split_once('=')?;
        let name = match name.split_once(':')?.0 {
            "offset" => "localoff",
            name => name,
        };
        Some(format!("{name}: {}", value.trim_matches('\'')))
    });
    lines.collect()
}

#[test]
fn a_component_is_what_base_makes_and_its_data_is_untouched() {
    let node = node_with(&[0x5a; 8192]);
    node.run("create -k 64 test").expect_code(0);
    let (ours, base) = (node.image(), captured("created-a"));
    assert_eq!(metadata(&ours), metadata(&base));
    assert_eq!(ours[BLOCK_LENGTH..4608], base[BLOCK_LENGTH..4608]);
    assert!(ours[512..BLOCK_LENGTH].iter().all(|byte| *byte == 0));
    assert!(ours[4608..8192].iter().all(|byte| *byte == 0x5a), "data");
    assert_eq!(ours.len() as u64, SIZE);
}

#[test]
fn what_became_of_a_component_is_told_to_programs() {
    let node = Node::new().with_image();
    let run = |line: &str, code| {
        let told = node.run(line).expect_code(code).stdout;
        serde_json::from_str::<serde_json::Value>(&told).unwrap()
    };
    let created = run("create --json nosuch test", 65);
    let [unknown, made] = [0, 1].map(|at| &created["resources"][at]);
    assert_eq!(unknown["name"], "nosuch");
    assert_eq!(unknown["error"]["code"], 65);
    assert_eq!(made["name"], "test");
    assert_eq!(made["metadata"]["datasize"], 16_772_608);
    let dumped = run("dump --json nosuch test", 65);
    assert_eq!(dumped, created);
    // It is one already.
    let refused = run("create --json test", 65);
    assert_eq!(refused["resources"][0]["error"]["code"], 65);
    let all = run("dump --json all", 0);
    assert_eq!(all["resources"][0], *made);
}

#[test]
fn sizes_are_base_s() {
    for (options, localoff, datasize, extentsize, keepdirty) in [
        ("", 4608, 16_772_608, 2 << 20, 64),
        ("-m 8M -k 0", 4608, 8_384_000, 2 << 20, 64),
        ("-e 0x200 -k 10", 8192, 16_769_024, 512, 10),
        ("-e 64kb -m 16777000", 4608, 16_772_096, 65536, 64),
    ] {
        let node = Node::new().with_image();
        node.run(&format!("create {options} test")).expect_code(0);
        let made = metadata(&node.image());
        let got = (
            made.localoff,
            made.datasize,
            made.extentsize,
            made.keepdirty,
        );
        let wanted = (localoff, datasize, extentsize, keepdirty);
        assert_eq!(got, wanted, "{options}");
    }
}

#[test]
fn every_captured_component_is_dumped() {
    for name in [
        "created-a",
        "b-secondary-b",
        "a-primary-connected-a",
        "after-write-b",
        "degraded-writes-a",
        "a-init-a",
        "end-b",
    ] {
        let node = node_with(&captured(name));
        for line in ["dump", "dump all", "dump test"] {
            let ours = node.run(line).expect_code(0);
            let without_sizes = |line: &str| {
                let line = line.trim();
                line.split_once(" (")
                    .map_or(line, |(line, _)| line)
                    .to_owned()
            };
            let lines: Vec<String> = ours.stdout.lines().map(without_sizes).collect();
            assert_eq!(lines, dumped_by_base(name), "{name}");
            assert_eq!(ours.stderr, "", "{name}");
        }
    }
}

/// A component that shrank is shown, so that somebody can find out.
#[test]
fn what_cannot_be_used_is_shown_with_a_warning() {
    let node = node_with(&captured("created-a"));
    let image = File::options()
        .write(true)
        .open(node.sandbox.file("h.img"))
        .unwrap();
    image.set_len(SIZE / 2).unwrap();
    let ours = node.run("dump test").expect_code(0);
    assert!(ours.stdout.contains("datasize: 16772608 (16MB)\n"));
    assert!(ours.stderr.contains("do not fit"), "{ours:?}");
    let json = node.run("dump --json test").expect_code(0).stdout;
    assert!(json.contains("\"datasize\": 16772608,\n"), "{json}");
}

#[test]
fn what_cannot_be_read_ends_with_base_s_status() {
    for (bytes, why) in [
        (&[0; 4096][..], "not initialised"),
        (&[0x5a; 4096], "something other than metadata"),
    ] {
        let node = node_with(bytes);
        let ours = node.run("dump").expect_code(255);
        assert!(
            ours.stdout.is_empty() && ours.stderr.contains(why),
            "{ours:?}"
        );
        let json = node.run("dump --json").expect_code(255).stdout;
        assert!(
            json.contains("\"code\": -1,\n") && json.contains(why),
            "{json}"
        );
    }
    let node = node_with(&captured("created-a"));
    let ours = node.run("dump nosuch test").expect_code(65);
    assert!(ours.stderr.contains("Unknown resource nosuch"), "{ours:?}");
    assert!(ours.stdout.starts_with("resource: test\n"), "{ours:?}");
}

/// Base overwrites it without a word.
#[test]
fn what_is_a_component_already_stays_one() {
    let node = node_with(&captured("degraded-writes-a"));
    let before = node.image();
    let ours = node.run("create test").expect_code(65);
    for what in [
        "holds 16MB of resource test, was primary last, has counters 1 and 0",
        // Extents 0, 2 and 4 of 2 MiB.
        "up to 6.0MB that the other node may lack",
        "hastctl create --force test",
    ] {
        assert!(ours.stderr.contains(what), "{what} in {ours:?}");
    }
    assert!(node.image() == before, "overwritten");
    node.run("create --force test").expect_code(0);
    assert_eq!(metadata(&node.image()), metadata(&captured("created-a")));
    // Of another resource, whatever its metadata are.
    let text = std::fs::read_to_string(node.sandbox.file("h.conf")).unwrap();
    let text = text.replace("resource test", "resource other");
    node.sandbox.write("other.conf", text);
    node.sandbox.write("other.conf.ext", "node here\n");
    let ours = node.run("create -c other.conf other").expect_code(65);
    assert!(ours.stderr.contains("of resource test"), "{ours:?}");
    assert!(ours.stderr.contains("NOT other"), "{ours:?}");
    // Torn: the data behind it may be whole.
    let mut torn = captured("degraded-writes-a");
    torn[200..400].fill(0x5a);
    let node = node_with(&torn);
    let before = node.image();
    let ours = node.run("create test").expect_code(65);
    assert!(ours.stderr.contains("damaged"), "{ours:?}");
    assert!(node.image() == before, "overwritten");
}

/// hastd, base's too, holds the lock while it serves.
#[test]
fn what_hastd_serves_is_left_alone_even_if_forced() {
    let node = node_with(&captured("created-a"));
    let before = node.image();
    let file = File::open(node.sandbox.file("h.img")).unwrap();
    let lock = Flock::lock(file, FlockArg::LockExclusiveNonblock).unwrap();
    let ours = node.run("create --force test").expect_code(66);
    assert!(
        ours.stderr.contains("locked by another program"),
        "{ours:?}"
    );
    assert!(node.image() == before, "overwritten");
    // Looking does no harm.
    node.run("dump test").expect_code(0);
    drop(lock);
    node.run("create --force test").expect_code(0);
}

#[test]
fn what_makes_no_sense_is_refused_with_its_numbers() {
    for (options, why) in [
        ("-e 3000", "extents of 3000"),
        ("-e 1536", "power of two"),
        ("-e 2G", "power of two"),
        ("-e 256", "sectors of 512"),
        ("-m 17M", "17825792 of its 16777216 bytes"),
        ("-m 4096", "no room for data"),
        ("-m 1", "no room for data"),
        ("-k 2147483648", "cannot keep 2147483648 extents"),
    ] {
        let node = Node::new().with_image();
        let before = node.image();
        let ours = node.run(&format!("create {options} test")).expect_code(65);
        assert!(ours.stderr.contains(why), "{options}: {ours:?}");
        assert!(node.image() == before, "{options}: overwritten");
    }
    // Metadata are one sector, so that they cannot tear.
    let node = Node::new().with_image();
    let name = "n".repeat(136);
    let text = std::fs::read_to_string(node.sandbox.file("h.conf")).unwrap();
    node.sandbox.write(
        "h.conf",
        text.replace("resource test", &format!("resource {name}")),
    );
    let ours = node.run(&format!("create {name}")).expect_code(65);
    assert!(ours.stderr.contains("too long"), "{ours:?}");
}

/// The others go on, and the first error counts.
#[test]
fn one_that_fails_stops_no_other() {
    let node = Node::new().with_image();
    let dir = node.sandbox.path().display();
    let gone = format!("resource gone {{ on here {{ local {dir}/gone remote none }} }}\n");
    let text = std::fs::read_to_string(node.sandbox.file("h.conf")).unwrap();
    node.sandbox.write("h.conf", text + &gone);
    let ours = node.run("create gone nosuch test").expect_code(65);
    assert!(ours.stderr.contains("Unknown resource nosuch"), "{ours:?}");
    assert!(ours.stderr.contains("[gone]"), "{ours:?}");
    assert_eq!(metadata(&node.image()).resource, "test");
    let node = Node::new();
    node.run("create test").expect_code(66);
}
