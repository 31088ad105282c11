//! docs/troubleshooting.md has every message of the sources, and none that is
//! no message any more.

use home::messages::{
    SCRIPTS, all, landmark, landmark_of_pattern, landmark_of_script, of_scripts, sources,
};
use home::read;
use std::collections::BTreeSet;

const GUIDE: &str = "docs/troubleshooting.md";

#[test]
fn every_message_is_explained() {
    let guide = read(GUIDE);
    let messages = all();
    assert!(
        messages.len() > 500,
        "only {} messages found",
        messages.len()
    );
    let missing: BTreeSet<String> = messages
        .iter()
        .filter(|(_, message)| landmark(message).is_some_and(|mark| !guide.contains(mark)))
        .map(|(file, message)| format!("{file}: {message}"))
        .collect();
    assert!(missing.is_empty(), "{GUIDE} lacks:\n{missing:#?}");
}

#[test]
fn what_scripts_say_is_explained() {
    let guide = read(GUIDE);
    let said = of_scripts();
    assert!(said.len() > 15, "only {said:?} found");
    for (script, message) in said {
        let mark = landmark_of_script(&message);
        let explained = mark.is_none_or(|mark| guide.contains(mark));
        assert!(explained, "{GUIDE} lacks, of {script}: {message}");
    }
}

#[test]
fn nothing_is_explained_that_nobody_says() {
    let said = all().into_iter().chain(sources());
    let mut said: String = said.map(|(_, text)| text + "\n").collect();
    said.extend(SCRIPTS.map(read));
    said.push_str(&read("tests/home/freebsd/rc.subr"));
    // As they are formatted.
    let said = said.replace("{{", "{").replace("}}", "}");
    let guide = read(GUIDE);
    let rows = guide
        .lines()
        .skip_while(|line| !line.starts_with("## ggatec"));
    let messages = rows
        .take_while(|line| !line.starts_with("## Rules"))
        .filter_map(|line| line.strip_prefix("| `"))
        .filter_map(|line| line.split(" | ").next())
        .flat_map(|cell| cell.split("<br>"))
        .map(|message| message.trim_matches('`'));
    let stale: Vec<&str> = messages
        .filter(|message| landmark_of_pattern(message).is_some_and(|mark| !said.contains(mark)))
        .collect();
    assert!(stale.is_empty(), "nobody says: {stale:#?}");
}

#[test]
fn every_rule_of_the_decision_is_explained() {
    let table = read("hast-core/src/decision.rs");
    let rules = table
        .lines()
        .filter_map(|line| line.strip_prefix("//! | `"));
    let rules: Vec<&str> = rules.filter_map(|line| line.split('`').next()).collect();
    assert!(rules.len() > 10);
    let guide = read(GUIDE);
    for rule in rules {
        assert!(guide.contains(&format!("`{rule}`")), "{rule}");
    }
}
