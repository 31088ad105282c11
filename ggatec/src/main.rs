//! ggatec(8).

#[cfg(test)]
mod options;

fn main() {}
