//! An NBD client for tests.
