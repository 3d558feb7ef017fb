//! The clocks of devices: what is added to the times of a record. All times are Unix milliseconds.

use super::limits::{CLOCK_STEP_MS, CLOCK_TOLERANCE_MS, FIRST_SECONDS, LAST_SECONDS, MAX_DELAY_MS};

/// Whether a stamp that should be in milliseconds is one of these years in seconds.
pub fn is_in_seconds(stamp: i64) -> bool {
    (FIRST_SECONDS..=LAST_SECONDS).contains(&stamp)
}

/// What to add to the times of a record that its device sent at `sent_at` by its own clock.
pub fn shift_of(sent_at: i64, record_ms: i64) -> i64 {
    let off_ms = record_ms - sent_at;
    if (-CLOCK_TOLERANCE_MS..=MAX_DELAY_MS).contains(&off_ms) {
        return 0;
    }
    off_ms.div_euclid(CLOCK_STEP_MS) * CLOCK_STEP_MS
}

/// By how much to move back the times of a record of which `latest_ms` is the latest, once it is shifted.
pub fn back_of(latest_ms: i64, record_ms: i64) -> i64 {
    let ahead_ms = latest_ms - record_ms - CLOCK_TOLERANCE_MS;
    if ahead_ms > 0 { -(-ahead_ms).div_euclid(CLOCK_STEP_MS) * CLOCK_STEP_MS } else { 0 }
}
