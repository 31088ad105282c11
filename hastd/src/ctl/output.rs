//! Standard output. It may be full, or have nobody who reads: that is an exit
//! status, not a panic.

use super::failure::Failure;
use std::io::Write as _;

/// Prints a whole text.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes())?;
    Ok(out.flush()?)
}
