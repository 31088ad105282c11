//! HAST without I/O.
#![no_std]
