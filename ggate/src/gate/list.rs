//! What  shows: the gates of this machine.
