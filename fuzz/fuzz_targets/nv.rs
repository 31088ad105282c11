//! Entries: any bytes are read or refused, and what is read can be written
//! and read again.
#![no_main]

use hast_core::nv::{Entries, Entry, Text, Type, Value, Writer};
use libfuzzer_sys::fuzz_target;

fn write(w: &mut Writer<'_>, entry: &Entry<'_>) -> Option<()> {
    let name = std::str::from_utf8(entry.name()).ok()?;
    match entry.kind() {
        Type::Uint8 => w.put(name, u8::read(entry)?),
        Type::Int16 => w.put(name, i16::read(entry)?),
        Type::Uint32 => w.put(name, u32::read(entry)?),
        Type::Int64 => w.put(name, i64::read(entry)?),
        Type::Uint64 => w.put(name, u64::read(entry)?),
        Type::String => w.put(name, Text::read(entry)?),
        Type::Uint8Array => w.put(name, <&[u8]>::read(entry)?),
        _ => return None,
    };
    Some(())
}

fuzz_target!(|bytes: &[u8]| {
    let mut buffer = vec![0; bytes.len()];
    for entry in Entries::new(bytes) {
        let Ok(entry) = entry else { return };
        let mut w = Writer::new(&mut buffer, 0);
        if write(&mut w, &entry).is_some() {
            // Never longer than what it was read from.
            let length = w.finish().unwrap();
            let again = Entries::new(&buffer[..length]).next().unwrap();
            assert_eq!(again, Ok(entry));
        }
    }
});
