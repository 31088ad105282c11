//! A disk that is slow: [`SERVICE_TIME`] for every request, however many are
//! under way. What `slow_ggated` and `slow_hastd` serve in place of files in
//! memory, to show that requests wait side by side and not one behind the
//! other.

use ggate::daemon::pause;
use ggate::media::Media;
use ggate::range::{ByteRange, Geometry};
use std::sync::Arc;
use std::time::Duration;

/// What a request takes at least.
pub const SERVICE_TIME: Duration = Duration::from_millis(2);

/// Another medium, later.
struct Slow(Arc<dyn Media>);

/// Makes a slow disk of any.
#[must_use]
pub fn slow(medium: Arc<dyn Media>) -> Arc<dyn Media> {
    Arc::new(Slow(medium))
}

impl Media for Slow {
    fn geometry(&self) -> Geometry {
        self.0.geometry()
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> nix::Result<()> {
        pause(SERVICE_TIME);
        self.0.read_at(buf, offset)
    }

    fn write_at(&self, buf: &[u8], offset: u64) -> nix::Result<()> {
        pause(SERVICE_TIME);
        self.0.write_at(buf, offset)
    }

    fn flush(&self) -> nix::Result<()> {
        pause(SERVICE_TIME);
        self.0.flush()
    }

    fn delete(&self, range: ByteRange) -> nix::Result<()> {
        pause(SERVICE_TIME);
        self.0.delete(range)
    }
}
