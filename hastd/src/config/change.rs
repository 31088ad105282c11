//! What a reload has to do with a resource that is in both configurations.
//! Facts: spec/hast-config.md section 8.
//!
//! | changed | init, secondary | primary |
//! |---|---|---|
//! | `local`, `name`; ours: `memory`, `on-impossible` | restart | restart |
//! | `remote`, `source` | restart | taken up while it runs, connected anew |
//! | the other settings | restart | taken up while it runs |
//!
//! A primary is not restarted for what can be had without: its provider would
//! vanish under whoever uses it.

use super::{Resource, Settings};
use hast_core::role::Role;

/// What is to be done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change {
    /// Nothing.
    Unchanged,
    /// Tell the worker.
    LiveReload {
        /// It has to connect anew.
        reconnect: bool,
    },
    /// Make the role init, take the new configuration, make the role what it
    /// was.
    Restart,
}

/// How a running primary takes up a setting.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Takes {
    Message,
    Reconnect,
    Restart,
}

/// The settings that differ, as the files call them.
#[must_use]
pub fn differences(old: &Resource, new: &Resource) -> Vec<&'static str> {
    differing(old, new).map(|(name, _)| name).collect()
}

/// What the differences take in this role.
///
/// # Panics
/// If these are two resources.
#[must_use]
pub fn change(old: &Resource, new: &Resource, role: Role) -> Change {
    assert_eq!(old.name, new.name, "one resource, in two configurations");
    let most = differing(old, new).map(|(_, takes)| takes).max();
    match (most, role) {
        (None, _) => Change::Unchanged,
        (Some(Takes::Message), Role::Primary) => Change::LiveReload { reconnect: false },
        (Some(Takes::Reconnect), Role::Primary) => Change::LiveReload { reconnect: true },
        (Some(_), _) => Change::Restart,
    }
}

fn differing(old: &Resource, new: &Resource) -> impl Iterator<Item = (&'static str, Takes)> {
    // Whoever adds a setting is made to say what a change of it takes.
    let Resource {
        name: _,
        provider,
        local,
        remote,
        source,
        exec,
        settings:
            Settings {
                replication,
                checksum,
                compression,
                timeout,
                metaflush,
            },
        on_impossible,
        memory,
    } = old;
    let now = &new.settings;
    [
        ("local", *local == new.local, Takes::Restart),
        ("name", *provider == new.provider, Takes::Restart),
        ("remote", *remote == new.remote, Takes::Reconnect),
        ("source", *source == new.source, Takes::Reconnect),
        (
            "replication",
            *replication == now.replication,
            Takes::Message,
        ),
        ("checksum", *checksum == now.checksum, Takes::Message),
        (
            "compression",
            *compression == now.compression,
            Takes::Message,
        ),
        ("timeout", *timeout == now.timeout, Takes::Message),
        ("exec", *exec == new.exec, Takes::Message),
        ("metaflush", *metaflush == now.metaflush, Takes::Message),
        ("memory", *memory == new.memory, Takes::Restart),
        (
            "on-impossible",
            *on_impossible == new.on_impossible,
            Takes::Restart,
        ),
    ]
    .into_iter()
    .filter(|(_, same, _)| !same)
    .map(|(name, _, takes)| (name, takes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::testing::{RESOURCE, parse};
    use hast_core::decision::OnImpossible;
    use hast_core::payload::{Checksum, Compression};
    use hast_core::primary::Replication;
    use std::time::Duration;

    type Edit = fn(&mut Resource);

    const LIVE: Change = Change::LiveReload { reconnect: false };
    const RECONNECT: Change = Change::LiveReload { reconnect: true };

    /// What changes, its name, and what a primary has to do.
    const TABLE: [(Edit, &str, Change); 12] = [
        (|r| r.local = "/new".into(), "local", Change::Restart),
        (|r| r.provider = "new".into(), "name", Change::Restart),
        (|r| r.remote = None, "remote", RECONNECT),
        (|r| r.source = Some("a".into()), "source", RECONNECT),
        (
            |r| r.settings.replication = Replication::Async,
            "replication",
            LIVE,
        ),
        (|r| r.settings.checksum = Checksum::Crc32, "checksum", LIVE),
        (
            |r| r.settings.compression = Compression::Lzf,
            "compression",
            LIVE,
        ),
        (
            |r| r.settings.timeout = Duration::from_secs(1),
            "timeout",
            LIVE,
        ),
        (|r| r.exec = Some("/hook".into()), "exec", LIVE),
        (|r| r.settings.metaflush = false, "metaflush", LIVE),
        (|r| r.memory += 1, "memory", Change::Restart),
        (
            |r| r.on_impossible = OnImpossible::Base,
            "on-impossible",
            Change::Restart,
        ),
    ];

    fn old() -> Resource {
        parse(RESOURCE).unwrap().config.resources.remove(0)
    }

    fn edited(edits: &[Edit]) -> Resource {
        let mut new = old();
        for edit in edits {
            edit(&mut new);
        }
        new
    }

    #[test]
    fn each_setting_takes_what_the_table_says() {
        for (edit, name, primary) in TABLE {
            let new = edited(&[edit]);
            assert_eq!(differences(&old(), &new), [name]);
            assert_eq!(change(&old(), &new, Role::Primary), primary, "{name}");
            for role in [Role::Init, Role::Secondary] {
                assert_eq!(change(&old(), &new, role), Change::Restart, "{name} {role}");
            }
        }
    }

    #[test]
    fn what_takes_most_decides() {
        let strength = |change| match change {
            Change::Unchanged => 0,
            LIVE => 1,
            RECONNECT => 2,
            Change::Restart => 3,
        };
        for (a, _, takes_a) in TABLE {
            for (b, _, takes_b) in TABLE {
                let both = change(&old(), &edited(&[a, b]), Role::Primary);
                let most = strength(takes_a).max(strength(takes_b));
                assert_eq!(strength(both), most);
            }
        }
    }

    #[test]
    fn what_is_the_same_is_left_alone() {
        for role in Role::ALL {
            assert_eq!(change(&old(), &old(), role), Change::Unchanged);
        }
        assert!(differences(&old(), &old()).is_empty());
    }
}
