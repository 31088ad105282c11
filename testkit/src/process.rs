//! Programs under test as processes that never outlive their test.
//!
//! A [`Sandbox`] is a private directory: working directory, temporary files and
//! run directory (`GGATE_RUNDIR`) of everything started in it. Dropping it
//! kills what still runs there, daemons that left their terminal included:
//! they carry the directory's name in their environment.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use parking_lot::{Condvar, Mutex};
use std::ffi::OsStr;
use std::io::Read;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long anything may take before a test gives up: generous, for loaded
/// machines; only failing tests wait for it.
pub const DEADLINE: Duration = Duration::from_secs(30);

/// How often a condition is looked at that nobody announces.
const POLL_INTERVAL: Duration = Duration::from_millis(2);

/// The environment variable that names the run directory of software gates.
const RUN_DIRECTORY: &str = "GGATE_RUNDIR";

/// Waits until `look` finds something and gives it back; panics, naming `what`,
/// after [`DEADLINE`].
pub fn wait_for<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < deadline, "waited in vain for {what}");
        std::thread::sleep(POLL_INTERVAL);
    }
}

/// Waits until there is something at `path`.
pub fn wait_for_file(path: &Path) {
    wait_for(&path.display().to_string(), || path.exists().then_some(()));
}

/// Waits until somebody accepts connections at `address`.
pub fn wait_for_port(address: SocketAddr) {
    wait_for(&format!("a listener at {address}"), || {
        TcpStream::connect_timeout(&address, DEADLINE)
            .ok()
            .map(drop)
    });
}

/// A TCP port of 127.0.0.1 that was free a moment ago, for programs that must
/// be told one.
pub fn free_port() -> u16 {
    TcpListener::bind(("127.0.0.1", 0))
        .and_then(|listener| listener.local_addr())
        .expect("a free port of 127.0.0.1")
        .port()
}

/// The program `name` of this workspace, as built beside the running test.
/// `cargo test --workspace` builds all of them first.
pub fn program(name: &str) -> PathBuf {
    let test = std::env::current_exe().expect("the path of this test");
    let found = test
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join(name))
        .find(|path| path.is_file());
    found.unwrap_or_else(|| {
        panic!(
            "{name} is not built beside {}; run `cargo build --workspace` (with the same \
             profile) or `cargo test --workspace`",
            test.display()
        )
    })
}

/// A private directory and the processes in it.
#[derive(Debug)]
pub struct Sandbox {
    dir: tempfile::TempDir,
}

impl Default for Sandbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Sandbox {
    /// An empty one.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("highgate-")
            .tempdir()
            .expect("a temporary directory");
        let sandbox = Self { dir };
        std::fs::create_dir(sandbox.run_dir()).expect("a run directory");
        sandbox
    }

    /// The directory, working directory of all that runs here.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Where software gates put their sockets.
    pub fn run_dir(&self) -> PathBuf {
        self.path().join("run")
    }

    /// A file name in the directory.
    pub fn file(&self, name: &str) -> PathBuf {
        self.path().join(name)
    }

    /// Writes a file in the directory.
    pub fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.file(name);
        std::fs::write(&path, content).expect("a file in the sandbox");
        path
    }

    /// A command that runs here: a path, or the name of a workspace program.
    pub fn command(&self, name: impl AsRef<OsStr>) -> Command {
        let name = Path::new(name.as_ref());
        let path = match name.to_str() {
            Some(bare) if !bare.contains('/') => program(bare),
            _ => name.to_owned(),
        };
        let mut command = Command::new(path);
        command
            .current_dir(self.path())
            .env(RUN_DIRECTORY, self.run_dir())
            .env("LC_ALL", "C")
            .stdin(Stdio::null());
        command
    }

    /// Starts a program and captures what it prints.
    pub fn spawn<A: AsRef<OsStr>>(
        &self,
        name: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = A>,
    ) -> Running {
        let mut command = self.command(name);
        command.args(args);
        Running::start(&mut command)
    }

    /// The processes that were started here and run, their children, too.
    pub fn processes(&self) -> Vec<Pid> {
        let mark = [RUN_DIRECTORY, "=", &self.run_dir().to_string_lossy()].concat();
        processes_with(mark.as_bytes())
    }

    /// Runs a program to its end.
    pub fn run<A: AsRef<OsStr>>(
        &self,
        name: impl AsRef<OsStr>,
        args: impl IntoIterator<Item = A>,
    ) -> Finished {
        self.spawn(name, args).finish()
    }
}

impl Drop for Sandbox {
    fn drop(&mut self) {
        for pid in self.processes() {
            // It may have ended by itself meanwhile.
            let _ = kill(pid, Signal::SIGKILL);
        }
    }
}

/// The processes that have `mark` in their environment.
#[cfg(target_os = "linux")]
fn processes_with(mark: &[u8]) -> Vec<Pid> {
    let Ok(all) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    all.flatten()
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let environment = std::fs::read(entry.path().join("environ")).ok()?;
            environment
                .split(|&byte| byte == 0)
                .any(|variable| variable == mark)
                .then(|| Pid::from_raw(pid))
        })
        .collect()
}

/// The processes that have `mark` in their environment.
#[cfg(not(target_os = "linux"))]
fn processes_with(mark: &[u8]) -> Vec<Pid> {
    let listing = Command::new("ps")
        .args(["-axeww", "-o", "pid=,command="])
        .output()
        .map(|output| output.stdout)
        .unwrap_or_default();
    listing
        .split(|&byte| byte == b'\n')
        .filter(|line| line.windows(mark.len()).any(|part| part == mark))
        .filter_map(|line| {
            let line = std::str::from_utf8(line.trim_ascii_start()).ok()?;
            line.split_whitespace().next()?.parse().ok()
        })
        .map(Pid::from_raw)
        .collect()
}

/// A program that has ended.
#[derive(Debug)]
pub struct Finished {
    /// How.
    pub status: ExitStatus,
    /// All it printed on standard output.
    pub stdout: String,
    /// All it printed on standard error.
    pub stderr: String,
}

impl Finished {
    /// The exit code; panics when a signal ended the program.
    #[track_caller]
    pub fn code(&self) -> i32 {
        self.status
            .code()
            .unwrap_or_else(|| panic!("no exit code: {self:?}"))
    }

    /// Asserts the exit code and, failing that, shows what was printed.
    #[track_caller]
    pub fn expect_code(self, code: i32) -> Self {
        assert_eq!(self.status.code(), Some(code), "{self:?}");
        self
    }

    /// Asserts that it was killed by this signal.
    #[track_caller]
    pub fn expect_signal(self, signal: Signal) -> Self {
        assert_eq!(self.status.signal(), Some(signal as i32), "{self:?}");
        self
    }
}

/// What a process has printed so far, filled by a thread.
#[derive(Clone, Default, Debug)]
struct Captured(Arc<(Mutex<Text>, Condvar)>);

#[derive(Default, Debug)]
struct Text {
    bytes: Vec<u8>,
    complete: bool,
}

impl Captured {
    fn from(mut pipe: impl Read + Send + 'static) -> Self {
        let captured = Self::default();
        let filled = captured.clone();
        std::thread::spawn(move || {
            let (text, changed) = &*filled.0;
            let mut buffer = [0; 4096];
            while let Ok(n @ 1..) = pipe.read(&mut buffer) {
                text.lock().bytes.extend_from_slice(&buffer[..n]);
                changed.notify_all();
            }
            text.lock().complete = true;
            changed.notify_all();
        });
        captured
    }

    fn so_far(&self) -> String {
        String::from_utf8_lossy(&self.0.0.lock().bytes).into_owned()
    }

    /// Waits for a line that `matches`.
    fn line(&self, matches: impl Fn(&str) -> bool) -> Result<String, String> {
        let deadline = Instant::now() + DEADLINE;
        let (text, changed) = &*self.0;
        let mut text = text.lock();
        loop {
            let all = String::from_utf8_lossy(&text.bytes);
            let complete = all.rfind('\n').map_or("", |end| &all[..end]);
            if let Some(line) = complete.lines().find(|line| matches(line)) {
                return Ok(line.to_owned());
            }
            if text.complete || changed.wait_until(&mut text, deadline).timed_out() {
                return Err(String::from_utf8_lossy(&text.bytes).into_owned());
            }
        }
    }

    /// Everything, once the last writer has closed it.
    fn all(&self) -> String {
        let (text, changed) = &*self.0;
        let mut text = text.lock();
        let incomplete = |text: &mut Text| !text.complete;
        let late = changed.wait_while_for(&mut text, incomplete, DEADLINE);
        let all = String::from_utf8_lossy(&text.bytes).into_owned();
        assert!(
            !late.timed_out(),
            "the program ended, but somebody keeps its output open; so far: {all:?}"
        );
        all
    }
}

/// A running program, killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Captured,
    stderr: Captured,
}

impl Running {
    /// Starts `command` with captured output. On Linux the program dies with
    /// the thread that calls this, even when the test itself is killed.
    pub fn start(command: &mut Command) -> Self {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        die_with_parent(command);
        let mut child = command
            .spawn()
            .unwrap_or_else(|e| panic!("cannot start {command:?}: {e}"));
        let stdout = Captured::from(child.stdout.take().expect("a pipe was asked for"));
        let stderr = Captured::from(child.stderr.take().expect("a pipe was asked for"));
        Self {
            child,
            stdout,
            stderr,
        }
    }

    /// Its process id.
    pub fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().try_into().expect("a pid is a C int"))
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Standard output so far.
    pub fn stdout(&self) -> String {
        self.stdout.so_far()
    }

    /// Standard error so far.
    pub fn stderr(&self) -> String {
        self.stderr.so_far()
    }

    /// Waits for a line on standard output that contains `part`.
    #[track_caller]
    pub fn wait_for_line(&self, part: &str) -> String {
        self.stdout
            .line(|line| line.contains(part))
            .unwrap_or_else(|got| {
                let errors = self.stderr();
                panic!("no line with {part:?}; standard output: {got:?}, error: {errors:?}")
            })
    }

    /// Sends a signal.
    pub fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("a signal to our own child");
    }

    /// SIGTERM, then waits for the end.
    #[track_caller]
    pub fn terminate(self) -> Finished {
        self.signal(Signal::SIGTERM);
        self.finish()
    }

    /// SIGKILL (kill -9), then waits for the end.
    #[track_caller]
    pub fn kill9(self) -> Finished {
        self.signal(Signal::SIGKILL);
        self.finish()
    }

    /// Waits for the end.
    #[track_caller]
    pub fn finish(self) -> Finished {
        self.finish_within(DEADLINE)
    }

    /// Waits for the end of what may take longer than other things.
    #[track_caller]
    pub fn finish_within(mut self, patience: Duration) -> Finished {
        let deadline = Instant::now() + patience;
        let status = loop {
            match self.child.try_wait().expect("our own child") {
                Some(status) => break status,
                None if Instant::now() < deadline => std::thread::sleep(POLL_INTERVAL),
                None => panic!("still runs after {patience:?}: {self:?}"),
            }
        };
        Finished {
            status,
            stdout: self.stdout.all(),
            stderr: self.stderr.all(),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[cfg(target_os = "linux")]
fn die_with_parent(command: &mut Command) {
    use std::os::unix::process::CommandExt;
    let set = || Ok(nix::sys::prctl::set_pdeathsig(Signal::SIGKILL)?);
    // SAFETY: between fork and exec this makes one system call and allocates
    // nothing.
    #[allow(unsafe_code)]
    unsafe {
        command.pre_exec(set);
    }
}

#[cfg(not(target_os = "linux"))]
fn die_with_parent(_command: &mut Command) {}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(sandbox: &Sandbox, script: &str) -> Running {
        sandbox.spawn("/bin/sh", ["-c", script])
    }

    #[test]
    fn output_and_exit_code_are_captured() {
        let sandbox = Sandbox::new();
        let end = sandbox
            .run("/bin/sh", ["-c", "echo out; echo err >&2; exit 3"])
            .expect_code(3);
        assert_eq!(
            (end.stdout.as_str(), end.stderr.as_str()),
            ("out\n", "err\n")
        );
    }

    #[test]
    fn a_line_is_waited_for_while_the_program_runs() {
        let sandbox = Sandbox::new();
        let mut program = shell(
            &sandbox,
            "echo early; while ! [ -e go ]; do :; done; echo late",
        );
        program.wait_for_line("early");
        assert!(program.is_running());
        sandbox.write("go", "");
        assert_eq!(program.wait_for_line("late"), "late");
        program.finish().expect_code(0);
    }

    #[test]
    fn signals_arrive() {
        let sandbox = Sandbox::new();
        let script = "trap 'exit 7' TERM; echo ready; while :; do sleep 0.01; done";
        let polite = shell(&sandbox, script);
        polite.wait_for_line("ready");
        polite.terminate().expect_code(7);
        shell(&sandbox, "exec sleep 60")
            .kill9()
            .expect_signal(Signal::SIGKILL);
    }

    #[test]
    fn a_dropped_program_is_dead() {
        let sandbox = Sandbox::new();
        let program = shell(&sandbox, "exec sleep 60");
        let pid = program.pid();
        drop(program);
        assert!(kill(pid, None).is_err());
    }

    #[test]
    fn a_daemon_that_left_its_parent_dies_with_the_sandbox() {
        let sandbox = Sandbox::new();
        let script = "sleep 60 >/dev/null 2>&1 & echo $!";
        let end = sandbox.run("/bin/sh", ["-c", script]).expect_code(0);
        let pid = Pid::from_raw(end.stdout.trim().parse().unwrap());
        kill(pid, None).expect("the daemon runs");
        drop(sandbox);
        // A zombie nobody reaps can still be signalled, but not be running.
        wait_for("the daemon's end", || {
            let state = std::fs::read_to_string(format!("/proc/{pid}/stat"));
            let ended = state.map_or(true, |stat| stat.contains(") Z "));
            (kill(pid, None).is_err() || ended).then_some(())
        });
    }

    #[test]
    fn ports_and_files_are_waited_for() {
        let sandbox = Sandbox::new();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        wait_for_port(listener.local_addr().unwrap());
        let path = sandbox.file("later");
        let _writer = shell(&sandbox, "sleep 0.05; : > later");
        wait_for_file(&path);
    }
}
