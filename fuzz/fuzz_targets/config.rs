//! hast.conf and, behind a record separator, CONFIG.ext: any bytes are a
//! configuration or a mistake with its place.
#![no_main]

use hast::config::address::Address;
use hast::config::{Config, ConfigError, Diagnostic, Identity, Source};
use libfuzzer_sys::fuzz_target;

const SEPARATOR: u8 = 0x1e;

fuzz_target!(|input: &[u8]| {
    let mut files = input.splitn(2, |byte| *byte == SEPARATOR);
    let main = files.next().unwrap_or_default();
    let extra = files.next();
    let node = Identity {
        hostname: "nodea.example.org".into(),
        uuid: Some("8a7b6c5d-0000-1111-2222-333344445555".into()),
        hostid: Some(12345),
    };
    let source = |path: &str, text: &[u8]| Source::new(path.into(), text.to_vec());
    let main_source = source("hast.conf", main);
    let extra_source = extra.map(|text| source("hast.conf.ext", text));
    match Config::parse(&main_source, extra_source.as_ref(), &node) {
        Ok(loaded) => {
            for resource in &loaded.config.resources {
                assert!((1..=254).contains(&resource.name.len()));
                assert!((1..=254).contains(&resource.provider.len()));
                assert!(!resource.settings.timeout.is_zero());
                let addresses = [&resource.remote, &resource.source];
                for address in addresses.into_iter().flatten() {
                    if let Ok(address) = Address::parse(address) {
                        assert_eq!(Address::parse(&address.to_string()), Ok(address));
                    }
                }
            }
            for warning in &loaded.warnings {
                check(warning, main, extra);
            }
        }
        Err(ConfigError::Invalid(error)) => check(&error, main, extra),
        Err(error) => panic!("{error}"),
    }
});

/// The place exists, and nothing in the message commands a terminal.
fn check(diagnostic: &Diagnostic, main: &[u8], extra: Option<&[u8]>) {
    let text = match diagnostic.file.as_str() {
        "hast.conf" => main,
        _ => extra.unwrap(),
    };
    let line = text.split(|byte| *byte == b'\n').nth(diagnostic.line - 1);
    assert!((1..=line.unwrap().len() + 1).contains(&diagnostic.column));
    let shown = diagnostic.to_string();
    let lines: Vec<&str> = shown.split('\n').collect();
    assert!(lines.len() == 3 && lines[2].trim_start().starts_with('^'));
    assert!(!shown.chars().any(|c| c.is_control() && c != '\n'));
}
