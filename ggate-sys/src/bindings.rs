// Made by ggate-sys/bindgen.sh from FreeBSD's headers. Do not edit.

pub const BIO_READ: u32 = 1;
pub const BIO_WRITE: u32 = 2;
pub const BIO_DELETE: u32 = 3;
pub const BIO_FLUSH: u32 = 5;
pub const BIO_SPEEDUP: u32 = 10;
pub const G_GATE_CLASS_NAME: &[u8; 5] = b"GATE\0";
pub const G_GATE_PROVIDER_NAME: &[u8; 6] = b"ggate\0";
pub const G_GATE_MOD_NAME: &[u8; 6] = b"ggate\0";
pub const G_GATE_CTL_NAME: &[u8; 6] = b"ggctl\0";
pub const G_GATE_VERSION: u32 = 3;
pub const G_GATE_MAX_QUEUE_SIZE: u32 = 4096;
pub const G_GATE_FLAG_READONLY: u32 = 1;
pub const G_GATE_FLAG_WRITEONLY: u32 = 2;
pub const G_GATE_FLAG_DESTROY: u32 = 4096;
pub const G_GATE_USERFLAGS: u32 = 3;
pub const G_GATE_UNIT_AUTO: i32 = -1;
pub const G_GATE_NAME_GIVEN: i32 = -2;
pub const G_GATE_INFOSIZE: u32 = 2048;
pub const GG_MODIFY_MEDIASIZE: u32 = 1;
pub const GG_MODIFY_INFO: u32 = 2;
pub const GG_MODIFY_READPROV: u32 = 4;
pub const GG_MODIFY_READOFFSET: u32 = 8;
pub type __int64_t = ::core::ffi::c_long;
pub type __off_t = __int64_t;
pub type u_int = ::core::ffi::c_uint;
pub type off_t = __off_t;
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct g_gate_ctl_create {
    pub gctl_version: u_int,
    pub __bindgen_padding_0: [u8; 4usize],
    pub gctl_mediasize: off_t,
    pub gctl_sectorsize: u_int,
    pub gctl_flags: u_int,
    pub gctl_maxcount: u_int,
    pub gctl_timeout: u_int,
    pub gctl_name: [::core::ffi::c_char; 255usize],
    pub gctl_info: [::core::ffi::c_char; 2048usize],
    pub gctl_readprov: [::core::ffi::c_char; 255usize],
    pub __bindgen_padding_1: [u8; 2usize],
    pub gctl_readoffset: off_t,
    pub gctl_unit: ::core::ffi::c_int,
    pub __bindgen_padding_2: [u8; 4usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of g_gate_ctl_create"][::core::mem::size_of::<g_gate_ctl_create>() - 2608usize];
    ["Alignment of g_gate_ctl_create"][::core::mem::align_of::<g_gate_ctl_create>() - 8usize];
    ["Offset of field: g_gate_ctl_create::gctl_version"]
        [::core::mem::offset_of!(g_gate_ctl_create, gctl_version) - 0usize];
    ["Offset of field: g_gate_ctl_create::gctl_mediasize"]
        [::core::mem::offset_of!(g_gate_ctl_create, gctl_mediasize) - 8usize];
    ["Offset of field: g_gate_ctl_create::gctl_sectorsize"]
        [::core::mem::offset_of!(g_gate_ctl_create, gctl_sectorsize) - 16usize];
    ["Offset of field: g_gate_ctl_create::gctl_flags"]
        [::core::mem::offset_of!(g_gate_ctl_create, gctl_flags) - 20usize];
    ["Offset of field: g_gate_ctl_create::gctl_maxcount"]
        [::core::mem::offset_of!(g_gate_ctl_create, gctl_maxcount) - 24usize];
    ["Offset of field: g_gate_ctl_create::gctl_timeout"]
        [::core::mem::offset_of!(g_gate_ctl_create, gctl_timeout) - 28usize];
    ["Offset of field: g_gate_ctl_create::gctl_name"]
        [::core::mem::offset_of!(g_gate_ctl_create, gctl_name) - 32usize];
    ["Offset of field: g_gate_ctl_create::gctl_info"]
        [::core::mem::offset_of!(g_gate_ctl_create, gctl_info) - 287usize];
    ["Offset of field: g_gate_ctl_create::gctl_readprov"]
        [::core::mem::offset_of!(g_gate_ctl_create, gctl_readprov) - 2335usize];
    ["Offset of field: g_gate_ctl_create::gctl_readoffset"]
        [::core::mem::offset_of!(g_gate_ctl_create, gctl_readoffset) - 2592usize];
    ["Offset of field: g_gate_ctl_create::gctl_unit"]
        [::core::mem::offset_of!(g_gate_ctl_create, gctl_unit) - 2600usize];
};
impl Default for g_gate_ctl_create {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct g_gate_ctl_modify {
    pub gctl_version: u_int,
    pub gctl_unit: ::core::ffi::c_int,
    pub gctl_modify: u32,
    pub __bindgen_padding_0: [u8; 4usize],
    pub gctl_mediasize: off_t,
    pub gctl_info: [::core::ffi::c_char; 2048usize],
    pub gctl_readprov: [::core::ffi::c_char; 255usize],
    pub __bindgen_padding_1: u8,
    pub gctl_readoffset: off_t,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of g_gate_ctl_modify"][::core::mem::size_of::<g_gate_ctl_modify>() - 2336usize];
    ["Alignment of g_gate_ctl_modify"][::core::mem::align_of::<g_gate_ctl_modify>() - 8usize];
    ["Offset of field: g_gate_ctl_modify::gctl_version"]
        [::core::mem::offset_of!(g_gate_ctl_modify, gctl_version) - 0usize];
    ["Offset of field: g_gate_ctl_modify::gctl_unit"]
        [::core::mem::offset_of!(g_gate_ctl_modify, gctl_unit) - 4usize];
    ["Offset of field: g_gate_ctl_modify::gctl_modify"]
        [::core::mem::offset_of!(g_gate_ctl_modify, gctl_modify) - 8usize];
    ["Offset of field: g_gate_ctl_modify::gctl_mediasize"]
        [::core::mem::offset_of!(g_gate_ctl_modify, gctl_mediasize) - 16usize];
    ["Offset of field: g_gate_ctl_modify::gctl_info"]
        [::core::mem::offset_of!(g_gate_ctl_modify, gctl_info) - 24usize];
    ["Offset of field: g_gate_ctl_modify::gctl_readprov"]
        [::core::mem::offset_of!(g_gate_ctl_modify, gctl_readprov) - 2072usize];
    ["Offset of field: g_gate_ctl_modify::gctl_readoffset"]
        [::core::mem::offset_of!(g_gate_ctl_modify, gctl_readoffset) - 2328usize];
};
impl Default for g_gate_ctl_modify {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct g_gate_ctl_destroy {
    pub gctl_version: u_int,
    pub gctl_unit: ::core::ffi::c_int,
    pub gctl_force: ::core::ffi::c_int,
    pub gctl_name: [::core::ffi::c_char; 255usize],
    pub __bindgen_padding_0: u8,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of g_gate_ctl_destroy"][::core::mem::size_of::<g_gate_ctl_destroy>() - 268usize];
    ["Alignment of g_gate_ctl_destroy"][::core::mem::align_of::<g_gate_ctl_destroy>() - 4usize];
    ["Offset of field: g_gate_ctl_destroy::gctl_version"]
        [::core::mem::offset_of!(g_gate_ctl_destroy, gctl_version) - 0usize];
    ["Offset of field: g_gate_ctl_destroy::gctl_unit"]
        [::core::mem::offset_of!(g_gate_ctl_destroy, gctl_unit) - 4usize];
    ["Offset of field: g_gate_ctl_destroy::gctl_force"]
        [::core::mem::offset_of!(g_gate_ctl_destroy, gctl_force) - 8usize];
    ["Offset of field: g_gate_ctl_destroy::gctl_name"]
        [::core::mem::offset_of!(g_gate_ctl_destroy, gctl_name) - 12usize];
};
impl Default for g_gate_ctl_destroy {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct g_gate_ctl_cancel {
    pub gctl_version: u_int,
    pub gctl_unit: ::core::ffi::c_int,
    pub gctl_seq: usize,
    pub gctl_name: [::core::ffi::c_char; 255usize],
    pub __bindgen_padding_0: u8,
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of g_gate_ctl_cancel"][::core::mem::size_of::<g_gate_ctl_cancel>() - 272usize];
    ["Alignment of g_gate_ctl_cancel"][::core::mem::align_of::<g_gate_ctl_cancel>() - 8usize];
    ["Offset of field: g_gate_ctl_cancel::gctl_version"]
        [::core::mem::offset_of!(g_gate_ctl_cancel, gctl_version) - 0usize];
    ["Offset of field: g_gate_ctl_cancel::gctl_unit"]
        [::core::mem::offset_of!(g_gate_ctl_cancel, gctl_unit) - 4usize];
    ["Offset of field: g_gate_ctl_cancel::gctl_seq"]
        [::core::mem::offset_of!(g_gate_ctl_cancel, gctl_seq) - 8usize];
    ["Offset of field: g_gate_ctl_cancel::gctl_name"]
        [::core::mem::offset_of!(g_gate_ctl_cancel, gctl_name) - 16usize];
};
impl Default for g_gate_ctl_cancel {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
#[repr(C)]
#[derive(Debug, Copy, Clone)]
pub struct g_gate_ctl_io {
    pub gctl_version: u_int,
    pub gctl_unit: ::core::ffi::c_int,
    pub gctl_seq: usize,
    pub gctl_cmd: u_int,
    pub __bindgen_padding_0: [u8; 4usize],
    pub gctl_offset: off_t,
    pub gctl_length: off_t,
    pub gctl_data: *mut ::core::ffi::c_void,
    pub gctl_error: ::core::ffi::c_int,
    pub __bindgen_padding_1: [u8; 4usize],
}
#[allow(clippy::unnecessary_operation, clippy::identity_op)]
const _: () = {
    ["Size of g_gate_ctl_io"][::core::mem::size_of::<g_gate_ctl_io>() - 56usize];
    ["Alignment of g_gate_ctl_io"][::core::mem::align_of::<g_gate_ctl_io>() - 8usize];
    ["Offset of field: g_gate_ctl_io::gctl_version"]
        [::core::mem::offset_of!(g_gate_ctl_io, gctl_version) - 0usize];
    ["Offset of field: g_gate_ctl_io::gctl_unit"]
        [::core::mem::offset_of!(g_gate_ctl_io, gctl_unit) - 4usize];
    ["Offset of field: g_gate_ctl_io::gctl_seq"]
        [::core::mem::offset_of!(g_gate_ctl_io, gctl_seq) - 8usize];
    ["Offset of field: g_gate_ctl_io::gctl_cmd"]
        [::core::mem::offset_of!(g_gate_ctl_io, gctl_cmd) - 16usize];
    ["Offset of field: g_gate_ctl_io::gctl_offset"]
        [::core::mem::offset_of!(g_gate_ctl_io, gctl_offset) - 24usize];
    ["Offset of field: g_gate_ctl_io::gctl_length"]
        [::core::mem::offset_of!(g_gate_ctl_io, gctl_length) - 32usize];
    ["Offset of field: g_gate_ctl_io::gctl_data"]
        [::core::mem::offset_of!(g_gate_ctl_io, gctl_data) - 40usize];
    ["Offset of field: g_gate_ctl_io::gctl_error"]
        [::core::mem::offset_of!(g_gate_ctl_io, gctl_error) - 48usize];
};
impl Default for g_gate_ctl_io {
    fn default() -> Self {
        let mut s = ::core::mem::MaybeUninit::<Self>::uninit();
        unsafe {
            ::core::ptr::write_bytes(s.as_mut_ptr(), 0, 1);
            s.assume_init()
        }
    }
}
pub const G_GATE_CMD_CREATE_NUMBER: ::core::ffi::c_ulong = 3392171264;
pub const G_GATE_CMD_MODIFY_NUMBER: ::core::ffi::c_ulong = 3374345473;
pub const G_GATE_CMD_DESTROY_NUMBER: ::core::ffi::c_ulong = 3238817026;
pub const G_GATE_CMD_CANCEL_NUMBER: ::core::ffi::c_ulong = 3239079171;
pub const G_GATE_CMD_START_NUMBER: ::core::ffi::c_ulong = 3224923396;
pub const G_GATE_CMD_DONE_NUMBER: ::core::ffi::c_ulong = 3224923397;
