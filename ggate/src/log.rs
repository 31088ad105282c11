//! Messages to syslog or, in the foreground, to standard output.
