//! How a resource is seen by each of both nodes, and whether they agree.

use super::{Finding, Severity};
use crate::config::{self, Word as _};
use crate::ipc::Component;
use crate::log::printable;
use hast_core::role::Role;
use serde::{Deserialize, Serialize};

/// What one daemon tells the other about a resource. A newer one may tell
/// more, an older one less.
#[derive(Clone, PartialEq, Eq, Default, Debug, Serialize, Deserialize)]
#[serde(default)]
pub struct Standing {
    /// `init`, `primary`, `secondary`.
    pub role: String,
    /// Name of the provider without `hast/`.
    pub provider: String,
    /// Replication mode.
    pub replication: String,
    /// Seconds.
    pub timeout: u64,
    /// Of the local component, once a worker has opened it: bytes of data.
    pub datasize: Option<u64>,
    /// Of the local component: bytes of an extent.
    pub extentsize: Option<u32>,
}

/// What became of asking the other node.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Asked {
    /// There is none.
    Nobody,
    /// It cannot be reached, and why.
    Unreachable(String),
    /// It closed the connection.
    Silent,
    /// It does not say, and why.
    Refused(String),
    /// What it says.
    Told(Standing),
}

impl Standing {
    pub(crate) fn new(config: &config::Resource, role: Role, component: Option<Component>) -> Self {
        Self {
            role: role.name().into(),
            provider: config.provider.clone(),
            replication: config.settings.replication.word().into(),
            timeout: config.settings.timeout.as_secs(),
            datasize: component.map(|component| component.datasize),
            extentsize: component.map(|component| component.extentsize),
        }
    }

    /// What is to be said to the administrator of this node. What the other one
    /// says is not trusted to be fit for a terminal.
    pub(crate) fn compare(&self, resource: &str, asked: &Asked) -> Vec<Finding> {
        use Severity::{Error, Note, Warning};
        let finding = |severity, what: String, todo: Option<&str>| Finding {
            severity,
            resource: Some(resource.into()),
            what,
            todo: todo.map(Into::into),
        };
        match asked {
            Asked::Nobody => Vec::new(),
            Asked::Unreachable(why) => vec![finding(
                Warning,
                format!("the other node cannot be reached: {why}"),
                Some("is hastd running there, and does its `listen` have this address?"),
            )],
            Asked::Silent => vec![finding(
                Note,
                "the other node does not say how it sees the resource".into(),
                Some(
                    "it runs FreeBSD's own hastd, or knows this node by another address: \
                     compare its `remote` with `source` here",
                ),
            )],
            Asked::Refused(reason) => vec![finding(
                Error,
                format!("the other node refuses: {}", printable(reason)),
                Some(
                    "its configuration must have the resource, with this node's address as `remote`",
                ),
            )],
            Asked::Told(theirs) => self
                .differences(theirs)
                .map(|(severity, what, todo)| finding(severity, what, todo))
                .collect(),
        }
    }

    fn differences(
        &self,
        theirs: &Self,
    ) -> impl Iterator<Item = (Severity, String, Option<&'static str>)> {
        use Severity::{Error, Note, Warning};
        let differ = |what: &str, ours: &str, theirs: &str| {
            (ours != theirs).then(|| {
                let what = format!("{what} is {ours} here and {} there", printable(theirs));
                (Note, what, Some("that of the primary counts"))
            })
        };
        let sizes = |what: &str, ours: Option<u64>, theirs: Option<u64>| {
            let (ours, theirs) = ours.zip(theirs).filter(|(ours, theirs)| ours != theirs)?;
            let what = format!("{what} is {ours} bytes here and {theirs} bytes there");
            let todo = "they cannot be paired: create one of them anew, with -m and -e";
            Some((Error, what, Some(todo)))
        };
        let seconds = |standing: &Self| format!("{} s", standing.timeout);
        let roles = match (self.role.as_str(), theirs.role.as_str()) {
            ("primary", "primary") => (
                Error,
                "both nodes are primary".into(),
                Some("make one of them secondary before the two data drift further apart"),
            ),
            ("primary", "secondary") | ("secondary", "primary") => {
                (Note, "both nodes agree about their roles".into(), None)
            }
            ("primary", _) => (
                Warning,
                format!("the other node's role is {}", printable(&theirs.role)),
                Some("nothing is copied until it is secondary"),
            ),
            (_, "primary") => (
                Warning,
                format!("this node's role is {}, the other's is primary", self.role),
                Some("nothing is copied until this one is secondary"),
            ),
            _ => (Note, "neither node is primary".into(), None),
        };
        [
            Some(roles),
            sizes("the data's size", self.datasize, theirs.datasize),
            sizes(
                "an extent's size",
                self.extentsize.map(u64::from),
                theirs.extentsize.map(u64::from),
            ),
            differ("the provider", &self.provider, &theirs.provider),
            differ("replication", &self.replication, &theirs.replication),
            differ("timeout", &seconds(self), &seconds(theirs)),
        ]
        .into_iter()
        .flatten()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn standing(role: Role) -> Standing {
        Standing {
            role: role.name().into(),
            provider: "data".into(),
            replication: "memsync".into(),
            timeout: 20,
            datasize: Some(1 << 30),
            extentsize: Some(2 << 20),
        }
    }

    fn worst(ours: &Standing, asked: &Asked) -> Option<Severity> {
        let findings = ours.compare("data", asked);
        findings.iter().map(|finding| finding.severity).max()
    }

    #[test]
    fn roles_agree_or_do_not() {
        use Role::{Init, Primary, Secondary};
        for (ours, theirs, expected) in [
            (Primary, Secondary, Severity::Note),
            (Secondary, Primary, Severity::Note),
            (Primary, Primary, Severity::Error),
            (Primary, Init, Severity::Warning),
            (Init, Primary, Severity::Warning),
            (Secondary, Secondary, Severity::Note),
            (Init, Init, Severity::Note),
        ] {
            let told = Asked::Told(standing(theirs));
            assert_eq!(
                worst(&standing(ours), &told),
                Some(expected),
                "{ours} {theirs}"
            );
        }
    }

    #[test]
    fn differing_settings_are_noted() {
        let ours = standing(Role::Primary);
        let mut theirs = standing(Role::Secondary);
        assert_eq!(ours.compare("data", &Asked::Told(theirs.clone())).len(), 1);
        theirs.replication = "async\x1b[2J".into();
        theirs.timeout = 5;
        let findings = ours.compare("data", &Asked::Told(theirs));
        assert_eq!(
            findings[1].what,
            "replication is memsync here and async?[2J there"
        );
        assert_eq!(findings[2].what, "timeout is 20 s here and 5 s there");
    }

    #[test]
    fn sizes_that_differ_are_errors_and_unknown_ones_are_not() {
        let ours = standing(Role::Primary);
        let theirs = Standing {
            datasize: Some(1 << 20),
            extentsize: None,
            ..standing(Role::Secondary)
        };
        let findings = ours.compare("data", &Asked::Told(theirs));
        assert_eq!(findings.len(), 2);
        assert_eq!(findings[1].severity, Severity::Error);
        assert_eq!(
            findings[1].what,
            "the data's size is 1073741824 bytes here and 1048576 bytes there"
        );
    }

    #[test]
    fn what_hinders_asking_is_told() {
        let ours = standing(Role::Primary);
        for (asked, expected) in [
            (Asked::Nobody, None),
            (Asked::Unreachable("no".into()), Some(Severity::Warning)),
            (Asked::Silent, Some(Severity::Note)),
            (Asked::Refused("no".into()), Some(Severity::Error)),
        ] {
            assert_eq!(worst(&ours, &asked), expected);
        }
    }

    #[test]
    fn what_another_version_says_is_understood() {
        let json = r#"{"role":"primary","more":[1,2]}"#;
        let standing: Standing = serde_json::from_str(json).unwrap();
        assert_eq!(standing.role, "primary");
        assert_eq!(standing.timeout, 0);
    }
}
