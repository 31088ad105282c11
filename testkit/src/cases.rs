//! Runs the command lines of `tests/vectors/cli/cases.txt`; its README says
//! what is compared.

use crate::process::{Finished, Sandbox};
use std::path::Path;

/// What base did with a command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Case {
    /// The line as the file has it.
    pub line: String,
    /// The program's arguments, with TMPDIR in them.
    pub arguments: Vec<String>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
    /// Exit code.
    pub code: i32,
}

/// Where our program differs on purpose: it refuses what base bent, with exit
/// code 1 and a message on standard error.
#[derive(Clone, Copy, Debug)]
pub struct Refused {
    /// The line as the file has it.
    pub line: &'static str,
    /// Why.
    pub why: &'static str,
}

/// Runs all cases of a program, each in a sandbox that `prepare` may fill, and
/// panics with a list of all that differ.
pub fn run(program: &str, refused: &[Refused], prepare: impl Fn(&Sandbox)) {
    let cases = all(program);
    for row in refused {
        let known = cases.iter().any(|case| case.line == row.line);
        assert!(known, "no case {:?} ({})", row.line, row.why);
    }
    let failures: Vec<String> = cases
        .iter()
        .filter_map(|case| {
            let sandbox = Sandbox::new();
            prepare(&sandbox);
            let arguments = case.arguments.iter().map(|a| sandbox.expand(a));
            let finished = sandbox.run(program, arguments);
            let verdict = if refused.iter().any(|row| row.line == case.line) {
                is_not_refused(&finished)
            } else {
                differs(case, &finished)
            };
            verdict.map(|why| format!("$ {}\n{why}\nours: {finished:#?}\n", case.line))
        })
        .collect();
    let (bad, all) = (failures.len(), cases.len());
    assert!(bad == 0, "{bad} of {all} differ:\n{}", failures.join("\n"));
}

/// All cases of a program, in their order.
pub fn all(program: &str) -> Vec<Case> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/vectors/cli/cases.txt");
    let text = std::fs::read_to_string(&file).expect("the captured command lines");
    let cases = parse(&text, program);
    assert!(!cases.is_empty(), "no case of {program}");
    cases
}

impl Sandbox {
    /// A text of the captures with TMPDIR made this sandbox.
    pub fn expand(&self, text: &str) -> String {
        text.replace("TMPDIR", &self.path().to_string_lossy())
    }
}

/// What a finished program differs in from base.
pub fn differs(case: &Case, ours: &Finished) -> Option<String> {
    if ours.status.code() != Some(case.code) {
        return Some(format!("exit code: base {}", case.code));
    }
    let exact = case.code == 0 || case.stderr.contains("usage: ");
    let silent = case.stdout.is_empty() && case.stderr.is_empty();
    match (exact, silent) {
        (true, _) if ours.stdout != case.stdout => Some(format!("base: {}", case.stdout)),
        (true, _) if ours.stderr != case.stderr => Some(format!("base: {}", case.stderr)),
        (true, _) => None,
        (false, true) => differs_from_refusal(ours),
        (false, false) if case.stderr.is_empty() => ours
            .stdout
            .is_empty()
            .then(|| "base says why on standard output".into()),
        (false, false) => ours
            .stderr
            .is_empty()
            .then(|| "base says why on standard error".into()),
    }
}

/// Daemons in the foreground say everything on standard output.
fn is_not_refused(ours: &Finished) -> Option<String> {
    let foreground = ours.stdout.contains("error: ");
    let refused = ours.status.code() == Some(1) && foreground;
    if refused {
        return None;
    }
    differs_from_refusal(ours)
}

fn differs_from_refusal(ours: &Finished) -> Option<String> {
    let refused =
        ours.status.code() == Some(1) && ours.stdout.is_empty() && !ours.stderr.is_empty();
    (!refused).then(|| "wanted: exit code 1 and a message on standard error alone".into())
}

fn parse(text: &str, program: &str) -> Vec<Case> {
    text.split("\n\n")
        .filter_map(|block| {
            let mut lines = block.lines();
            let line = lines.next()?.strip_prefix("$ ")?;
            let words: Vec<&str> = line.split_whitespace().collect();
            let who = match line {
                "ggatec create /tmp" => "ggatel",
                _ => words.iter().find(|word| is_program(word))?,
            };
            let place = words.iter().position(|word| is_program(word))?;
            let mut case = Case {
                line: line.to_owned(),
                arguments: words[place + 1..].iter().map(ToString::to_string).collect(),
                stdout: String::new(),
                stderr: String::new(),
                code: -1,
            };
            for line in lines {
                if let Some(line) = line.strip_prefix("out| ") {
                    case.stdout.extend([line, "\n"]);
                } else if let Some(line) = line.strip_prefix("err| ") {
                    case.stderr.extend([line, "\n"]);
                } else if let Some(code) = line.strip_prefix("exit ") {
                    case.code = code.trim().parse().expect("an exit code");
                } else {
                    panic!("not understood: {line}");
                }
            }
            (who == program).then_some(case)
        })
        .collect()
}

fn is_program(word: &str) -> bool {
    ["ggatec", "ggatel", "ggated", "hastctl", "hastd"].contains(&word)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    const TEXT: &str = "\
$ ggatel list
exit 0

$ stdbuf -oL timeout 1 ggated -v x
out| error: bind
out|   again
err| half
exit 1
";

    #[test]
    fn a_program_s_cases_are_found_behind_what_ran_it() {
        assert_eq!(parse(TEXT, "ggatel").len(), 1);
        assert_eq!(
            parse(TEXT, "ggated"),
            [Case {
                line: "stdbuf -oL timeout 1 ggated -v x".into(),
                arguments: vec!["-v".into(), "x".into()],
                stdout: "error: bind\n  again\n".into(),
                stderr: "half\n".into(),
                code: 1,
            }]
        );
    }

    fn case(stdout: &str, stderr: &str, code: i32) -> Case {
        Case {
            line: String::new(),
            arguments: Vec::new(),
            stdout: stdout.into(),
            stderr: stderr.into(),
            code,
        }
    }

    fn ended(stdout: &str, stderr: &str, code: i32) -> Finished {
        Finished {
            status: ExitStatus::from_raw(code << 8),
            stdout: stdout.into(),
            stderr: stderr.into(),
        }
    }

    #[test]
    fn usage_and_success_are_compared_to_the_byte_and_errors_by_their_stream() {
        let usage = "usage: x\n";
        for (base, ours, same) in [
            (case("ggate0\n", "", 0), ended("ggate0\n", "", 0), true),
            (case("ggate0\n", "", 0), ended("ggate1\n", "", 0), false),
            (case("", "", 0), ended("", "warning\n", 0), false),
            (case("", "", 0), ended("", "", 1), false),
            (case("", usage, 1), ended("", usage, 1), true),
            (case("", usage, 1), ended("", "usage: y\n", 1), false),
            (case("", usage, 1), ended("", usage, 2), false),
            (case("error: a\n", "", 1), ended("error: b\n", "", 1), true),
            (case("error: a\n", "", 1), ended("", "b\n", 1), false),
            (case("info: a\n", "b\n", 1), ended("", "c\n", 1), true),
            (
                case("info: a\n", "b\n", 1),
                ended("info: a\n", "", 1),
                false,
            ),
            (case("", "", 1), ended("", "why\n", 1), true),
            (case("", "", 1), ended("", "", 1), false),
        ] {
            assert_eq!(differs(&base, &ours).is_none(), same, "{base:?} {ours:?}");
        }
    }
}
