use super::*;
use crate::config::diagnostic::MOST_WARNINGS;
use crate::config::testing::{RESOURCE, nodea, parse_both};
use crate::config::{Resource, Settings, Word as _};
use hast_core::decision::OnImpossible;
use hast_core::payload::{Checksum, Compression};
use hast_core::primary::Replication;
use proptest::prelude::*;
use std::fmt::Write as _;
use std::time::Duration;

/// A folder with a configuration.
fn folder(text: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hast.conf");
    std::fs::write(&path, text).unwrap();
    (folder, path)
}

#[test]
fn files_are_read_and_what_fails_has_base_s_code() {
    let (folder, path) = folder(RESOURCE.as_bytes());
    let loaded = Config::load(&path, Accept::Streams, &nodea()).unwrap();
    assert_eq!(
        (loaded.path.as_path(), loaded.extra),
        (path.as_path(), None)
    );
    assert!(loaded.config.listen[0].ends_with(":8457"));

    let extra = folder.path().join("hast.conf.ext");
    std::fs::write(&extra, "controlmode 0660").unwrap();
    let loaded = Config::load(&path, Accept::Streams, &nodea()).unwrap();
    assert_eq!(
        (loaded.config.control_mode, loaded.extra.as_ref()),
        (0o660, Some(&extra))
    );

    // What is there and cannot be read is not the same as nothing.
    std::fs::remove_file(&extra).unwrap();
    std::fs::create_dir(&extra).unwrap();
    let unreadable = Config::load(&path, Accept::Streams, &nodea()).unwrap_err();
    let missing = Config::load(&folder.path().join("x"), Accept::Streams, &nodea()).unwrap_err();
    for (error, path) in [(unreadable, "hast.conf.ext"), (missing, "/x")] {
        assert_eq!(error.exit_code(), 72);
        assert!(error.to_string().contains(path), "{error}");
    }
}

#[test]
fn a_file_has_an_end() {
    let limit = LONGEST_FILE;
    let (_folder, path) = folder(&vec![b' '; limit]);
    Config::load(&path, Accept::Streams, &nodea()).unwrap();
    let (_folder, path) = folder(&vec![b' '; limit + 1]);
    let error = Config::load(&path, Accept::Streams, &nodea()).unwrap_err();
    assert_eq!(error.exit_code(), 78);
    assert!(error.to_string().contains("1048576"), "{error}");
    let error = Config::load(Path::new("/dev/zero"), Accept::Streams, &nodea()).unwrap_err();
    assert_eq!(error.exit_code(), 78);
}

/// Every line is worth a warning, and each names another line.
#[test]
fn the_worst_file_is_read_at_once() {
    let limit = LONGEST_FILE;
    for text in [
        "listen a\n",
        "timeout 1\n",
        ";\n",
        "on NODEA{}\n",
        "a;",
        "{",
    ] {
        let text = text.repeat(limit / text.len());
        let source = Source::new("c".into(), text.into_bytes());
        let began = std::time::Instant::now();
        if let Ok(loaded) = Config::parse(&source, None, &nodea()) {
            assert_eq!(loaded.warnings.len(), MOST_WARNINGS + 1);
        }
        assert!(began.elapsed() < Duration::from_secs(60), "quadratic");
    }
}

#[test]
fn a_last_line_without_newline_is_as_in_base_or_the_comment_it_was_meant_to_be() {
    let understood = |text: &str| {
        let text = RESOURCE.to_owned() + text;
        let source = Source::new("c".into(), text.into_bytes());
        let loaded = Config::parse(&source, None, &nodea()).unwrap();
        let timeout = loaded.config.resources[0].settings.timeout.as_secs();
        let places = loaded.warnings.iter().map(|w| (w.line, w.column));
        let message = loaded.warnings.last().unwrap().message.clone();
        (timeout, places.collect::<Vec<_>>(), message)
    };
    let (timeout, places, message) = understood("checksum none # timeout 6");
    assert_eq!((timeout, places), (6, vec![(2, 15)]));
    assert!(message.contains("counts as configuration"), "{message}");
    for comment in ["# the end", "# timeout 0", "# resource data {}", "# {"] {
        let (timeout, places, message) = understood(&format!("timeout 5;\n{comment}"));
        assert_eq!((timeout, places), (5, vec![(2, 10), (3, 1)]));
        assert!(message.contains("makes base refuse"), "{message}");
    }
    let source = Source::new("c".into(), b"foo # timeout 5".to_vec());
    let error = Config::parse(&source, None, &nodea()).unwrap_err();
    assert!(error.to_string().starts_with("c:1:1: `foo`"), "{error}");
}

/// `-c /dev/stdin`.
#[test]
fn a_pipe_is_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("pipe");
    nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let writer = std::thread::spawn({
        let path = path.clone();
        move || std::fs::write(path, RESOURCE).unwrap()
    });
    let loaded = Config::load(&path, Accept::Streams, &nodea()).unwrap();
    writer.join().unwrap();
    assert_eq!(loaded.config.resources[0].name, "data");
}

#[test]
fn a_system_without_a_family_does_not_listen_on_it() {
    let listen = |can: fn(AddressFamily) -> bool| default_listen(can);
    let both = listen(|_| true).unwrap();
    assert_eq!(both, ["tcp4://0.0.0.0:8457", "tcp6://[::]:8457"]);
    let one = listen(|family| family == AddressFamily::Inet6).unwrap();
    assert_eq!(one, ["tcp6://[::]:8457"]);
    assert_eq!(listen(|_| false).unwrap_err().exit_code(), 75);
}

/// hast.conf and CONFIG.ext that say what a configuration says.
fn print(config: &Config) -> (String, String) {
    let (mut text, mut extra) = (String::new(), String::new());
    writeln!(text, "control {}", config.control.display()).unwrap();
    writeln!(text, "pidfile {}", config.pidfile.display()).unwrap();
    writeln!(extra, "controlmode 0{:o}", config.control_mode).unwrap();
    for address in &config.listen {
        writeln!(text, "listen {address}").unwrap();
    }
    for r in &config.resources {
        let Settings {
            replication,
            checksum,
            compression,
            timeout,
            metaflush,
        } = &r.settings;
        let exec = r
            .exec
            .as_ref()
            .map(|path| format!("exec {}", path.display()));
        let source = r.source.as_ref().map(|address| format!("source {address}"));
        let remote = r.remote.as_deref().unwrap_or("none");
        let metaflush = if *metaflush { "on" } else { "off" };
        writeln!(
            text,
            "resource {} {{ replication {} checksum {} compression {} timeout {} {} name {} \
             on nodea {{ local {} remote {remote} {} metaflush {metaflush} }} }}",
            r.name,
            replication.word(),
            checksum.word(),
            compression.word(),
            timeout.as_secs(),
            exec.unwrap_or_default(),
            r.provider,
            r.local.display(),
            source.unwrap_or_default(),
        )
        .unwrap();
        let on_impossible = match r.on_impossible {
            OnImpossible::Stop => "stop",
            OnImpossible::Base => "base",
        };
        let (name, memory) = (&r.name, r.memory);
        writeln!(
            extra,
            "resource {name} {{ memory {memory} on-impossible {on_impossible} }}"
        )
        .unwrap();
    }
    (text, extra)
}

/// A word that is neither a keyword nor a number.
const WORD: &str = "_[A-Za-z0-9._/:\\[\\]-]{0,20}";

fn any_resource() -> impl Strategy<Value = Resource> {
    let option = |pattern| prop::option::of(pattern);
    let settings = (
        prop::sample::select(vec![
            Replication::Fullsync,
            Replication::Memsync,
            Replication::Async,
        ]),
        prop::sample::select(Checksum::ALL.to_vec()),
        prop::sample::select(Compression::ALL.to_vec()),
        1..=i32::MAX.unsigned_abs(),
        any::<bool>(),
    );
    let on_impossible = prop::sample::select(vec![OnImpossible::Stop, OnImpossible::Base]);
    let memory = crate::config::LEAST_MEMORY..=crate::config::MOST_MEMORY;
    let words = (WORD, WORD, WORD, option(WORD), option(WORD), option(WORD));
    (words, settings, on_impossible, memory).prop_map(
        |((name, provider, local, remote, source, exec), settings, on_impossible, memory)| {
            let (replication, checksum, compression, timeout, metaflush) = settings;
            Resource {
                name,
                provider,
                local: local.into(),
                remote,
                source,
                exec: exec.map(PathBuf::from),
                settings: Settings {
                    replication,
                    checksum,
                    compression,
                    timeout: Duration::from_secs(timeout.into()),
                    metaflush,
                },
                on_impossible,
                memory,
            }
        },
    )
}

fn any_config() -> impl Strategy<Value = Config> {
    let resources = prop::collection::btree_map(WORD, any_resource(), 0..6);
    let listen = prop::collection::vec(WORD, 0..4);
    ("/[a-z/]{1,50}", 0u32..=0o777, WORD, listen, resources).prop_map(
        |(control, control_mode, pidfile, listen, resources)| Config {
            control: control.into(),
            control_mode,
            pidfile: pidfile.into(),
            listen,
            resources: resources
                .into_iter()
                .map(|(name, resource)| Resource { name, ..resource })
                .collect(),
        },
    )
}

/// Bytes and words of the language, in any order.
fn any_text() -> impl Strategy<Value = Vec<u8>> {
    let words =
        "(resource|on|nodea|local|remote|none|timeout|0|4294967297|listen|[{}#;\"\n ]|a|/b) ?";
    let piece = prop_oneof![
        8 => words.prop_map(String::into_bytes),
        1 => prop::collection::vec(any::<u8>(), 0..4),
    ];
    prop::collection::vec(piece, 0..60).prop_map(|pieces| pieces.concat())
}

proptest! {
    #[test]
    fn a_configuration_that_is_printed_is_read(config in any_config()) {
        let (text, extra) = print(&config);
        let loaded = parse_both(&text, &extra).unwrap();
        prop_assert_eq!(loaded.config, config);
    }

    #[test]
    fn every_file_is_a_configuration_or_has_a_mistake_at_a_place(text in any_text(), extra in any_text()) {
        let lines = |text: &[u8]| text.split(|byte| *byte == b'\n').count();
        let lines = lines(&text).max(lines(&extra));
        let main = Source::new("c".into(), text);
        let extra = Source::new("c.ext".into(), extra);
        for extra in [None, Some(&extra)] {
            let said = match Config::parse(&main, extra, &nodea()) {
                Ok(loaded) => loaded.warnings,
                Err(ConfigError::Invalid(error)) => vec![*error],
                Err(error) => panic!("{error}"),
            };
            for diagnostic in said {
                prop_assert!((1..=lines).contains(&diagnostic.line) && diagnostic.column > 0);
                let text = diagnostic.to_string();
                prop_assert_eq!(text.lines().count(), 3);
                prop_assert!(text.ends_with('^'));
            }
        }
    }
}
