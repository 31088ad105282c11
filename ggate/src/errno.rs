//! FreeBSD's error numbers, which the protocols carry, and the host's.
