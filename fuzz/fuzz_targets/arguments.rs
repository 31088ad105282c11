//! Command lines of all programs and of their helper processes:
//! arguments are the input's lines. What is refused says why.
#![no_main]

use ggate::cli::CliError;
use ggate::opener::Request;
use libfuzzer_sys::fuzz_target;
use std::ffi::OsString;
use std::io;
use std::net::IpAddr;
use std::os::unix::ffi::OsStringExt;

/// No name is looked up while fuzzing.
fn resolve(name: &str) -> io::Result<Vec<IpAddr>> {
    match name.parse() {
        Ok(address) => Ok(vec![address]),
        Err(_) if name.len().is_multiple_of(2) => Ok(vec![]),
        Err(_) => Err(io::ErrorKind::NotFound.into()),
    }
}

fn explained(result: Result<(), CliError>) {
    if let Err(error) = result {
        assert!(error.to_string().ends_with('\n'));
    }
}

fuzz_target!(|input: &[u8]| {
    let arguments: Vec<OsString> = input
        .split(|byte| *byte == b'\n')
        .map(|argument| OsString::from_vec(argument.to_vec()))
        .collect();
    explained(ggatec::check_arguments(arguments.iter().cloned()));
    explained(ggated::check_arguments(arguments.iter().cloned(), &resolve));
    explained(ggatel::check_arguments(arguments.iter().cloned()));
    explained(hast::ctl::check_arguments(arguments.iter().cloned()));
    if let Some(request) = Request::from_args(arguments.iter().cloned()) {
        assert_eq!(Some(&arguments[2]), Some(&request.path.into_os_string()));
    }
});
