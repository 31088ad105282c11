//! Who opens the media.
//!
//! On FreeBSD, opening a provider for writing can wait for as long as GEOM
//! likes (`spec/geom-gate-kernel.md` section 7), so sessions do not depend on
//! how it is done, and it is never done on a thread that others wait for.

use ggate::media::{self, Media, MediaError, OpenOptions};
use ggate::wire::ExportPath;
use std::sync::Arc;

/// Opens the medium behind an export.
pub(crate) trait Opener: Send + Sync {
    /// May take any time; called on the thread of one handshake.
    fn open(&self, path: &ExportPath, options: OpenOptions) -> Result<Arc<dyn Media>, MediaError>;
}

/// Opens it in this process, for each session anew: a file that was replaced
/// is seen.
pub(crate) struct Direct;

impl Opener for Direct {
    fn open(&self, path: &ExportPath, options: OpenOptions) -> Result<Arc<dyn Media>, MediaError> {
        Ok(Arc::new(media::open(path.as_path(), options)?))
    }
}
