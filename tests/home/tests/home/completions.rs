//! The committed completions are those that the tables make.

use home::{completions, read};

#[test]
fn completions_are_those_of_the_option_tables() {
    for (name, text) in completions::files() {
        let path = format!("share/completions/{name}");
        assert!(
            read(&path) == text,
            "{path} is out of date: cargo run -p home --bin completions"
        );
    }
}
