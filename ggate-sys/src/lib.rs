//! The raw ABI of `/dev/ggctl`: structures, constants and the six ioctls.
//!
//! `bindings.rs` is made by `bindgen.sh` from FreeBSD's own headers and
//! committed, so that nobody needs LLVM to build; `make test-drift` makes it
//! anew and compares. The interface is the same in FreeBSD 12.1, 13, 14 and 15
//! (spec/geom-gate-kernel.md sections 1 to 3). The structures are plain data
//! and compile on every 64-bit system; only FreeBSD has the calls.

#[cfg(not(target_pointer_width = "64"))]
compile_error!(
    "the structures of /dev/ggctl differ on 32-bit systems, which Highgate does not support"
);

#[allow(
    unsafe_code,
    non_camel_case_types,
    unreachable_pub,
    missing_docs,
    clippy::pedantic,
    clippy::undocumented_unsafe_blocks,
    reason = "generated; its only unsafe code fills plain structures with zeros"
)]
mod bindings;

pub use bindings::*;

/// The six calls, named as their commands. Each returns the kernel's errno; the
/// structure is updated only when there was none.
///
/// # Safety
///
/// START writes up to `gctl_length` bytes to `gctl_data`. DONE of a READ that
/// succeeded reads from it as many bytes as the request asked for, whatever
/// `gctl_length` says. Both pointers must be valid for that.
#[cfg(target_os = "freebsd")]
#[allow(unsafe_code, missing_docs, reason = "made by macros, explained above")]
pub mod ioctl {
    use super::bindings as b;
    use nix::ioctl_readwrite_bad;

    ioctl_readwrite_bad!(create, b::G_GATE_CMD_CREATE_NUMBER, b::g_gate_ctl_create);
    ioctl_readwrite_bad!(modify, b::G_GATE_CMD_MODIFY_NUMBER, b::g_gate_ctl_modify);
    ioctl_readwrite_bad!(destroy, b::G_GATE_CMD_DESTROY_NUMBER, b::g_gate_ctl_destroy);
    ioctl_readwrite_bad!(cancel, b::G_GATE_CMD_CANCEL_NUMBER, b::g_gate_ctl_cancel);
    ioctl_readwrite_bad!(start, b::G_GATE_CMD_START_NUMBER, b::g_gate_ctl_io);
    ioctl_readwrite_bad!(done, b::G_GATE_CMD_DONE_NUMBER, b::g_gate_ctl_io);
}

/// Fails to compile unless a structure has this size and its fields stand at
/// these offsets.
macro_rules! layout {
    ($name:ident, $size:literal, { $($field:ident: $offset:literal),* $(,)? }) => {
        const _: () = assert!(size_of::<$name>() == $size);
        $(const _: () = assert!(core::mem::offset_of!($name, $field) == $offset);)*
    };
}

layout!(g_gate_ctl_create, 2608, {
    gctl_version: 0,
    gctl_mediasize: 8,
    gctl_sectorsize: 16,
    gctl_flags: 20,
    gctl_maxcount: 24,
    gctl_timeout: 28,
    gctl_name: 32,
    gctl_info: 287,
    gctl_readprov: 2335,
    gctl_readoffset: 2592,
    gctl_unit: 2600,
});
layout!(g_gate_ctl_modify, 2336, {
    gctl_version: 0,
    gctl_unit: 4,
    gctl_modify: 8,
    gctl_mediasize: 16,
    gctl_info: 24,
    gctl_readprov: 2072,
    gctl_readoffset: 2328,
});
layout!(g_gate_ctl_destroy, 268, {
    gctl_version: 0,
    gctl_unit: 4,
    gctl_force: 8,
    gctl_name: 12,
});
layout!(g_gate_ctl_cancel, 272, {
    gctl_version: 0,
    gctl_unit: 4,
    gctl_seq: 8,
    gctl_name: 16,
});
layout!(g_gate_ctl_io, 56, {
    gctl_version: 0,
    gctl_unit: 4,
    gctl_seq: 8,
    gctl_cmd: 16,
    gctl_offset: 24,
    gctl_length: 32,
    gctl_data: 40,
    gctl_error: 48,
});

// The size is part of a command's number: a wrong one is ENOTTY.
const _: () = assert!(G_GATE_CMD_CREATE_NUMBER == 0xCA30_6D00);
const _: () = assert!(G_GATE_CMD_MODIFY_NUMBER == 0xC920_6D01);
const _: () = assert!(G_GATE_CMD_DESTROY_NUMBER == 0xC10C_6D02);
const _: () = assert!(G_GATE_CMD_CANCEL_NUMBER == 0xC110_6D03);
const _: () = assert!(G_GATE_CMD_START_NUMBER == 0xC038_6D04);
const _: () = assert!(G_GATE_CMD_DONE_NUMBER == 0xC038_6D05);
