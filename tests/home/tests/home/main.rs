//! What users of FreeBSD install and read, held against the programs.

mod completions;
mod failover;
mod manuals;
mod rc;
