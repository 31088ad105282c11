//! The manuals against the tables that parse the command lines, and their
//! examples run.

use ggate::cli::{Flag, Program};
use home::completions::programs;
use home::manual::{Manual, Options};
use home::messages::{sources, texts_below};
use home::{Host, read};
use std::collections::BTreeSet;
use testkit::process::free_port;

fn options<'a>(flags: impl IntoIterator<Item = &'a Flag>) -> Options {
    let flags = flags.into_iter();
    flags
        .map(|flag| (flag.spelling(), flag.takes_value()))
        .collect()
}

fn page(program: &Program) -> Manual {
    Manual::of(&format!("{}.8", program.name))
}

#[test]
fn every_option_is_explained_and_no_other_one() {
    for program in programs() {
        let explained = page(program).explained();
        assert_eq!(explained, options(program.flags), "{}", program.name);
    }
}

#[test]
fn the_synopsis_has_each_sub_command_with_its_options() {
    for program in programs() {
        let synopsis = page(program).synopsis();
        let subcommands: BTreeSet<&str> = synopsis.keys().map(String::as_str).collect();
        let expected: BTreeSet<&str> = match program.subcommands {
            [] => BTreeSet::from([""]),
            some => some.iter().copied().collect(),
        };
        assert_eq!(subcommands, expected, "{}", program.name);
        for (subcommand, shown) in synopsis {
            let flags = program.flags.iter();
            let has = |flag: &&Flag| subcommand.is_empty() || flag.belongs_to(&subcommand);
            let about = format!("{} {subcommand}", program.name);
            assert_eq!(shown, options(flags.filter(has)), "{about}");
        }
        let explained: BTreeSet<String> = page(program)
            .items("DESCRIPTION", "Cm ")
            .map(str::to_owned)
            .collect();
        for subcommand in program.subcommands {
            assert!(explained.contains(*subcommand), "{subcommand}");
        }
    }
}

#[test]
fn every_keyword_of_the_configuration_is_explained() {
    let page = Manual::of("hast.conf.5");
    let explained = |section| -> BTreeSet<String> {
        let items = page.items(section, "Ic ").map(str::to_owned);
        items.collect()
    };
    let main = [
        "?",
        "on x {\n?}",
        "resource x {\n?}",
        "resource x {on here {\n?}}",
    ];
    let main = main.map(|text| (text.to_owned(), String::new()));
    assert_eq!(explained("DESCRIPTION"), keywords(&main));
    let ext = ["?", "resource x {\n?}"].map(|text| (String::new(), text.to_owned()));
    assert_eq!(explained("EXTENSIONS"), keywords(&ext));
}

/// A page, and the sources of its program with the libraries that look for
/// files or variables for it.
const SOURCES_OF: [(&str, &[&str]); 4] = [
    (
        "ggatec.8",
        &["ggatec/src", "ggate/src/gate", "ggate/src/daemon"],
    ),
    ("ggated.8", &["ggated/src", "ggate/src/daemon"]),
    (
        "ggatel.8",
        &["ggatel/src", "ggate/src/gate", "ggate/src/daemon"],
    ),
    (
        "hastd.8",
        &["hastd/src", "ggate/src/gate", "ggate/src/daemon"],
    ),
];

/// Paths that are not ours, or only on Linux.
const NOT_OURS: [&str; 3] = ["/dev/null", "/etc/machine-id", "/var/run/ggate"];

#[test]
fn every_file_and_variable_is_explained() {
    for (page, folders) in SOURCES_OF {
        let page_of = Manual::of(page);
        let files: BTreeSet<&str> = page_of.items("FILES", "Pa ").collect();
        let environment: Vec<&str> = page_of.section("ENVIRONMENT").collect();
        let mut found = 0;
        for text in folders.iter().flat_map(|folder| texts_below(folder)) {
            let is_path = ["/etc/", "/var/run/", "/dev/"].iter().any(|start| {
                let rest = text.strip_prefix(start);
                rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', ' ', '{']))
            });
            let is_variable = text == "XDG_RUNTIME_DIR" || {
                let rest = text.strip_prefix("GGATE_");
                rest.is_some_and(|rest| rest.bytes().all(|byte| byte.is_ascii_uppercase()))
            };
            if is_path && !NOT_OURS.contains(&&*text) {
                assert!(files.contains(&*text), "{page}: {text}");
                found += 1;
            } else if is_variable && !(text == "XDG_RUNTIME_DIR" && page != "ggatec.8") {
                let shown = environment.iter().any(|line| line.ends_with(&*text));
                assert!(shown, "{page}: {text}");
                found += 1;
            }
        }
        assert!(found > 1, "{page}: only {found} found");
    }
}

#[test]
fn every_signal_is_explained_and_no_other_one() {
    for (page, folder) in [
        ("ggatec.8", "ggatec/src"),
        ("ggated.8", "ggated/src"),
        ("ggatel.8", "ggatel/src"),
        ("hastd.8", "hastd/src/daemon"),
    ] {
        let sources = sources();
        let caught = |signal: &str| {
            let signal = format!("Signal::{signal}");
            let mut own = sources.iter().filter(|(path, _)| path.contains(folder));
            own.any(|(_, code)| code.contains(&signal))
        };
        let mut expected = BTreeSet::new();
        for (signal, names) in [
            ("Terminate", &["SIGTERM", "SIGINT"][..]),
            ("Reload", &["SIGHUP"]),
            ("Report", &["SIGINFO"]),
        ] {
            if caught(signal) {
                expected.extend(names);
            }
        }
        let page_of = Manual::of(page);
        let explained: BTreeSet<&str> = page_of
            .section("SIGNALS")
            .filter_map(|line| line.strip_prefix(".It Dv "))
            .flat_map(|names| names.split(" , "))
            .collect();
        assert_eq!(explained, expected, "{page}");
    }
}

/// A status in the sources: of a constant, of the usage, or of an error.
fn status(line: &str) -> Option<u8> {
    let line = line.trim().trim_end_matches([';', ',']);
    let number = ["const ", "usage_status: ", "Self::"]
        .iter()
        .find_map(|start| {
            let rest = line.strip_prefix(start)?;
            match *start {
                "const " => rest.split_once(": u8 = ").map(|(_, number)| number),
                "Self::" => rest.split_once(" => ").map(|(_, number)| number),
                _ => Some(rest),
            }
        });
    number?.parse().ok()
}

#[test]
fn every_exit_status_of_hast_is_explained_and_no_other_one() {
    for (page, parts, more) in [
        ("hastd.8", ["daemon/start.rs", "daemon/options.rs"], [None]),
        // That one is base's -1.
        ("hastctl.8", ["ctl/", "control/client.rs"], [Some(255)]),
    ] {
        let parts = parts.into_iter().chain(["config/load.rs"]);
        let parts: Vec<String> = parts.map(|part| format!("hastd/src/{part}")).collect();
        let sources = sources();
        let own = sources.iter().filter(|(path, _)| {
            let mut parts = parts.iter();
            parts.any(|part| path.contains(&**part))
        });
        let statuses = own.flat_map(|(_, code)| code.lines().filter_map(status));
        let expected: BTreeSet<u8> = statuses.chain(more.into_iter().flatten()).collect();
        let explained: BTreeSet<u8> = Manual::of(page)
            .section("EXIT STATUS")
            .filter_map(|line| line.strip_prefix(".It "))
            .filter_map(|status| status.parse().ok())
            .filter(|status| *status != 0)
            .collect();
        assert_eq!(explained, expected, "{page}");
    }
}

/// What can stand at the places with a question mark, as told to somebody who
/// writes something else there. No other list of the keywords is needed.
fn keywords(files: &[(String, String)]) -> BTreeSet<String> {
    let host = Host::with_programs();
    let mut keywords = BTreeSet::new();
    for (main, ext) in files {
        host.write("etc/hast.conf", &main.replace('?', " bogus "));
        host.write("etc/hast.conf.ext", &ext.replace('?', " bogus "));
        let told = host.run("hastd -t").expect_code(78).stderr;
        let list = told
            .lines()
            .find_map(|line| line.split_once(" can stand: "));
        let (_, list) = list.unwrap_or_else(|| panic!("no list: {told}"));
        keywords.extend(list.split(", ").map(str::to_owned));
    }
    keywords
}

/// The examples of hast.conf.5 are configurations, for either node.
#[test]
fn the_configurations_in_the_manual_are_understood() {
    let host = Host::with_programs();
    let page = Manual::of("hast.conf.5");
    let configurations = page.displays("EXAMPLES").into_iter();
    let mut configurations = configurations
        .filter(|lines| lines.len() > 1)
        .map(|lines| lines.join("\n") + "\n")
        .peekable();
    assert!(configurations.peek().is_some());
    for text in configurations {
        for node in ["nodea", "nodeb"] {
            host.write("etc/hast.conf", &text);
            host.write("etc/hast.conf.ext", &format!("node {node}\n"));
            // It reads the metadata of the component, which is not there.
            let shown = host.run("hastctl dump all").expect_code(255);
            assert!(!shown.stderr.contains("WARNING"), "{text}\n{shown:?}");
        }
    }
}

#[test]
fn the_exports_in_the_manual_are_understood() {
    let page = Manual::of("gg.exports.5");
    let text = page.displays("EXAMPLES").concat().join("\n");
    let resolve = |name: &str| panic!("{name} is looked up");
    assert_eq!(ggated::check_exports(text.as_bytes(), &resolve), Ok(5));
}

#[test]
fn every_flag_of_the_exports_is_explained() {
    let texts = texts_below("ggated/src");
    let known = texts
        .iter()
        .find_map(|text| text.split_once("; known are ").map(|(_, list)| list));
    let page = Manual::of("gg.exports.5");
    let explained: BTreeSet<String> = page
        .section("DESCRIPTION")
        .filter_map(|line| line.strip_prefix(".Cm "))
        .filter_map(|line| line.split(' ').next())
        .map(str::to_lowercase)
        .collect();
    let known: BTreeSet<String> = known
        .expect("the list in a message")
        .split(", ")
        .map(str::to_owned)
        .collect();
    assert_eq!(explained, known);
}

/// What the manuals of the gate show is done, in their order, on one host: its
/// prompts say whose part it is.
#[test]
fn the_examples_of_the_gate_run() {
    let port = free_port();
    for (page, prompts) in [
        ("ggatec.8", &["client# ", "server# "][..]),
        ("ggated.8", &["# "]),
        ("ggatel.8", &["# "]),
    ] {
        let host = Host::with_programs();
        host.write("etc/rc.conf", "");
        for disk in ["da1", "cd.iso", "disk.img"] {
            host.run(&format!("truncate -s 8M $HOST/dev/{disk}"))
                .expect_code(0);
        }
        let adapt = |line: &str| {
            let line = line
                .replace("10.0.0.2 ", "127.0.0.1 ")
                .replace("10.0.0.0/24", "127.0.0.0/8")
                .replace("10.0.0.1", "127.0.0.1")
                .replace("/images/", "$HOST/dev/")
                .replace("/dev/da1", "$HOST/dev/da1")
                .replace("ggated -v", "timeout 1 ggated -F $HOST/pid -p 0 -v")
                .replace("ggatel create -v", "timeout 1 ggatel create -v")
                .replace("ggatec create", &format!("ggatec create -p {port}"))
                .replace(
                    "ggatec rescue",
                    &format!(
                        "pkill -9 -f 'ggatec creat[e].*$HOST/dev/da1'; ggatec rescue -p {port}"
                    ),
                );
            let root = host.path("").display().to_string();
            line.replace("$HOST/", &root)
        };
        let manual = Manual::of(page);
        for display in manual.displays("EXAMPLES") {
            run_display(&host, page, prompts, &display, &adapt, port);
        }
    }
}

fn run_display(
    host: &Host,
    page: &str,
    prompts: &[&str],
    display: &[&str],
    adapt: &dyn Fn(&str) -> String,
    port: u16,
) {
    let command_of = |line: &str| {
        let command = prompts.iter().find_map(|prompt| line.strip_prefix(prompt));
        command.map(str::to_owned)
    };
    let mut lines = display.iter().peekable();
    while let Some(line) = lines.next() {
        // What rc.conf has is tested with the rc scripts.
        let Some(command) = command_of(line) else {
            assert!(line.contains('='), "{page}: {line}");
            continue;
        };
        let mut output = Vec::new();
        while let Some(next) = lines.next_if(|line| command_of(line).is_none()) {
            output.push(*next);
        }
        if command == "cat /etc/gg.exports" {
            host.write("etc/gg.exports", &adapt(&(output.join("\n") + "\n")));
            continue;
        }
        if command.starts_with("sysrc") || command.starts_with("service") {
            continue;
        }
        let command = match &*command {
            "ggated" => format!("ggated -a 127.0.0.1 -p {port} /etc/gg.exports"),
            other => adapt(other),
        };
        let done = host.run(&command);
        let done = done.expect_code(if command.starts_with("timeout") {
            124
        } else {
            0
        });
        if !output.is_empty() {
            let printed: Vec<&str> = done.stdout.lines().collect();
            assert_eq!(printed, output, "{page}: {command}");
        }
    }
}

/// A guide or a manual that is named is there.
#[test]
fn files_that_the_manuals_name_are_installed() {
    let listed = std::process::Command::new("sh")
        .arg(home::project("scripts/install.sh"))
        .arg("-l")
        .output()
        .expect("the list");
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    for page in [
        "man5/gg.exports.5",
        "man5/hast.conf.5",
        "man8/ggatec.8",
        "man8/ggated.8",
        "man8/ggatel.8",
        "man8/hastctl.8",
        "man8/hastd.8",
    ] {
        assert!(listed.contains(&format!("share/man/{page}\n")), "{page}");
        for line in read(page).lines() {
            let Some(path) = line.strip_prefix(".Pa share/") else {
                continue;
            };
            let path = path.split_whitespace().next().unwrap_or_default();
            assert!(listed.contains(&format!("share/{path}")), "{page}: {path}");
        }
    }
}
