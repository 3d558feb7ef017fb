//! JSON as Python writes it (orjson): the same bytes, as far as there is no doubt which those are.

use std::io::Write;

use crate::unsure::{Sure, Unsure};

/// What is nearer to zero, or farther from it, has an exponent, which versions of orjson write in several ways; and from
/// 2^53 on not every whole number is a double.
const PLAIN_DOUBLES: std::ops::Range<f64> = 1e-5..9e15;

/// A text in quotes.
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

/// A whole number.
pub fn number(out: &mut Vec<u8>, number: impl std::fmt::Display) {
    write!(out, "{number}").expect("a vector takes all");
}

/// A finite double, of as many digits as tell it from all others.
pub fn double(out: &mut Vec<u8>, value: f64) -> Sure<()> {
    if value.fract() == 0.0 && value.abs() < PLAIN_DOUBLES.end {
        number(out, value);
        out.extend(b".0");
        return Ok(());
    }
    if !PLAIN_DOUBLES.contains(&value.abs()) {
        return Err(Unsure("number"));
    }
    let from = out.len();
    number(out, value);
    let point = out[from..].iter().position(|byte| *byte == b'.').ok_or(Unsure("number"))?;
    // Where it is right between two texts of so many digits, not everybody takes the same one.
    if exact_digits(value) == (out.len() - from - point) as i32 {
        return Err(Unsure("number"));
    }
    Ok(())
}

/// Whether a double is right between two numbers of so many digits behind the point.
pub fn is_halfway(value: f64, digits: usize) -> bool {
    exact_digits(value) == digits as i32 + 1
}

/// How many digits behind the point a double has that is no whole number, all of them written.
fn exact_digits(value: f64) -> i32 {
    let bits = value.to_bits();
    let exponent = ((bits >> 52) & 0x7ff) as i32;
    1_075 - exponent - (bits | (1 << 52)).trailing_zeros() as i32
}
