use super::*;
use proptest::prelude::*;

/// A name service with one host.
fn resolve(name: &str) -> io::Result<Vec<IpAddr>> {
    match name {
        "peer" => Ok(vec![ip("10.0.0.5"), ip("2001:db8::5"), ip("10.0.0.5")]),
        _ => Err(io::ErrorKind::NotFound.into()),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn parse(text: &str) -> Result<Exports, ExportsError> {
    Exports::parse(text.as_bytes(), &resolve)
}

fn path(text: &str) -> ExportPath {
    ExportPath::new(text).unwrap()
}

fn mistake(text: &str) -> (usize, usize, Mistake) {
    match parse(text) {
        Err(ExportsError::Line {
            line,
            column,
            mistake,
        }) => (line, column, mistake),
        other => panic!("{other:?}"),
    }
}

fn one(text: &str) -> Export {
    let exports = parse(text).unwrap();
    assert_eq!(exports.iter().len(), 1);
    exports.iter().next().unwrap().clone()
}

#[test]
fn the_last_line_that_fits_decides() {
    let exports = parse(
        "10.0.0.0/8 RW /dev/da0\n\
         10.1.0.0/16 RO /dev/da0\n\
         10.1.2.3 WO /dev/da1\n",
    )
    .unwrap();
    let access = |client, name| exports.find(ip(client), &path(name)).map(|e| e.access);
    assert_eq!(access("10.1.2.3", "/dev/da0"), Some(Access::ReadOnly));
    assert_eq!(access("10.2.0.1", "/dev/da0"), Some(Access::ReadWrite));
    assert_eq!(access("10.1.2.3", "/dev/da1"), Some(Access::WriteOnly));
    assert_eq!(access("10.1.2.4", "/dev/da1"), None);
    assert_eq!(access("10.1.2.3", "/dev//da1"), None);
    assert_eq!(
        access("::ffff:10.1.2.3", "/dev/da1"),
        Some(Access::WriteOnly)
    );
    assert!(exports.knows(ip("10.200.0.1")));
    assert!(!exports.knows(ip("11.0.0.1")));
}

#[test]
fn blank_lines_and_comments_are_skipped() {
    let text = "\n \t \n# one\n  \t# 10.0.0.1 RW /x\n10.0.0.1\tRW \t/x";
    assert_eq!(one(text).path, path("/x"));
    assert_eq!(parse(" \n#x\n\n"), Err(ExportsError::Empty));
    assert_eq!(parse(""), Err(ExportsError::Empty));
}

#[test]
fn access_words_are_lists_in_any_case() {
    let direct = |word: &str| one(&format!("10.0.0.1 {word} /x")).direct;
    let access = |word: &str| one(&format!("10.0.0.1 {word} /x")).access;
    assert_eq!(access("rd"), Access::ReadOnly);
    assert_eq!(access("Wo"), Access::WriteOnly);
    assert_eq!(access("ro,rw"), Access::ReadWrite);
    assert_eq!(direct("RW"), None);
    assert_eq!(direct("rw,DIRECT"), Some(true));
    assert_eq!(direct("direct,rw,nodirect"), Some(false));
}

#[test]
fn clients_are_networks_or_names_with_all_their_addresses() {
    let clients = |word: &str| {
        let text = format!("{word} RW /x");
        let clients = one(&text).clients;
        clients.iter().map(Network::to_string).collect::<Vec<_>>()
    };
    assert_eq!(clients("10.0.0.1"), ["10.0.0.1/32"]);
    assert_eq!(clients("::1"), ["::1/128"]);
    assert_eq!(clients("2001:db8::/32"), ["2001:db8::/32"]);
    assert_eq!(clients("peer"), ["10.0.0.5/32", "2001:db8::5/128"]);
    assert_eq!(clients("peer/24"), ["10.0.0.5/24"]);
    assert_eq!(clients("peer/64"), ["2001:db8::5/64"]);
    assert_eq!(clients("255.255.255.255"), ["255.255.255.255/32"]);
    let all = one("0.0.0.0/0 RO /x");
    assert!(all.clients[0].contains(ip("192.0.2.1")));
    assert!(!all.clients[0].contains(ip("2001:db8::1")));
}

#[test]
fn mistakes_are_told_with_their_place() {
    let long = format!("# fine\n10.0.0.1 RW /{}", "x".repeat(2047));
    for (text, line, column, expected) in [
        ("10.0.0.1 RW", 1, 12, Mistake::TooFew),
        (
            "10.0.0.1 RW /x\n\n 10.0.0.1 RW /x y",
            3,
            17,
            Mistake::TooMany,
        ),
        ("10.0.0.1/33 RW /x", 1, 10, Mistake::Prefix(32)),
        ("10.0.0.1/abc RW /x", 1, 10, Mistake::Prefix(32)),
        ("10.0.0.1/ RW /x", 1, 10, Mistake::Prefix(32)),
        ("10.0.0.1/+8 RW /x", 1, 10, Mistake::Prefix(32)),
        ("::/129 RW /x", 1, 4, Mistake::Prefix(128)),
        ("nobody RW /x", 1, 1, Mistake::Client("nobody".into())),
        ("/8 RW /x", 1, 1, Mistake::Client(String::new())),
        ("10.0.0.1 ro,xx /x", 1, 13, Mistake::Flag("xx".into())),
        ("10.0.0.1 ro, /x", 1, 13, Mistake::Flag(String::new())),
        ("10.0.0.1  direct /x", 1, 11, Mistake::NoAccess),
        ("10.0.0.1 ro a\0b", 1, 13, Mistake::Path(PathError::Nul)),
        (&long, 2, 2048, Mistake::TooLong),
    ] {
        assert_eq!(mistake(text), (line, column, expected), "{text:?}");
    }
    let path = format!("10.0.0.1 RW {}", "x".repeat(1024));
    assert_eq!(mistake(&path).2, Mistake::Path(PathError::TooLong));
}

#[test]
fn access_is_granted_as_in_base_s_table() {
    use Access::{ReadOnly, ReadWrite, WriteOnly};
    for (exported, allowed) in [
        ("ro", &[ReadOnly][..]),
        ("wo", &[WriteOnly]),
        ("rw", &[ReadOnly, WriteOnly, ReadWrite]),
    ] {
        let export = one(&format!("10.0.0.1 {exported} /x"));
        for asked in [ReadOnly, WriteOnly, ReadWrite] {
            let granted = export.grant(asked, false);
            assert_eq!(granted.is_some(), allowed.contains(&asked));
            assert!(granted.is_none_or(|options| options.access == asked));
        }
    }
}

#[test]
fn direct_is_the_export_s_choice_first() {
    for (word, asked, used) in [
        ("rw", false, false),
        ("rw", true, true),
        ("rw,direct", false, true),
        ("rw,nodirect", true, false),
    ] {
        let export = one(&format!("10.0.0.1 {word} /x"));
        let options = export.grant(Access::ReadWrite, asked).unwrap();
        assert_eq!(options.direct, used, "{word}");
    }
}

proptest! {
    #[test]
    fn any_file_is_parsed_or_refused(text: Vec<u8>) {
        let _ = Exports::parse(&text, &resolve);
    }

    #[test]
    fn lines_of_plausible_words_are_parsed_or_refused(
        text in "([0-9./:a-f]{0,12}[ \t]+(ro|RW|wo|direct|,){0,3}[ \t]+/[a-z]{0,5}\n?){0,4}",
    ) {
        let _ = Exports::parse(text.as_bytes(), &resolve);
    }

    #[test]
    fn networks_agree_with_comparing_bits(a: u32, b: u32, prefix in 0_u8..=32) {
        let network = Network { address: IpAddr::from(a.to_be_bytes()), prefix };
        let same = (0..prefix).all(|bit| (a ^ b) & (0x8000_0000 >> bit) == 0);
        prop_assert_eq!(network.contains(IpAddr::from(b.to_be_bytes())), same);
    }
}
