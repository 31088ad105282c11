use super::number;
use crate::config::testing::{RESOURCE, error, parse, warnings};
use crate::config::{Config, DEFAULT_MEMORY, Resource, Settings};
use hast_core::decision::OnImpossible;
use hast_core::payload::{Checksum, Compression};
use hast_core::primary::Replication;
use std::time::Duration;

fn resource(text: &str) -> Resource {
    parse(text).unwrap().config.resources.remove(0)
}

#[test]
fn what_is_not_said_has_base_s_defaults() {
    let config = parse(RESOURCE).unwrap().config;
    let expected = Config {
        control: "/var/run/hastctl".into(),
        control_mode: 0o600,
        pidfile: "/var/run/hastd.pid".into(),
        listen: vec![],
        resources: vec![Resource {
            name: "data".into(),
            provider: "data".into(),
            local: "/dev/da0".into(),
            remote: Some("10.0.0.2".into()),
            source: None,
            exec: None,
            settings: Settings {
                replication: Replication::Memsync,
                checksum: Checksum::None,
                compression: Compression::Hole,
                timeout: Duration::from_secs(20),
                metaflush: true,
            },
            on_impossible: OnImpossible::Stop,
            memory: DEFAULT_MEMORY,
        }],
    };
    assert_eq!(config, expected);
    assert_eq!(parse("").unwrap().config.resources, []);
}

#[test]
fn the_innermost_value_counts_wherever_it_stands() {
    let own_first = "on nodea { control /own pidfile /own } control /all pidfile /all";
    let config = parse(own_first).unwrap().config;
    assert_eq!(config.control.to_str(), Some("/own"));
    assert_eq!(config.pidfile.to_str(), Some("/own"));

    let merged = resource(
        "resource data { on nodea { local /own name own metaflush on remote none } \
         name all local /all metaflush off timeout 7 } timeout 5 metaflush off exec /hook",
    );
    assert_eq!(merged.local.to_str(), Some("/own"));
    assert_eq!((merged.provider.as_str(), merged.remote), ("own", None));
    assert!(merged.settings.metaflush);
    assert_eq!(merged.settings.timeout, Duration::from_secs(7));
    assert_eq!(merged.exec.unwrap().to_str(), Some("/hook"));

    let global_later = resource(&format!("{RESOURCE} timeout 3"));
    assert_eq!(global_later.settings.timeout, Duration::from_secs(3));
}

#[test]
fn blocks_of_other_nodes_are_not_even_looked_at() {
    let long = "x".repeat(2000);
    let text = format!(
        "on nodeb {{ control {long} pidfile {long} }} \
         resource data {{ on nodeb {{ name {long} local {long} remote {long} }} \
         on nodea {{ remote a local /b }} }}"
    );
    let loaded = parse(&text).unwrap();
    assert_eq!(loaded.config.control.to_str(), Some("/var/run/hastctl"));
    assert!(warnings(&loaded).is_empty());
    // But for this one.
    let error = error(&format!("on nodeb {{ listen {long} }}"));
    assert!(
        error.starts_with("c:1:19: `listen` has 2000 bytes"),
        "{error}"
    );
}

#[test]
fn listen_accumulates() {
    let text = "listen a on nodea { listen b listen c } listen d on nodeb { listen e }";
    let loaded = parse(text).unwrap();
    assert_eq!(loaded.config.listen, ["a", "b", "c", "d"]);
    let warnings = warnings(&loaded);
    assert_eq!(
        warnings,
        ["c:1:28: adds to `listen` in line 1 and does not replace it"]
    );
}

#[test]
fn errors_say_where_and_what_to_do() {
    let name = |length| "n".repeat(length);
    let block = |inner: &str| format!("resource data {{ {inner} }}");
    let table = [
        (
            block(""),
            "c:1:10: resource data has no `on` block for this node, which goes by nodea, nodea.example.org, 8a7b6c5d-0000-1111-2222-333344445555, hostid12345: add one",
        ),
        (
            block("on NodeA {}"),
            "c:1:10: resource data has no `on` block for this node, which goes by nodea, nodea.example.org, 8a7b6c5d-0000-1111-2222-333344445555, hostid12345: write its name in that case",
        ),
        (
            block("on nodea { local /a }"),
            "c:1:10: resource data has no `remote` (the other node's address, or none) for this node",
        ),
        (
            block("on nodea { remote a }"),
            "c:1:10: resource data has no `local` (the path of its component) for this node",
        ),
        (
            format!("{RESOURCE}{RESOURCE}"),
            "c:2:10: resource data is in line 1 already: remove one of them",
        ),
        (
            format!("resource {} {{}}", name(255)),
            "c:1:10: `resource` has 255 bytes, and 254 at most are possible",
        ),
        (
            block(&format!("name {}", name(1024))),
            "c:1:22: `name` has 1024 bytes, and 1023 at most are possible",
        ),
        (
            block(&format!("on nodea {{ name {} }}", name(255))),
            "c:1:33: `name` has 255 bytes, and 254 at most are possible",
        ),
        (
            format!("exec /{}", name(1023)),
            "c:1:6: `exec` has 1024 bytes, and 1023 at most are possible",
        ),
        (
            "timeout 0".into(),
            "c:1:9: a timeout of 0 seconds is impossible: use 1 or more",
        ),
        (
            "timeout 00".into(),
            "c:1:9: a timeout of 0 seconds is impossible: use 1 or more",
        ),
        (
            "timeout 4294967296".into(),
            "c:1:9: a timeout of 0 seconds, which base takes it for, is impossible: use 1 or more",
        ),
        (
            "timeout 2147483648".into(),
            "c:1:9: a timeout of -2147483648 seconds, which base takes it for, is impossible: use 1 or more",
        ),
        (
            "control tcp://127.0.0.1".into(),
            "c:1:9: hastd takes orders over a UNIX socket only: give its path, as in uds:///var/run/hastctl",
        ),
        (
            "control hastctl".into(),
            "c:1:9: hastd takes orders over a UNIX socket only: give its path, as in uds:///var/run/hastctl",
        ),
        (
            format!("control /{}", name(103)),
            "c:1:9: the path has 104 bytes; a UNIX socket can have 103",
        ),
    ];
    for (text, expected) in table {
        assert_eq!(error(&text), expected, "{text}");
        assert_eq!(parse(&text).unwrap_err().exit_code(), 78);
    }
}

#[test]
fn only_the_control_socket_that_counts_must_be_one() {
    assert!(parse("control tcp://a on nodea { control /b }").is_ok());
    assert!(parse("on nodeb { control tcp://a }").is_ok());
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let resource = |name: &str, inner: &str| {
        format!("resource {name} {{ on nodea {{ remote none local /{name} {inner} }} }}\n")
    };
    let long = "n".repeat(300);
    let table = [
        (
            "timeout 4294967297".into(),
            "c:1:9: too large a number: 1 is what is left of it",
        ),
        (
            "pidfile run/pid".into(),
            "c:1:9: begins with no `/`: what it names depends on where programs are started",
        ),
        (
            "pidfile /a\npidfile /b".into(),
            "c:1:9: has no effect: line 2 sets `pidfile` again",
        ),
        (
            "on NODEA {}".into(),
            "c:1:4: this node is nodea.example.org: the block is ignored, case matters",
        ),
        (
            resource("a", "") + &resource("b", "local /a").replace("local /b", ""),
            "c:2:44: the component of resource a, too: they destroy each other",
        ),
        (
            resource("a", "") + &resource("b", "name a"),
            "c:2:10: has the provider hast/a, as resource a: only one can be primary",
        ),
        (
            resource("a", "} on nodea.example.org {"),
            "c:1:51: is this node, too, as in line 1: the last values count",
        ),
        (
            resource("a", "source tcp4://::1"),
            "c:1:53: this address will not work: ::1 is not of the family that the address begins with",
        ),
        (
            format!("resource a {{ name {long} on nodea {{ remote none local /a }} }}"),
            "c:1:19: too long: the provider's name is the first 254 bytes",
        ),
        (
            resource("all", ""),
            "c:1:10: hastctl takes `all` for every resource: give it another name",
        ),
    ];
    for (text, expected) in table {
        let loaded = parse(&text).unwrap();
        assert_eq!(warnings(&loaded), [expected], "{text}");
    }
}

#[test]
fn a_node_that_would_connect_to_itself_is_a_warning() {
    let warned = |listen: &str, remote: &str| {
        let text =
            format!("listen {listen}\nresource data {{ on nodea {{ remote {remote} local /a }} }}");
        warnings(&parse(&text).unwrap())
    };
    let message = "this node listens there itself, by line 1: give the other node's address";
    for (listen, remote) in [
        ("10.0.0.1", "10.0.0.1"),
        ("10.0.0.1", "tcp4://10.0.0.1:8457"),
        ("tcp6://[2001:db8::1]:9", "[2001:DB8:0::1]:9"),
        ("NodeA:9", "tcp://nodea:9"),
        ("uds:///run/a", "/run/a"),
    ] {
        let expected = format!("c:2:35: {message}");
        assert_eq!(warned(listen, remote), [expected], "{listen} {remote}");
    }
    for (listen, remote) in [
        ("10.0.0.1", "10.0.0.2"),
        ("10.0.0.1", "10.0.0.1:8458"),
        ("0.0.0.0", "none"),
        ("/run/a", "/run/b"),
    ] {
        assert!(warned(listen, remote).is_empty(), "{listen} {remote}");
    }
    // The other node's own, in the same file.
    let text = format!("on nodeb {{ listen 10.0.0.2 }}\n{RESOURCE}");
    assert!(warnings(&parse(&text).unwrap()).is_empty());
}

#[test]
fn a_name_shared_by_all_nodes_is_cut_as_in_base() {
    let text = format!(
        "resource a {{ name {} on nodea {{ remote none local /a }} }}",
        "n".repeat(300)
    );
    assert_eq!(resource(&text).provider, "n".repeat(254));
}

#[test]
fn numbers_wrap_as_in_base() {
    let table = [
        ("0", 0),
        ("007", 7),
        ("2147483647", i32::MAX),
        ("2147483648", i32::MIN),
        ("4294967295", -1),
        ("4294967296", 0),
        ("4294967297", 1),
        ("99999999999", 1_215_752_191),
        ("9223372036854775807", -1),
        ("9223372036854775808", -1),
        ("99999999999999999999999", -1),
    ];
    for (digits, value) in table {
        assert_eq!(number(digits), value, "{digits}");
    }
}
