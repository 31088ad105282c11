use super::*;
use proptest::prelude::*;

const FORCE: Flag = Flag::switch('f', "force").only_in(&["destroy"]);
const VERBOSE: Flag = Flag::switch('v', "verbose");
const NODELAY: Flag = Flag::switch('n', "nodelay").only_in(&["create"]);
const PORT: Flag = Flag::value('p', "port").only_in(&["create"]);
const UNIT: Flag = Flag::value('u', "unit");

static PROGRAM: Program = Program {
    name: "prog",
    usage: "usage: prog\n",
    usage_status: 1,
    subcommands: &["create", "destroy"],
    flags: &[FORCE, VERBOSE, NODELAY, PORT, UNIT],
};

fn args(line: &str) -> Vec<OsString> {
    line.split_whitespace().map(OsString::from).collect()
}

fn parse(line: &str) -> Result<Parsed, CliError> {
    PROGRAM.parse(args(line))
}

fn subcommand(line: &str) -> Result<(&'static str, Parsed), CliError> {
    PROGRAM.parse_subcommand(args(line))
}

fn complaint(error: CliError) -> String {
    match error {
        CliError::Usage { complaint, .. } => complaint.unwrap_or_default(),
        CliError::Invalid { message, .. } => panic!("no usage: {message}"),
    }
}

#[test]
fn switches_cluster_and_the_last_of_a_cluster_may_take_a_value() {
    for line in ["-nvp3080", "-nv -p3080", "-n -v -p 3080", "-nvp 3080"] {
        let parsed = parse(line).unwrap();
        assert!(parsed.given(&NODELAY) && parsed.given(&VERBOSE), "{line}");
        assert_eq!(parsed.number(&PORT, 1..=u16::MAX), Ok(Some(3080)), "{line}");
    }
}

#[test]
fn the_last_value_wins_and_all_are_there() {
    let parsed = parse("-u 1 -u 2 -vvv").unwrap();
    assert_eq!(parsed.value(&UNIT), Some(OsStr::new("2")));
    assert_eq!(parsed.values(&UNIT).count(), 2);
    assert_eq!(parsed.count(&VERBOSE), 3);
}

#[test]
fn a_value_may_look_like_an_option() {
    assert_eq!(parse("-u -v").unwrap().value(&UNIT), Some(OsStr::new("-v")));
    assert_eq!(parse("-u --").unwrap().value(&UNIT), Some(OsStr::new("--")));
    assert_eq!(parse("-u-1").unwrap().value(&UNIT), Some(OsStr::new("-1")));
}

#[test]
fn options_end_at_the_first_operand_or_at_two_dashes() {
    let parsed = parse("-v host -n -x -- path").unwrap();
    assert!(!parsed.given(&NODELAY));
    assert_eq!(parsed.operands(), ["host", "-n", "-x", "--", "path"]);
    assert_eq!(parse("-v -- -n").unwrap().operands(), ["-n"]);
    assert_eq!(parse("- -n").unwrap().operands(), ["-", "-n"]);
}

#[test]
fn an_unknown_option_is_named_wherever_it_stands() {
    for (line, letter) in [
        ("-x", 'x'),
        ("-vx", 'x'),
        ("-v -xu", 'x'),
        ("-u 1 -h", 'h'),
        ("--help", '-'),
        ("-v=1", '='),
    ] {
        assert_eq!(
            complaint(parse(line).unwrap_err()),
            format!("prog: illegal option -- {letter}"),
            "{line}"
        );
    }
}

#[test]
fn a_missing_value_is_named() {
    for line in ["-u", "-vu", "-v -u"] {
        assert_eq!(
            complaint(parse(line).unwrap_err()),
            "prog: option requires an argument -- u",
            "{line}"
        );
    }
}

#[test]
fn subcommands_are_known_in_any_case_and_nothing_else_is() {
    assert_eq!(subcommand("Destroy -f").unwrap().0, "destroy");
    assert_eq!(subcommand("CREATE").unwrap().0, "create");
    for line in ["", "destro", "-v create", "-h"] {
        assert_eq!(subcommand(line).unwrap_err(), PROGRAM.usage(), "{line}");
    }
}

#[test]
fn an_option_of_another_subcommand_is_usage_without_a_complaint() {
    for line in ["create -f", "destroy -n", "destroy -p 1", "create -vf a"] {
        assert_eq!(subcommand(line).unwrap_err(), PROGRAM.usage(), "{line}");
    }
    assert_eq!(
        complaint(subcommand("destroy -p").unwrap_err()),
        "prog: option requires an argument -- p"
    );
}

#[test]
fn numbers_are_digits_within_bounds_and_errors_say_which_option() {
    for bad in ["abc", "0", "65536", "+1", "1k", "99999999999999999999999"] {
        assert_eq!(
            parse(&format!("-p {bad}"))
                .unwrap()
                .number(&PORT, 1..=u16::MAX),
            Err(PROGRAM.invalid(format_args!(
                "-p {bad}: port is not a number from 1 to 65535."
            )))
        );
    }
    let empty = PROGRAM.parse(["-p".into(), OsString::new()]).unwrap();
    assert!(empty.number(&PORT, 1..=u16::MAX).is_err());
    assert_eq!(
        parse("-p 65535").unwrap().number(&PORT, 1..=u16::MAX),
        Ok(Some(u16::MAX))
    );
}

#[test]
fn words_are_whole_and_unknown_ones_are_what_getopt_calls_them() {
    const JSON: Flag = Flag::word("json");
    static WORDY: Program = Program {
        name: "prog",
        usage: "usage: prog\n",
        usage_status: 64,
        subcommands: &[],
        flags: &[JSON, VERBOSE],
    };
    let parsed = WORDY.parse(args("-v --json all --json")).unwrap();
    assert!(parsed.given(&JSON) && parsed.given(&VERBOSE));
    assert_eq!(parsed.operands(), ["all", "--json"]);
    assert!(!WORDY.parse(args("-v")).unwrap().given(&JSON));
    for line in ["--jso", "--jsonx", "--wait", "---"] {
        let error = WORDY.parse(args(line)).unwrap_err();
        assert_eq!(complaint(error), "prog: illegal option -- -", "{line}");
    }
    assert_eq!(
        WORDY.parse(args("--json=1")).unwrap_err(),
        WORDY.usage(),
        "a word takes no value"
    );
    assert!(WORDY.parse(args("-j")).is_err());
}

#[test]
fn a_wrong_number_of_operands_is_usage() {
    assert_eq!(parse("a").unwrap().exactly::<2>(), Err(PROGRAM.usage()));
    assert_eq!(parse("a b c").unwrap().exactly::<2>(), Err(PROGRAM.usage()));
    assert_eq!(
        parse("a b").unwrap().exactly::<2>().unwrap(),
        [OsStr::new("a"), OsStr::new("b")]
    );
}

/// Each option with its value, empty for a switch.
type Options = Vec<(char, String)>;

/// getopt(3) as POSIX words it, as the model: options and operands, or the
/// complaint.
fn getopt(args: &[String]) -> Result<(Options, Vec<String>), String> {
    let mut found = Options::new();
    let mut rest = args.iter();
    while let Some(arg) = rest.as_slice().first() {
        if arg == "-" || !arg.starts_with('-') {
            break;
        }
        rest.next();
        if arg == "--" {
            break;
        }
        let mut letters = arg[1..].chars();
        while let Some(letter) = letters.next() {
            match letter {
                'f' | 'v' | 'n' => found.push((letter, String::new())),
                'p' | 'u' => {
                    let attached: String = letters.by_ref().collect();
                    let value = if attached.is_empty() {
                        rest.next()
                            .cloned()
                            .ok_or(format!("prog: option requires an argument -- {letter}"))?
                    } else {
                        attached
                    };
                    found.push((letter, value));
                }
                _ => return Err(format!("prog: illegal option -- {letter}")),
            }
        }
    }
    Ok((found, rest.cloned().collect()))
}

proptest! {
    #[test]
    fn clap_agrees_with_getopt(
        args in prop::collection::vec("-?-?[fvnpuxa1]{0,3}", 0..6)
    ) {
        let ours = PROGRAM.parse(args.iter().map(OsString::from));
        match getopt(&args) {
            Err(wanted) => prop_assert_eq!(complaint(ours.unwrap_err()), wanted),
            Ok((found, operands)) => {
                let ours = ours.unwrap();
                prop_assert_eq!(ours.operands(), operands.iter().map(OsStr::new).collect::<Vec<_>>());
                for flag in PROGRAM.flags {
                    let of_flag = found.iter().filter(|(letter, _)| Spelling::Letter(*letter) == flag.spelling);
                    if flag.takes_value {
                        let wanted: Vec<_> = of_flag.map(|(_, value)| OsStr::new(value)).collect();
                        prop_assert_eq!(ours.values(flag).collect::<Vec<_>>(), wanted);
                    } else {
                        prop_assert_eq!(usize::from(ours.count(flag)), of_flag.count());
                    }
                }
            }
        }
    }
}
