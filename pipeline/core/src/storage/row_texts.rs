//! Values as rows of ClickHouse have them: JSON texts.

use std::io::Write;

use crate::formats::limits::{FIRST_STORED_MS, LAST_STORED_MS};

/// A text in quotes, as orjson writes it.
pub fn quoted(out: &mut Vec<u8>, text: &str) {
    out.push(b'"');
    let bytes = text.as_bytes();
    let mut from = 0;
    for (at, &byte) in bytes.iter().enumerate() {
        if byte >= 0x20 && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&bytes[from..at]);
        from = at + 1;
        match byte {
            b'"' => out.extend(b"\\\""),
            b'\\' => out.extend(b"\\\\"),
            0x08 => out.extend(b"\\b"),
            0x09 => out.extend(b"\\t"),
            0x0a => out.extend(b"\\n"),
            0x0c => out.extend(b"\\f"),
            0x0d => out.extend(b"\\r"),
            _ => {
                out.extend(b"\\u00");
                out.extend([
                    b"0123456789abcdef"[usize::from(byte >> 4)],
                    b"0123456789abcdef"[usize::from(byte & 15)],
                ]);
            }
        }
    }
    out.extend_from_slice(&bytes[from..]);
    out.push(b'"');
}

pub fn boolean(value: bool) -> &'static str {
    if value { "true" } else { "false" }
}

/// Unix milliseconds as seconds with three decimals; what ClickHouse cannot hold becomes the nearest it can.
pub fn seconds(out: &mut Vec<u8>, time_ms: i64) {
    let time_ms = time_ms.clamp(FIRST_STORED_MS, LAST_STORED_MS);
    let size_ms = time_ms.unsigned_abs();
    if time_ms < 0 {
        out.push(b'-');
    }
    number(out, size_ms / 1_000);
    let rest = (size_ms % 1_000) as u16;
    out.extend([b'.', digit(rest / 100), digit(rest / 10 % 10), digit(rest % 10)]);
}

fn digit(value: u16) -> u8 {
    b'0' + value as u8
}

pub fn number(out: &mut Vec<u8>, number: impl std::fmt::Display) {
    write!(out, "{number}").expect("a vector takes all");
}
