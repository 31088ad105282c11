//! The daemon with everything but processes: workers are threads that say what
//! the test wants.

use crate::config::{Config, Resource, Settings};
use hast_core::decision::OnImpossible;
use hast_core::payload::{Checksum, Compression};
use hast_core::primary::Replication;
use std::time::Duration;

/// A resource without another node.
pub(super) fn resource(name: &str) -> Resource {
    Resource {
        name: name.into(),
        provider: name.into(),
        local: format!("/dev/{name}").into(),
        remote: None,
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
        memory: 1 << 20,
    }
}
