//! The gate in software: the kernel's semantics in the serving process.
