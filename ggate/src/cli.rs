//! Base's command-line grammar on top of clap: usage texts, exit codes, numbers.
