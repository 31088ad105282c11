//! Hook programs (`exec`). Facts: spec/hast-behaviour.md section 9.
//!
//! A hook is started directly, without a shell, as the daemon's user, in an
//! environment that does not depend on who started the daemon, and in a
//! process group of its own. Hooks of one resource run one after the other, in
//! the order of what happened; one that does not end is killed.

use super::children::Exit;
use crate::log;
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::collections::VecDeque;
use std::fmt::{self, Display};
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Hooks that run at once, of all resources.
const MOST_RUNNING: usize = 32;

/// Hooks of one resource that may wait. A peer that comes and goes causes two
/// each time.
const MOST_WAITING: usize = 64;

/// How long a hook may take: long enough to check and mount a file system.
const LONGEST: Duration = Duration::from_secs(30 * 60);

/// How often one that takes long is reported, as in base.
const REPORT: Duration = Duration::from_secs(60);

/// All that a hook finds in its environment.
const ENVIRONMENT: [(&str, &str); 2] = [
    (
        "PATH",
        "/sbin:/bin:/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin",
    ),
    ("HOME", "/"),
];

/// A program to be run.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Hook {
    pub(super) program: PathBuf,
    /// What happened, the resource, and more.
    pub(super) arguments: Vec<String>,
}

impl Hook {
    /// What happened to a resource.
    pub(super) fn new(program: &Path, event: &str, resource: &str, more: &[&str]) -> Self {
        let arguments = [&[event, resource], more].concat();
        Self {
            program: program.to_owned(),
            arguments: arguments.into_iter().map(str::to_owned).collect(),
        }
    }

    fn resource(&self) -> &str {
        &self.arguments[1]
    }

    fn start(&self, foreground: bool) -> io::Result<Child> {
        // A name without a slash is not looked for in PATH.
        let program = Path::new(".").join(&self.program);
        let output = || {
            if foreground {
                Stdio::inherit()
            } else {
                Stdio::null()
            }
        };
        Command::new(program)
            .arg0(&self.program)
            .args(&self.arguments)
            .env_clear()
            .envs(ENVIRONMENT)
            .stdin(Stdio::null())
            .stdout(output())
            .stderr(output())
            .process_group(0)
            .spawn()
    }
}

/// One that runs.
struct Running {
    hook: Hook,
    child: Child,
    since: Instant,
    report: Instant,
    killed: bool,
}

/// All hooks, those that run and those that wait, in the order of events.
pub(super) struct Hooks {
    running: Vec<Running>,
    waiting: VecDeque<Hook>,
    foreground: bool,
}

impl Hooks {
    /// In the foreground, hooks write to the terminal.
    pub(super) const fn new(foreground: bool) -> Self {
        Self {
            running: Vec::new(),
            waiting: VecDeque::new(),
            foreground,
        }
    }

    /// Runs a hook as soon as its predecessors have ended.
    pub(super) fn push(&mut self, hook: Hook, now: Instant) {
        let of_same = |other: &&Hook| other.resource() == hook.resource();
        if self.waiting.iter().filter(of_same).count() >= MOST_WAITING {
            return log::error!(
                "{}Hook not run, {MOST_WAITING} are waiting already: {hook}.",
                hook.about()
            );
        }
        self.waiting.push_back(hook);
        self.start(now);
    }

    /// Looks after those that run.
    pub(super) fn attend(&mut self, now: Instant) {
        self.running.retain_mut(|running| running.attend(now));
        self.start(now);
    }

    /// When to look after them at the latest.
    pub(super) fn due(&self) -> Option<Instant> {
        self.running.iter().map(|running| running.report).min()
    }

    /// Starts none any more; those that run go on.
    pub(super) fn end(&mut self) {
        for hook in self.waiting.drain(..) {
            log::warning!("{}Hook not run, hastd ends: {hook}.", hook.about());
        }
    }

    fn start(&mut self, now: Instant) {
        let mut index = 0;
        while self.running.len() < MOST_RUNNING && index < self.waiting.len() {
            if !self.is_next(index) {
                index += 1;
                continue;
            }
            let Some(hook) = self.waiting.remove(index) else {
                return;
            };
            log::debug!(1, "{}Running hook: {hook}.", hook.about());
            match hook.start(self.foreground) {
                Ok(child) => self.running.push(Running {
                    hook,
                    child,
                    since: now,
                    report: now + REPORT,
                    killed: false,
                }),
                Err(error) => {
                    log::error!(
                        "{}Cannot run hook {hook}: {}.",
                        hook.about(),
                        ggate::errno::words(&error)
                    );
                }
            }
        }
    }

    /// Whether nothing of its resource runs or waits before it.
    fn is_next(&self, index: usize) -> bool {
        let resource = self.waiting[index].resource();
        let before = self.waiting.iter().take(index);
        let mut others = before.chain(self.running.iter().map(|running| &running.hook));
        others.all(|other| other.resource() != resource)
    }
}

impl Display for Hooks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (running, waiting) = (self.running.len(), self.waiting.len());
        write!(f, "{running} hooks running and {waiting} waiting")
    }
}

impl Running {
    /// Whether it still runs.
    fn attend(&mut self, now: Instant) -> bool {
        let (hook, about) = (&self.hook, self.hook.about());
        let exit = match Child::try_wait(&mut self.child) {
            Ok(None) => None,
            Ok(Some(status)) => Some(Exit::from(status)),
            Err(error) => {
                log::error!("{about}Hook {hook}: {}.", ggate::errno::words(&error));
                return false;
            }
        };
        match exit {
            Some(Exit::Code(0)) => {
                log::debug!(1, "{about}Hook exited gracefully: {hook}.");
                return false;
            }
            Some(exit) => {
                log::error!("{about}Hook {exit}: {hook}.");
                return false;
            }
            None => {}
        }
        if now >= self.report {
            self.report = now + REPORT;
            let seconds = now.duration_since(self.since).as_secs();
            log::warning!("{about}Hook has been running for {seconds} s: {hook}.");
            if now.duration_since(self.since) >= LONGEST && !self.killed {
                log::error!("{about}Hook takes too long and is killed: {hook}.");
                self.kill();
                self.killed = true;
            }
        }
        true
    }

    /// With all that it has started.
    fn kill(&mut self) {
        let group = i32::try_from(self.child.id()).map(Pid::from_raw);
        if !group.is_ok_and(|group| killpg(group, Signal::SIGKILL).is_ok()) {
            // It has ended meanwhile, or has no group yet.
            let _ = self.child.kill();
        }
    }
}

impl Hook {
    fn about(&self) -> log::About<'_> {
        log::About {
            name: self.resource(),
            role: None,
        }
    }
}

impl Display for Hook {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.program.display(), self.arguments.join(" "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    /// A hook that writes down how it was called, and waits for a file.
    const SCRIPT: &str = "#!/bin/sh
echo \"$@ begins\" >>$(dirname $0)/log
[ $1 != slow ] || while [ ! -e $(dirname $0)/go ]; do sleep 0.01; done
env >$(dirname $0)/env
echo \"$@ ends\" >>$(dirname $0)/log
";

    fn script() -> (tempfile::TempDir, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("hook");
        fs::write(&path, SCRIPT).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        (dir, path)
    }

    fn wait_for_end(hooks: &mut Hooks) {
        testkit::process::wait_for("the hooks to end", || {
            hooks.attend(Instant::now());
            let ended = hooks.running.is_empty() && hooks.waiting.is_empty();
            ended.then_some(())
        });
    }

    #[test]
    fn hooks_of_a_resource_run_in_order_and_hold_up_no_other() {
        let (dir, program) = script();
        let mut hooks = Hooks::new(false);
        let now = Instant::now();
        hooks.push(Hook::new(&program, "slow", "a", &[]), now);
        hooks.push(Hook::new(&program, "role", "a", &["init", "primary"]), now);
        hooks.push(Hook::new(&program, "connect", "b", &[]), now);
        let read = || fs::read_to_string(dir.path().join("log")).unwrap_or_default();
        testkit::process::wait_for("the other resource's hook", || {
            hooks.attend(Instant::now());
            read().contains("connect b ends").then_some(())
        });
        assert!(!read().contains("role a"));
        fs::write(dir.path().join("go"), "").unwrap();
        wait_for_end(&mut hooks);
        let log = read();
        let of_a: Vec<&str> = log.lines().filter(|line| line.contains(" a")).collect();
        assert_eq!(
            of_a,
            [
                "slow a begins",
                "slow a ends",
                "role a init primary begins",
                "role a init primary ends"
            ]
        );
    }

    #[test]
    fn the_environment_is_clean() {
        let (dir, program) = script();
        let mut hooks = Hooks::new(false);
        hooks.push(Hook::new(&program, "connect", "a", &[]), Instant::now());
        wait_for_end(&mut hooks);
        let environment = fs::read_to_string(dir.path().join("env")).unwrap();
        for (name, _) in environment.lines().filter_map(|line| line.split_once('=')) {
            // The shell adds some of its own.
            assert!(
                ["PATH", "HOME", "PWD", "OLDPWD", "SHLVL", "_"].contains(&name),
                "{name}"
            );
        }
        assert!(environment.contains("PATH=/sbin:"));
    }

    #[test]
    fn one_that_does_not_end_is_killed_with_its_children() {
        let (_dir, program) = script();
        let mut hooks = Hooks::new(false);
        let begin = Instant::now();
        hooks.push(Hook::new(&program, "slow", "a", &[]), begin);
        hooks.attend(begin + REPORT);
        assert!(!hooks.running[0].killed);
        hooks.attend(begin + LONGEST);
        wait_for_end(&mut hooks);
    }

    #[test]
    fn too_many_are_not_kept() {
        let (dir, program) = script();
        let mut hooks = Hooks::new(false);
        let now = Instant::now();
        for event in ["slow"].iter().chain([&"connect"; 3 * MOST_WAITING]) {
            hooks.push(Hook::new(&program, event, "a", &[]), now);
        }
        assert_eq!(hooks.waiting.len(), MOST_WAITING);
        let missing = Hook::new(&dir.path().join("missing"), "connect", "b", &[]);
        hooks.push(missing, now);
        assert_eq!(hooks.running.len(), 1, "what cannot be run is forgotten");
        fs::write(dir.path().join("go"), "").unwrap();
        hooks.end();
        wait_for_end(&mut hooks);
    }
}
