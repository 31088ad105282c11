//! Prints the bindings for a header: `ggate-bindgen HEADER CLANG-ARGUMENT...`.
//! `ggate-sys/bindgen.sh` knows the arguments.

use std::error::Error;
use std::{env, io};

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = env::args().skip(1);
    let header = arguments.next().ok_or("usage: ggate-bindgen HEADER ...")?;
    let bindings = bindgen::Builder::default()
        .header(header)
        .clang_args(arguments)
        .allowlist_type("g_gate_ctl_.*")
        .allowlist_var("G_GATE_.*|GG_MODIFY_.*|BIO_(READ|WRITE|DELETE|FLUSH|SPEEDUP)")
        // A name for every byte: padding that a field owns is zeroed with it
        // and may be looked at.
        .explicit_padding(true)
        .derive_default(true)
        .use_core()
        .merge_extern_blocks(true)
        .generate_comments(false)
        .rust_target(bindgen::RustTarget::stable(88, 0).map_err(|_| "unknown Rust version")?)
        .raw_line("// Made by ggate-sys/bindgen.sh from FreeBSD's headers. Do not edit.")
        .disable_header_comment()
        .formatter(bindgen::Formatter::Rustfmt)
        .generate()?;
    bindings.write(Box::new(io::stdout().lock()))?;
    Ok(())
}
