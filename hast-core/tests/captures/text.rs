//! Messages as the independent decoder writes them.

use hast_core::nv::{Entries, Entry, Text, Type, Value};
use std::fmt::Write;

/// One message: `@0 ver=1 hdrsize=52 resource:string='test' version:uint8=2`.
pub(crate) fn message(
    at: usize,
    version: u8,
    entries: &[u8],
    payload: &[u8],
    missing: usize,
) -> String {
    let mut line = format!("@{at} ver={version} hdrsize={}", entries.len());
    for entry in Entries::new(entries) {
        write!(line, " {}", self::entry(&entry.unwrap())).unwrap();
    }
    if !payload.is_empty() {
        let start = &payload[..payload.len().min(16)];
        write!(line, "  DATA[{}]={}", payload.len() + missing, hex(start)).unwrap();
        if payload.len() > 16 {
            line.push_str("...");
        }
    }
    line
}

/// One entry: `resource:string='test'`.
pub(crate) fn entry(entry: &Entry<'_>) -> String {
    let name = Text(entry.name());
    let (kind, value) = match entry.kind() {
        Type::Int8 => ("int8", i8::read(entry).unwrap().to_string()),
        Type::Uint8 => ("uint8", u8::read(entry).unwrap().to_string()),
        Type::Int16 => ("int16", i16::read(entry).unwrap().to_string()),
        Type::Int32 => ("int32", i32::read(entry).unwrap().to_string()),
        Type::Uint32 => ("uint32", u32::read(entry).unwrap().to_string()),
        Type::Int64 => ("int64", i64::read(entry).unwrap().to_string()),
        Type::Uint64 => ("uint64", u64::read(entry).unwrap().to_string()),
        Type::Uint8Array => ("uint8[]", hex(entry.data())),
        Type::String => ("string", quoted(Text::read(entry).unwrap())),
        other => panic!("base sends no {other:?}"),
    };
    format!("{name}:{kind}={value}")
}

fn quoted(text: Text<'_>) -> String {
    let text = text.to_string();
    let quote = if text.contains('\'') { '"' } else { '\'' };
    format!("{quote}{text}{quote}")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}
