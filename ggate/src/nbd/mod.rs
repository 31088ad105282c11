//! NBD server side: serves a software provider on its unix socket.
