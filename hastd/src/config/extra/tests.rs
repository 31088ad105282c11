use crate::config::testing::{RESOURCE, headline, parse_both, warnings};
use crate::config::{ConfigError, Identity};
use hast_core::decision::OnImpossible;

#[test]
fn our_settings_are_in_a_file_of_their_own() {
    let two = RESOURCE.to_owned() + &RESOURCE.replace("data", "log").replace("da0", "da1");
    let extra =
        "resource log { memory 16M on-impossible base }\ncontrolmode 0660 memory 1g # all\n";
    let loaded = parse_both(&two, extra).unwrap();
    let config = loaded.config;
    assert_eq!(config.control_mode, 0o660);
    let of = |n: usize| {
        (
            config.resources[n].memory,
            config.resources[n].on_impossible,
        )
    };
    assert_eq!(of(0), (1 << 30, OnImpossible::Stop));
    assert_eq!(of(1), (16 << 20, OnImpossible::Base));
    assert_eq!(loaded.extra.unwrap().to_str(), Some("c.ext"));
    assert!(loaded.warnings.is_empty());
}

#[test]
fn a_node_can_be_named() {
    let text =
        "resource data { on second { remote none local /b } on nodea { remote none local /a } }";
    let loaded = parse_both(text, "node second").unwrap();
    assert_eq!(loaded.config.resources[0].local.to_str(), Some("/b"));
    assert_eq!(loaded.node, Identity::node("second"));
    let error = parse_both(text, "node third").unwrap_err();
    assert!(
        error.to_string().contains("goes by third: add one"),
        "{error}"
    );
}

#[test]
fn mistakes_in_our_settings_have_their_place() {
    let table = [
        (
            "resource other {}",
            "c.ext:1:10: resource other is not in the configuration: remove the block",
        ),
        (
            "controlmode 0680",
            "c.ext:1:13: a mode has octal digits and is at most 0777, like 0660",
        ),
        (
            "controlmode 1777",
            "c.ext:1:13: a mode has octal digits and is at most 0777, like 0660",
        ),
        (
            "memory 1",
            "c.ext:1:8: `memory` is a number of bytes, perhaps with k, m or g behind it, from 8m to 64g",
        ),
        (
            "memory 9mb",
            "c.ext:1:8: `memory` is a number of bytes, perhaps with k, m or g behind it, from 8m to 64g",
        ),
        (
            "memory 99999999999999999999g",
            "c.ext:1:8: `memory` is a number of bytes, perhaps with k, m or g behind it, from 8m to 64g",
        ),
        (
            "memory x",
            "c.ext:1:8: `memory` needs a number of bytes, perhaps with k, m or g behind it, not `x`",
        ),
        (
            "resource data { on-impossible yes }",
            "c.ext:1:31: `on-impossible` needs one of stop, base, not `yes`",
        ),
        (
            "resource data { node x }",
            "c.ext:1:17: `node` cannot stand in `resource`: it belongs at the top",
        ),
    ];
    for (extra, expected) in table {
        let error = parse_both(RESOURCE, extra).unwrap_err();
        assert_eq!(error.exit_code(), 78);
        let ConfigError::Invalid(error) = error else {
            panic!("{error}");
        };
        assert_eq!(headline(&error), expected, "{extra}");
    }
    let extra =
        "controlmode 666\ncontrolmode 622 resource data {}; resource data { memory 8m memory 9m }";
    let loaded = parse_both(RESOURCE, extra).unwrap();
    let expected = [
        "c.ext:1:13: line 2 has `controlmode` again: the last values count",
        "c.ext:1:13: every user of this machine may then change roles",
        "c.ext:2:13: every user of this machine may then change roles",
        "c.ext:2:26: line 2 has `resource` again: the last values count",
        "c.ext:2:33: `;` means nothing and is ignored",
        "c.ext:2:58: line 2 has `memory` again: the last values count",
    ];
    let warnings = warnings(&loaded);
    assert_eq!(warnings.len(), expected.len(), "{warnings:#?}");
    for (warning, expected) in warnings.iter().zip(expected) {
        assert!(warning.starts_with(expected), "{warning}");
    }
    assert_eq!(loaded.config.resources[0].memory, 9 << 20);
}
