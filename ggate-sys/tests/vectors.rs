//! The bytes of the structures, compared with vectors that were computed from
//! the layout alone (spec/vectors-ggate.md section 10).

#![cfg(target_endian = "little")]

use ggate_sys::*;
use sha2::{Digest, Sha256};
use std::ffi::c_char;
use std::fmt::Write;

#[allow(unsafe_code)]
fn bytes<T: Copy>(value: &T) -> &[u8] {
    // SAFETY: the structures of ggate-sys have explicit padding: every byte
    // belongs to a field, and fields are plain numbers.
    unsafe { std::slice::from_raw_parts(std::ptr::from_ref(value).cast(), size_of::<T>()) }
}

fn sha256<T: Copy>(value: &T) -> String {
    let mut hex = String::new();
    for byte in Sha256::digest(bytes(value)) {
        write!(hex, "{byte:02x}").expect("a String takes everything");
    }
    hex
}

fn put(field: &mut [c_char], text: &str) {
    for (to, from) in field.iter_mut().zip(text.bytes()) {
        *to = c_char::try_from(from).expect("ASCII");
    }
}

fn create() -> g_gate_ctl_create {
    g_gate_ctl_create {
        gctl_version: G_GATE_VERSION,
        gctl_mediasize: 64 << 20,
        gctl_sectorsize: 512,
        ..Default::default()
    }
}

#[test]
fn create_with_any_unit() {
    let mut create = create();
    create.gctl_maxcount = 1024;
    create.gctl_unit = G_GATE_UNIT_AUTO;
    put(&mut create.gctl_info, "127.0.0.1:3080 /dev/md0");
    assert_eq!(
        sha256(&create),
        "4d1efc9cd9a10ae027bd3b3b98500c6c768b6836023e62310cb7f1344ee790f0"
    );
}

#[test]
fn create_with_a_name() {
    let mut create = create();
    create.gctl_unit = G_GATE_NAME_GIVEN;
    put(&mut create.gctl_name, "hast/data");
    assert_eq!(
        sha256(&create),
        "9f444ca1908a470d14b36f30a2e80030922e41efb225b0069666a4b954b89eef"
    );
}

#[test]
fn modify_of_the_read_provider() {
    let mut modify = g_gate_ctl_modify {
        gctl_version: G_GATE_VERSION,
        gctl_modify: GG_MODIFY_READPROV | GG_MODIFY_READOFFSET,
        gctl_readoffset: 8192,
        ..Default::default()
    };
    put(&mut modify.gctl_readprov, "md0");
    assert_eq!(
        sha256(&modify),
        "079ba781d25cb2214fead15721247d53e7a0e92f861885f734e98577193ce9da"
    );
}

#[test]
fn destroy_by_force() {
    let destroy = g_gate_ctl_destroy {
        gctl_version: G_GATE_VERSION,
        gctl_unit: 5,
        gctl_force: 1,
        ..Default::default()
    };
    assert_eq!(
        sha256(&destroy),
        "d2e7f8f713059e50294654a7fcc9dbc0cf6210a0bcc1e25359157b85c4868bb0"
    );
}

#[test]
fn cancel_by_name() {
    let mut cancel = g_gate_ctl_cancel {
        gctl_version: G_GATE_VERSION,
        gctl_unit: G_GATE_NAME_GIVEN,
        ..Default::default()
    };
    put(&mut cancel.gctl_name, "hast/data");
    assert_eq!(
        sha256(&cancel),
        "5de22ce062c03bcd31c1f197101b0db264ecb76f1569c4416b94539bbe077365"
    );
}

#[test]
fn a_write_through_start_and_done() {
    let mut io = g_gate_ctl_io {
        gctl_version: G_GATE_VERSION,
        gctl_length: 131_072,
        gctl_data: std::ptr::without_provenance_mut(0x0000_7fff_dead_0000),
        ..Default::default()
    };
    assert_eq!(
        sha256(&io),
        "2a36c5e2ace8f87431a4d2c8ec54eac602dc71b95f5196bed239017344831386"
    );

    io.gctl_seq = 7;
    io.gctl_cmd = BIO_WRITE;
    io.gctl_offset = 4096;
    io.gctl_length = 512;
    #[rustfmt::skip]
    let after_start = [
        0x03, 0, 0, 0, 0, 0, 0, 0, 0x07, 0, 0, 0, 0, 0, 0, 0,
        0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0,
        0, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0xad, 0xde, 0xff, 0x7f, 0, 0,
        0, 0, 0, 0, 0, 0, 0, 0,
    ];
    assert_eq!(bytes(&io), after_start);
    assert_eq!(
        sha256(&io),
        "562c872a2ed3ee9798c005fa788e49a0a3a489e9662549b56992426c1462fadb"
    );

    io.gctl_error = 5; // EIO
    assert_eq!(
        sha256(&io),
        "4dcf2cdb40cb6d351fa2ffec8e517b6dfd2b116d546ce431c20cb63fcf21f7a8"
    );
}
