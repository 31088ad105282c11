//! Command lines: arguments are the input's lines.
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

fuzz_target!(|input: &[u8]| {
    let arguments = || {
        let lines = input.split(|byte| *byte == b'\n');
        lines.map(|argument| OsString::from_vec(argument.to_vec()))
    };
    let _ = ggatec::check_arguments(arguments());
    let _ = hast::ctl::check_arguments(arguments());
});
