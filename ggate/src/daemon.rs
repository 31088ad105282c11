//! What a daemon does around its work: daemonising, pid files, protection, module loading.
