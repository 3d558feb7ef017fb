//! When a record came: the time by which it is decoded.

/// Header of a record that is sent again, or was made of one of a raw topic.
pub const REPLAYED_RECORD_MS: &str = "replayed_record_ms";
const MAX_DIGITS: usize = 19;

/// What the header says, if it says a whole number, but never later than this coming.
pub fn said(text: &[u8], timestamp_ms: i64) -> i64 {
    if text.is_empty() || text.len() > MAX_DIGITS || !text.iter().all(u8::is_ascii_digit) {
        return timestamp_ms;
    }
    // Nineteen digits may be more than 64 bits hold: later than any coming.
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse::<i64>().ok());
    number.unwrap_or(i64::MAX).min(timestamp_ms)
}
