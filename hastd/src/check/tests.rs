use super::*;
use crate::config::{Config, Source};
use hast_core::metadata::CreateOptions;
use hast_core::units::ResUid;
use std::fs::Permissions;
use std::path::PathBuf;

const SIZE: u64 = 64 << 20;

/// A folder with components, and a configuration that names them.
struct Host(tempfile::TempDir);

impl Host {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn component(&self, name: &str) -> Component {
        let file = fs::File::create(self.path(name)).unwrap();
        file.set_len(SIZE).unwrap();
        Component::open(&self.path(name), Access::ReadWrite).unwrap()
    }

    /// A component that was used.
    fn used(&self, file: &str, resource: &str) -> (Component, Metadata) {
        let component = self.component(file);
        let options = CreateOptions::default();
        let mut metadata = Metadata::create(resource, component.provider(), options).unwrap();
        metadata.resuid = ResUid::new(7);
        component.write_metadata(&metadata).unwrap();
        (component, metadata)
    }

    /// Findings of a text in which DIR is the folder.
    fn check(&self, text: &str) -> Report {
        let folder = self.0.path().to_str().unwrap();
        let text = text.replace("DIR", folder);
        let text = format!("control {folder}/c pidfile {folder}/p {text}");
        let source = Source::new("hast.conf".into(), text.into_bytes());
        let node = crate::config::Identity::node("a");
        let loaded = Config::parse(&source, None, &node).unwrap();
        check_with(&loaded, &|address| match address.host.as_str() {
            "unknown" => Err(io::Error::other("no such host")),
            _ => address.resolve(0),
        })
    }

    /// The same but for notes, one line each.
    fn complaints(&self, text: &str) -> Vec<String> {
        let mut findings = self.check(text).findings;
        findings.retain(|finding| finding.severity > Note);
        let folder = format!("{}/", self.0.path().display());
        let line = |finding: &Finding| {
            finding
                .to_string()
                .replace(&folder, "")
                .replace("\n    ", " | ")
        };
        findings.iter().map(line).collect()
    }
}

fn resource(name: &str, file: &str) -> String {
    format!("resource {name} {{ on a {{ local DIR/{file} remote 127.0.0.1 }} }} ")
}

#[test]
fn what_works_is_only_described() {
    let host = Host::new();
    host.used("disk", "data");
    let report = host.check(&resource("data", "disk"));
    let disk = host.path("disk");
    let expected = format!(
        "note: resource data: {}: a file of 67108864 bytes, sectors of 512\n",
        disk.display()
    );
    assert_eq!(report.to_string(), expected);
    assert!(!report.has_errors());
}

#[test]
fn each_way_a_component_can_be_wrong_is_found() {
    let host = Host::new();
    host.used("other", "log");
    host.component("new");
    fs::write(host.path("strange"), vec![0x5a; 8192]).unwrap();
    fs::write(host.path("short"), [0; 100]).unwrap();
    fs::create_dir(host.path("folder")).unwrap();
    host.used("shrunk", "data");
    let shrunk = fs::OpenOptions::new().write(true).open(host.path("shrunk"));
    shrunk.unwrap().set_len(SIZE / 2).unwrap();
    let table = [
        (
            "missing",
            "missing: cannot open the component: No such file or directory | create it, or correct `local`",
        ),
        (
            "folder",
            "folder: cannot open the component: a directory is neither a regular file nor a disk",
        ),
        ("new", "new: not initialised | run hastctl create data"),
        (
            "other",
            "other: belongs to resource log, not to data | correct `local` of one of them",
        ),
        (
            "strange",
            "strange: holds something other than metadata of HAST | if it is the right disk, and all on it may be lost, run hastctl create data",
        ),
        (
            "short",
            "short: fewer than 4096 bytes are too small for metadata | enlarge it, or correct `local`",
        ),
        (
            "shrunk",
            "shrunk: metadata of resource data do not fit the component: the data reaches beyond the provider | has it shrunk, or been taken for another?",
        ),
    ];
    for (file, expected) in table {
        let complaints = host.complaints(&resource("data", file));
        assert_eq!(complaints, [format!("error: resource data: {expected}")]);
    }
}

#[test]
fn one_component_of_two_resources_is_found_under_any_name() {
    let host = Host::new();
    host.used("disk", "data");
    std::os::unix::fs::symlink(host.path("disk"), host.path("link")).unwrap();
    let complaints = host.complaints(&(resource("data", "disk") + &resource("log", "link")));
    let expected = [
        "error: resource log: link: is the component of resource data, too | correct `local` of one: they destroy each other",
        "error: resource log: link: belongs to resource data, not to log | correct `local` of one of them",
    ];
    assert_eq!(complaints, expected);
}

#[test]
fn what_the_metadata_say_is_told() {
    let host = Host::new();
    let (component, mut metadata) = host.used("disk", "data");
    metadata.consistency = Consistency::Inconsistent;
    metadata.resuid = None;
    component.write_metadata(&metadata).unwrap();
    let file = fs::OpenOptions::new().write(true).open(host.path("disk"));
    file.unwrap().set_len(SIZE + (4 << 20)).unwrap();
    let report = host.check(&resource("data", "disk"));
    let text = report.to_string();
    for expected in [
        "note: resource data: ",
        "4194304 bytes behind the data are not used\n    create was given a size, or",
        "warning: resource data: ",
        "has not met the other node yet",
    ] {
        assert!(text.contains(expected), "{text}");
    }
    assert!(!report.has_errors());
}

#[test]
fn hooks_are_programs_that_not_everybody_can_write() {
    let host = Host::new();
    host.used("disk", "data");
    let text = format!("exec DIR/hook {}", resource("data", "disk"));
    let missing = host.complaints(&text);
    assert!(
        missing[0].starts_with("error: resource data: `exec` hook: No such file"),
        "{missing:?}"
    );
    fs::write(host.path("hook"), "#!/bin/sh\n").unwrap();
    let mode = |mode| {
        fs::set_permissions(host.path("hook"), Permissions::from_mode(mode)).unwrap();
        host.complaints(&text)
    };
    let plain = ["error: resource data: `exec` hook: is not executable | chmod +x hook"];
    assert_eq!(mode(0o600), plain);
    assert!(mode(0o755).is_empty());
    let open = [
        "warning: resource data: `exec` hook: everybody can write what hastd runs | chmod o-w hook",
    ];
    assert_eq!(mode(0o777), open);
    fs::remove_file(host.path("hook")).unwrap();
    fs::create_dir(host.path("hook")).unwrap();
    let folder = ["error: resource data: `exec` hook: is no file | name a program"];
    assert_eq!(host.complaints(&text), folder);
    fs::remove_dir(host.path("hook")).unwrap();
    let missing = host.complaints(&text).concat();
    let expected = "error: resource data: `exec` hook: No such file or directory | ";
    assert!(missing.starts_with(expected), "{missing}");
}

#[test]
fn addresses_must_be_some_and_fit() {
    let host = Host::new();
    host.used("disk", "data");
    let check = |remote: &str, rest: &str| {
        let block = resource("data", "disk").replace("127.0.0.1", remote);
        host.complaints(&format!("{block}{rest}"))
    };
    let table = [
        (
            check("10.0.0.1:0", ""),
            "error: resource data: `remote` 10.0.0.1:0: `0` is no port: it must be a number from 1 to 65535 | correct it",
        ),
        (
            check("unknown", ""),
            "error: resource data: `remote` unknown: no such host | enter the host in DNS or /etc/hosts, or give its IP address",
        ),
        (
            check("10.0.0.1 source ::1", ""),
            "error: resource data: `source` ::1 cannot connect to `remote` 10.0.0.1 | give both an IPv4 address, or both an IPv6 address",
        ),
        (
            check("none", "listen a:b"),
            "error: `listen` a:b: `b` is no port: it must be a number from 1 to 65535 | correct it",
        ),
        (
            check("none", "listen uds://DIR/x/y"),
            "error: `listen` x/y: there is no such folder | create x",
        ),
    ];
    for (complaints, expected) in table {
        assert_eq!(complaints, [expected]);
    }
    assert!(check("[::1]", "listen tcp4://127.0.0.1").is_empty());
    let twice = check("unknown", "listen unknown");
    assert_eq!(twice.len(), 1, "looked up and told once");
}

#[test]
fn the_daemon_s_files_have_a_place() {
    let host = Host::new();
    let complaints = host.complaints("control DIR/x/c");
    assert_eq!(
        complaints,
        ["error: `control` x/c: there is no such folder | create x"]
    );
}

#[test]
fn programs_read_json() {
    let host = Host::new();
    let report = host.check(&resource("data", "missing;"));
    let json: serde_json::Value = serde_json::from_str(&report.to_json()).unwrap();
    let finding = &json["findings"][0];
    assert_eq!(finding["severity"], "error");
    assert_eq!(finding["resource"], "data");
    assert_eq!(finding["todo"], "create it, or correct `local`");
    let warning = &json["warnings"][0];
    assert_eq!(
        (&warning["file"], &warning["line"]),
        (&"hast.conf".into(), &1.into())
    );
    assert!(report.has_errors());
}
