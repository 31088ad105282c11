//! ggatec allocates nothing per request.

use std::process::ExitCode;
use testkit::allocations::{self, Counting};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() -> ExitCode {
    allocations::main("ggatec", |args| ggatec::main(args.into_iter().skip(1)))
}
