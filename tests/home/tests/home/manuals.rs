//! The manuals against the tables that parse the command lines, and their
//! examples run.

use ggate::cli::{Flag, Program};
use home::completions::programs;
use home::manual::{Manual, Options};
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
                        "pkill -9 -f 'ggatec creat[e].*127.0.0.1 .*da1'; ggatec rescue -p {port}"
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
