//! The gate in the kernel: the six calls as ioctls.
