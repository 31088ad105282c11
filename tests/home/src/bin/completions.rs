//! Writes share/completions anew.

fn main() -> std::io::Result<()> {
    for (name, text) in home::completions::files() {
        std::fs::write(home::project("share/completions").join(name), text)?;
    }
    Ok(())
}
