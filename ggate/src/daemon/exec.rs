//! Starting a program that is open already: an upgrade between two starts
//! cannot mix versions.

use std::ffi::{CString, OsStr, OsString, c_char};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

/// The arguments of fexecve(2).
#[derive(Debug)]
pub struct Exec {
    binary: OwnedFd,
    arguments: Strings,
    environment: Strings,
}

impl Exec {
    /// This program, with these arguments, its name being the first, and the
    /// environment of this process.
    pub fn new(binary: &File, arguments: impl IntoIterator<Item = OsString>) -> io::Result<Self> {
        let environment = std::env::vars_os().map(|(mut name, value)| {
            name.push("=");
            name.push(value);
            name
        });
        Ok(Self {
            binary: binary.try_clone()?.into(),
            arguments: Strings::new(arguments)?,
            environment: Strings::new(environment)?,
        })
    }

    /// A command that does this; `program` is for messages. Arguments and
    /// environment of the command have no effect.
    #[must_use]
    pub fn command(self, program: &str) -> Command {
        // The name is not used: `run` never returns but with an error.
        let mut command = Command::new(program);
        // SAFETY: between fork and exec there is one system call, and no
        // allocation: its arguments were made before.
        #[allow(unsafe_code)]
        unsafe {
            command.pre_exec(move || self.run());
        }
        command
    }

    fn run(&self) -> io::Result<()> {
        // SAFETY: both are arrays of strings as exec wants them.
        #[allow(unsafe_code)]
        unsafe {
            libc::fexecve(
                self.binary.as_raw_fd(),
                self.arguments.pointers.as_ptr(),
                self.environment.pointers.as_ptr(),
            );
        }
        Err(io::Error::last_os_error())
    }
}

/// Strings, and an array of pointers to them that ends with a null.
#[derive(Debug)]
struct Strings {
    pointers: Vec<*const c_char>,
    _strings: Vec<CString>,
}

// SAFETY: the pointers are to strings that live as long and never change.
#[allow(unsafe_code)]
unsafe impl Send for Strings {}
// SAFETY: as above.
#[allow(unsafe_code)]
unsafe impl Sync for Strings {}

impl Strings {
    fn new(strings: impl IntoIterator<Item = OsString>) -> io::Result<Self> {
        let strings = strings
            .into_iter()
            .map(|string| CString::new(OsStr::as_bytes(&string)))
            .collect::<Result<Vec<_>, _>>()?;
        let ends = std::iter::once(std::ptr::null());
        Ok(Self {
            pointers: strings.iter().map(|s| s.as_ptr()).chain(ends).collect(),
            _strings: strings,
        })
    }
}
