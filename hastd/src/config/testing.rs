//! What the tests of this folder share.

use super::{Config, ConfigError, Diagnostic, Identity, Loaded, Source};

/// A resource of node a.
pub(super) const RESOURCE: &str = "resource data { on nodea { remote 10.0.0.2 local /dev/da0 } }\n";

pub(super) fn nodea() -> Identity {
    Identity {
        hostname: "nodea.example.org".into(),
        uuid: Some("8a7b6c5d-0000-1111-2222-333344445555".into()),
        hostid: Some(12345),
    }
}

pub(super) fn parse(text: &str) -> Result<Loaded, ConfigError> {
    let source = Source::new("c".into(), text.into());
    Config::parse(&source, None, &nodea())
}

/// With `CONFIG.ext`.
pub(super) fn parse_both(text: &str, extra: &str) -> Result<Loaded, ConfigError> {
    let source = Source::new("c".into(), text.into());
    let extra = Source::new("c.ext".into(), extra.into());
    Config::parse(&source, Some(&extra), &nodea())
}

/// The first line of what is said, behind the file's name.
pub(super) fn headline(diagnostic: &Diagnostic) -> String {
    let text = diagnostic.to_string();
    text.lines().next().unwrap().to_owned()
}

pub(super) fn error(text: &str) -> String {
    match parse(text).unwrap_err() {
        ConfigError::Invalid(error) => headline(&error),
        other => other.to_string(),
    }
}

pub(super) fn warnings(loaded: &Loaded) -> Vec<String> {
    loaded.warnings.iter().map(headline).collect()
}
