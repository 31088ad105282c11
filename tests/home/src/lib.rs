//! A FreeBSD host, as far as shell scripts see one: a folder with an `etc`, a
//! `dev` and programs of FreeBSD that write down how they were called
//! (`freebsd/program`, `freebsd/rc.subr`).
//!
//! Scripts are run as they are, but for their absolute paths, which are made to
//! lie in the folder: see [`Host::adapt`]. Providers are those of the software
//! gate, so that real `hastd`s and `ggatec`s can take part.

pub mod completions;
pub mod manual;
pub mod messages;
pub mod transcript;

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::process::{Finished, Running, Sandbox, program, wait_for};

/// FreeBSD's programs that `freebsd/program` can be.
const PRETENDED: [&str; 20] = [
    "fsck", "gpart", "hastctl", "ifconfig", "kldload", "kldstat", "lockf", "logger", "mount",
    "newfs", "pkg", "pw", "service", "sysctl", "sysrc", "tunefs", "umount", "zfs", "zpool",
    "growfs",
];

/// Where scripts look for things, and where in the folder these are.
const PLACES: [(&str, &str); 6] = [
    ("/etc/", "/etc/"),
    ("/var/run/", "/var/run/"),
    ("/usr/local/", "/usr/local/"),
    ("/dev/hast", "/run/hast"),
    ("/dev/ggate", "/run/ggate"),
    ("/dev/da", "/dev/da"),
];

/// A file of the project.
#[must_use]
pub fn project(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../..")
        .join(path)
}

/// The text of a file of the project.
#[must_use]
pub fn read(path: &str) -> String {
    let path = project(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// One host.
#[derive(Debug)]
pub struct Host {
    sandbox: Sandbox,
}

impl Default for Host {
    fn default() -> Self {
        Self::new()
    }
}

impl Host {
    /// A host whose programs all pretend.
    #[must_use]
    pub fn new() -> Self {
        let host = Self {
            sandbox: Sandbox::new(),
        };
        for folder in [
            "bin",
            "dev",
            "etc/rc.d",
            "var/run",
            "usr/local/sbin",
            "usr/local/etc/rc.d",
            "roles",
            "peers",
            "run/hast",
        ] {
            fs::create_dir_all(host.path(folder)).expect("a folder");
        }
        let pretender = project("tests/home/freebsd/program");
        for name in PRETENDED {
            symlink(&pretender, host.path("bin").join(name)).expect("a link");
        }
        host.write("etc/rc.subr", &read("tests/home/freebsd/rc.subr"));
        host
    }

    /// A host with our own programs, which find their files in its folder.
    #[must_use]
    pub fn with_programs() -> Self {
        let host = Self::new();
        let path = |name| program(name).display().to_string();
        for (name, line) in [
            (
                "hastd",
                format!(
                    "exec {} -c /etc/hast.conf -P /var/run/hastd.pid \"$@\"",
                    path("hastd")
                ),
            ),
            (
                "hastctl",
                format!(
                    "verb=$1\nshift\nexec {} \"$verb\" -c /etc/hast.conf \"$@\"",
                    path("hastctl")
                ),
            ),
            (
                "ggated",
                format!("exec {} -F /var/run/ggated.pid \"$@\"", path("ggated")),
            ),
            ("ggatec", format!("exec {} \"$@\"", path("ggatec"))),
            ("ggatel", format!("exec {} \"$@\"", path("ggatel"))),
        ] {
            let to = format!("usr/local/sbin/{name}");
            host.write(&to, &host.adapt(&format!("#!/bin/sh\n{line}\n")));
            host.make_executable(&to);
            let _ = fs::remove_file(host.path("bin").join(name));
            symlink(host.path(&to), host.path("bin").join(name)).expect("a link");
        }
        host
    }

    /// Somewhere in its folder.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.sandbox.file(name)
    }

    /// A script or a text with its absolute paths below this host's folder.
    #[must_use]
    pub fn adapt(&self, text: &str) -> String {
        let root = self.sandbox.path().to_str().expect("a path of ASCII");
        let mut adapted = String::new();
        let mut rest = text;
        while let Some(next) = rest.chars().next() {
            let inside = adapted
                .chars()
                .last()
                .is_some_and(|c| c.is_ascii_alphanumeric() || "%}._-/*".contains(c));
            let place = PLACES.iter().find(|(from, _)| rest.starts_with(from));
            if let (false, Some((from, to))) = (inside, place) {
                adapted.push_str(root);
                adapted.push_str(to);
                rest = &rest[from.len()..];
            } else if let Some(behind) = rest.strip_prefix("%%PREFIX%%") {
                adapted.push_str(root);
                adapted.push_str("/usr/local");
                rest = behind;
            } else {
                adapted.push(next);
                rest = &rest[next.len_utf8()..];
            }
        }
        adapted
    }

    /// Writes a file.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        fs::write(path, text).expect("a file of the host");
    }

    /// Takes a file away that may not be there.
    pub fn remove(&self, name: &str) {
        let _ = fs::remove_file(self.path(name));
    }

    /// The text of a file, empty if there is none.
    #[must_use]
    pub fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// Copies a file of the project, adapted and with its mode.
    pub fn install(&self, from: &str, to: &str) {
        self.write(to, &self.adapt(&read(from)));
        let mode = fs::metadata(project(from)).expect("its mode").permissions();
        fs::set_permissions(self.path(to), mode).expect("a mode");
    }

    fn make_executable(&self, name: &str) {
        let mode = fs::Permissions::from_mode(0o755);
        fs::set_permissions(self.path(name), mode).expect("a mode");
    }

    /// A shell that runs these lines here. Their paths are adapted.
    fn shell(&self, lines: &str) -> Command {
        let (bin, local) = (self.path("bin"), self.path("usr/local/sbin"));
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = self.sandbox.command("/bin/sh");
        command
            .args(["-c", &self.adapt(lines)])
            .env("HOST", self.sandbox.path())
            .env(
                "PATH",
                format!(
                    "{}:{}:{path}:/usr/sbin:/sbin",
                    bin.display(),
                    local.display()
                ),
            );
        command
    }

    /// Runs lines of sh to their end.
    #[must_use]
    pub fn run(&self, lines: &str) -> Finished {
        self.spawn(lines).finish()
    }

    /// Starts lines of sh.
    #[must_use]
    pub fn spawn(&self, lines: &str) -> Running {
        Running::start(&mut self.shell(lines))
    }

    /// How FreeBSD's programs were called since this was asked last, without
    /// those that only ask.
    #[must_use]
    pub fn calls(&self) -> Vec<String> {
        let all = self.read("calls");
        self.remove("calls");
        let asks = |call: &str| {
            [
                "hastctl status",
                "hastctl list",
                "ifconfig",
                "mount -p",
                "zpool list",
                "logger",
                "lockf",
                "kldstat",
            ]
            .iter()
            .any(|asking| call.starts_with(asking))
                || call.ends_with("onestatus")
        };
        let root = self.sandbox.path().to_str().expect("a path of ASCII");
        all.lines()
            .filter(|call| !asks(call))
            .map(|call| {
                call.replace(&format!("{root}/run/"), "/dev/")
                    .replace(root, "")
            })
            .collect()
    }

    /// Waits until a program was called so.
    pub fn wait_for_call(&self, call: &str) {
        let call = self.adapt(call);
        wait_for(&call, || {
            self.read("calls")
                .lines()
                .any(|line| line == call)
                .then_some(())
        });
    }
}
