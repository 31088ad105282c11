//! ggatel(8).

fn main() {}
