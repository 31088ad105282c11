//! What users of FreeBSD install and read, held against the programs.

mod failover;
mod rc;
