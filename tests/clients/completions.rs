//! The completions in the shells that they are for.

use std::path::{Path, PathBuf};
use std::process::Command;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../share/completions")
}

/// What a shell prints that is told this and has the folder in `$1`.
fn shell(words: &[&str], script: &str) -> String {
    let output = Command::new(words[0])
        .args(&words[1..])
        .arg(script)
        .env("FOLDER", folder())
        .output()
        .unwrap_or_else(|error| panic!("{}: {error}; run scripts/setup.sh", words[0]));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{script}: {errors}"
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn bash_completes_sub_commands_options_and_values() {
    for (line, expected) in [
        ("hastctl st", "status stop"),
        ("hastctl role --w", "--wait"),
        ("hastctl role --wait se", "secondary"),
        ("hastctl role primary a", "all"),
        ("hastctl list --w", ""),
        ("ggatec destroy -", "-f -u"),
        ("ggatec create -o r", "ro rw"),
        ("ggatel list -", "-u -v"),
        ("hastd -", "-c -d -F -h -P -t"),
        ("ggated -v -", "-a -F -h -n -p -R -S -v"),
    ] {
        let program = line.split(' ').next().unwrap();
        let script = format!(
            ". \"$FOLDER/{program}.bash\"; COMP_WORDS=({line}); \
             COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); _{program}; echo \"${{COMPREPLY[*]}}\""
        );
        assert_eq!(
            shell(&["bash", "-c"], &script).trim_end(),
            expected,
            "{line}"
        );
    }
}

#[test]
fn zsh_finds_and_loads_them() {
    let script = "fpath=($FOLDER $fpath); autoload -U compinit; compinit -D -u; \
                  for name in ggatec ggated ggatel hastctl hastd; do \
                  echo $_comps[$name]; autoload +X _$name; done";
    let found = shell(&["zsh", "-fc"], script);
    assert_eq!(found, "_ggatec\n_ggated\n_ggatel\n_hastctl\n_hastd\n");
}

#[test]
fn tcsh_takes_all_of_them() {
    let script = "source $FOLDER/highgate.csh; complete ggatec; complete hastctl";
    let rules = shell(&["tcsh", "-f", "-c"], script);
    assert!(rules.contains("(create rescue destroy list)"), "{rules}");
    assert!(rules.contains("(init primary secondary)"), "{rules}");
}
