//! Guides and manuals as something that can be done: commands behind the name
//! of the host, and files that begin with their path.

/// A step of a guide.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Step {
    /// `nodea# command`, with what it prints.
    Run {
        /// What stands before `#`.
        on: String,
        /// The command.
        command: String,
    },
    /// A block that begins with `# /path`.
    Write {
        /// Where.
        path: String,
        /// What.
        text: String,
    },
}

/// The steps of a guide in Markdown, out of its indented blocks.
#[must_use]
pub fn steps(guide: &str) -> Vec<Step> {
    blocks(guide)
        .iter()
        .flat_map(|block| of_block(block))
        .collect()
}

/// Indented blocks, each without its indentation.
fn blocks(guide: &str) -> Vec<Vec<&str>> {
    let mut blocks = Vec::new();
    let mut block = Vec::new();
    for line in guide.lines().chain([""]) {
        match line.strip_prefix("    ") {
            Some(line) => block.push(line),
            // An empty line ends a block; another one may follow at once.
            None if !block.is_empty() => blocks.push(std::mem::take(&mut block)),
            None => {}
        }
    }
    blocks
}

/// The steps of one block.
#[must_use]
pub fn of_block(block: &[&str]) -> Vec<Step> {
    if let Some(path) = block.first().and_then(|line| line.strip_prefix("# /")) {
        return vec![Step::Write {
            path: format!("/{path}"),
            text: block[1..].join("\n") + "\n",
        }];
    }
    let commands = block.iter().filter_map(|line| {
        let (on, command) = line.split_once("# ")?;
        let is_name = !on.is_empty() && on.chars().all(|c| c.is_ascii_lowercase());
        is_name.then(|| Step::Run {
            on: on.into(),
            command: command.into(),
        })
    });
    commands.collect()
}
