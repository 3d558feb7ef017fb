//! Values as rows of ClickHouse have them: JSON texts.

use crate::formats::limits::{FIRST_STORED_MS, LAST_STORED_MS};
pub use crate::formats::strict_json::{boolean, number, quoted};

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
