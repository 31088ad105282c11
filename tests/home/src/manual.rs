//! Manuals in mdoc, as far as they are to be compared with the programs.

use std::collections::{BTreeMap, BTreeSet};

/// One page.
#[derive(Debug)]
pub struct Manual {
    text: String,
}

/// An option and whether a value follows it.
pub type Options = BTreeSet<(String, bool)>;

impl Manual {
    /// The page of this name and section, `hastd.8`.
    #[must_use]
    pub fn of(page: &str) -> Self {
        let section = page.rsplit_once('.').expect("a section").1;
        Self {
            text: crate::read(&format!("man{section}/{page}")),
        }
    }

    /// The lines of a section.
    pub fn section<'a>(&'a self, title: &str) -> impl Iterator<Item = &'a str> {
        let heading = format!(".Sh {title}");
        let mut lines = self.text.lines();
        assert!(lines.any(|line| line == heading), "no {title}");
        lines.take_while(|line| !line.starts_with(".Sh "))
    }

    /// The options of each sub-command in the synopsis; of a program without
    /// them, of the sub-command `""`.
    #[must_use]
    pub fn synopsis(&self) -> BTreeMap<String, Options> {
        let mut synopsis = BTreeMap::new();
        let mut subcommand = String::new();
        let mut lines = self.section("SYNOPSIS").peekable();
        while let Some(line) = lines.next() {
            if line == ".Nm" {
                let next = lines.peek().and_then(|line| line.strip_prefix(".Cm "));
                next.unwrap_or_default().clone_into(&mut subcommand);
                synopsis.insert(subcommand.clone(), Options::new());
            } else if let Some(flags) = line
                .strip_prefix(".Op Fl ")
                .or_else(|| line.strip_prefix(".Fl "))
            {
                let options = synopsis.get_mut(&subcommand).expect("a name before");
                options.extend(parse_flags(flags));
            }
        }
        synopsis
    }

    /// The options that are explained: `.It Fl`.
    #[must_use]
    pub fn explained(&self) -> Options {
        let items = self
            .section("DESCRIPTION")
            .filter_map(|line| line.strip_prefix(".It Fl "));
        items
            .flat_map(|item| item.split(", Fl ").flat_map(parse_flags))
            .collect()
    }

    /// What is explained in a section: the words of `.It MACRO`.
    pub fn items<'a>(&'a self, section: &str, r#macro: &'a str) -> impl Iterator<Item = &'a str> {
        self.section(section)
            .filter_map(|line| line.strip_prefix(".It "))
            .filter_map(move |item| item.strip_prefix(r#macro))
            .flat_map(|item| item.split(" , "))
            .map(|item| item.split_whitespace().next().unwrap_or_default())
    }

    /// The displays of a section, each with its lines as they are shown.
    #[must_use]
    pub fn displays(&self, section: &str) -> Vec<Vec<&str>> {
        let mut displays: Vec<Vec<&str>> = Vec::new();
        let mut inside = false;
        for line in self.section(section) {
            if line.starts_with(".Bd") {
                displays.push(Vec::new());
                inside = true;
            } else if line == ".Ed" {
                inside = false;
            } else if let Some(line) = line.strip_prefix(".Dl ") {
                displays.push(vec![line]);
            } else if let (true, Some(display)) = (inside, displays.last_mut()) {
                display.push(line);
            }
        }
        displays
    }
}

/// `nv`, `p Ar port`, `-json`: what follows `Fl`.
fn parse_flags(flags: &str) -> Vec<(String, bool)> {
    let (letters, value) = flags.split_once(' ').unwrap_or((flags, ""));
    let has_value = !value.is_empty();
    if letters.starts_with('-') {
        return vec![(format!("-{letters}"), has_value)];
    }
    letters
        .chars()
        .map(|letter| (format!("-{letter}"), has_value))
        .collect()
}
