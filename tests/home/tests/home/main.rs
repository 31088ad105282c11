//! What users of FreeBSD install and read, held against the programs.

mod completions;
mod failover;
// Two hosts on one, which takes a second address that nobody has to configure.
#[cfg(target_os = "linux")]
mod guides;
mod manuals;
mod rc;
mod troubleshooting;
