//! ggated(8).

fn main() {}
