//! Every configuration that base's programs were shown, with base's verdict,
//! exit code and understanding: `tests/vectors/config`.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use ggate::textfile::Accept;
use hast::config::{Config, ConfigError, Identity, Loaded, Resource, Word as _};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Stands for the folder in which base's programs ran.
const TMPDIR: &str = "/tmp/hast";

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/config")
}

/// The host on which base's programs ran.
fn nodea() -> Identity {
    Identity {
        hostname: "nodea.example.org".into(),
        uuid: Some("8a7b6c5d-0000-1111-2222-333344445555".into()),
        hostid: Some(12345),
    }
}

fn load(name: &str) -> Result<Loaded, ConfigError> {
    let text = fs::read_to_string(folder().join(format!("{name}.conf"))).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hast.conf");
    fs::write(&path, text.replace("TMPDIR", TMPDIR)).unwrap();
    Config::load(&path, Accept::Files, &nodea())
}

/// What hastctl and hastd of base printed.
fn result(name: &str) -> String {
    fs::read_to_string(folder().join(format!("{name}.result"))).unwrap()
}

/// Rows as name, verdict, exit code of hastctl.
fn table() -> Vec<(String, bool, u8)> {
    let text = fs::read_to_string(folder().join("TABLE.txt")).unwrap();
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let name = words.next().unwrap().to_owned();
        let accepted = match words.next().unwrap() {
            "PARSE-OK" => true,
            "PARSE-ERROR" => false,
            other => panic!("{other}"),
        };
        let code = words.next().unwrap().strip_prefix("hastctl=").unwrap();
        (name, accepted, code.parse().unwrap())
    };
    text.lines().map(row).collect()
}

#[test]
fn each_verdict_and_exit_code_is_base_s() {
    for (name, accepted, code) in table() {
        match load(&name) {
            // 71: base understood the file and found no hastd to talk to.
            Ok(_) => assert_eq!((accepted, code), (true, 71), "{name}"),
            Err(error) => {
                assert!(!accepted, "{name}: {error}");
                assert_eq!(error.exit_code(), code, "{name}");
                let text = error.to_string();
                let (place, message) = text.split_once(": ").unwrap();
                assert!(
                    place.contains("hast.conf:") && message.ends_with('^'),
                    "{text}"
                );
            }
        }
    }
}

#[test]
fn no_file_is_left_out() {
    let rows: BTreeSet<String> = table().into_iter().map(|(name, ..)| name).collect();
    let files: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "conf"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(rows, files);
    assert_eq!(rows.len(), 34);
}

/// A resource in the words of `hastctl list`.
fn listed(resource: &Resource) -> Vec<String> {
    let mut lines = vec![
        format!("{}:", resource.name),
        format!("provname: {}", resource.provider),
        format!("localpath: {}", resource.local.display()),
        format!(
            "remoteaddr: {}",
            resource.remote.as_deref().unwrap_or("none")
        ),
        format!("replication: {}", resource.settings.replication.word()),
    ];
    let source = resource.source.as_ref();
    lines.extend(source.map(|source| format!("sourceaddr: {source}")));
    lines
}

#[test]
fn each_configuration_means_what_it_means_to_base() {
    let mut resources = 0;
    for (name, ..) in table().into_iter().filter(|(_, accepted, _)| *accepted) {
        let config = load(&name).unwrap().config;
        let result = result(&name);
        if let Some((_, list)) = result.split_once("hastctl list (exit 0):\n") {
            let wanted = [
                "provname",
                "localpath",
                "remoteaddr",
                "sourceaddr",
                "replication",
            ];
            let is_wanted = |line: &&str| {
                let key = line.trim().split(':').next().unwrap();
                !line.starts_with(' ') || wanted.contains(&key)
            };
            // Base prints what it ignores wherever its output happens to be.
            let theirs = list.lines().filter(is_wanted);
            let theirs: BTreeSet<_> = theirs
                .map(|l| l.trim().trim_start_matches("\"\";"))
                .collect();
            let ours: Vec<String> = config.resources.iter().flat_map(listed).collect();
            let ours: BTreeSet<_> = ours.iter().map(String::as_str).collect();
            assert_eq!(ours, theirs, "{name}");
            resources += config.resources.len();
        }
        let log = result
            .lines()
            .filter_map(|line| line.split_once("] Listening on address "));
        let theirs: Vec<_> = log
            .map(|(_, address)| address.trim_end_matches('.'))
            .collect();
        if !theirs.is_empty() {
            assert_eq!(config.listen, theirs, "{name}");
            assert_eq!(config.control, Path::new(TMPDIR).join("ctl"), "{name}");
            assert_eq!(config.pidfile, Path::new(TMPDIR).join("pid"), "{name}");
        }
    }
    assert_eq!(resources, 13);
}

/// Base printed these to standard output, or nothing at all.
#[test]
fn what_base_swallowed_is_a_warning() {
    let table = [
        ("good-minimal", &[][..]),
        ("node-section-other-node", &[]),
        ("good-crlf", &["1:28: the line ends in CR LF"]),
        (
            "good-junk-chars-ignored",
            &[r#"7:7: `\"` means nothing"#, r#"7:22: `\";` means nothing"#],
        ),
        (
            "timeout-overflow",
            &["1:9: too large a number: 1215752191 is"],
        ),
        (
            "good-last-value-wins",
            &["1:9: has no effect: line 2 sets `timeout` again"],
        ),
        ("same-listen-twice", &["4:8: the same as in line 3"]),
        (
            "bad-listen-addr",
            &["3:8: this address will not work: `99999` is no port"],
        ),
        ("good-all-options", &["11:8: adds to `listen` in line 9"]),
    ];
    for (name, expected) in table {
        let warnings = load(name).unwrap().warnings;
        assert_eq!(warnings.len(), expected.len(), "{name}: {warnings:#?}");
        for (warning, expected) in warnings.iter().zip(expected) {
            let text = warning.to_string();
            let (_, text) = text.split_once("hast.conf:").unwrap();
            assert!(text.starts_with(expected), "{name}: {text}");
        }
    }
}
