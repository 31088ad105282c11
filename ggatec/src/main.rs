//! ggatec(8).

fn main() {}
