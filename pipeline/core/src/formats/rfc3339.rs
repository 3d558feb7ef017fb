//! Times as RFC 3339 writes them, of which there is no doubt: in UTC, with the letters in capitals.

use crate::unsure::{Sure, Unsure};

const TIME: Unsure = Unsure("time");
const MAX_FRACTION_DIGITS: usize = 30;

/// Unix milliseconds of a time, and the nanoseconds beyond them.
pub fn unix_time(timestamp: &str) -> Sure<(i64, i64)> {
    let (moment, rest) = timestamp.as_bytes().split_at_checked(19).ok_or(TIME)?;
    for (at, wanted) in [(4, b'-'), (7, b'-'), (10, b'T'), (13, b':'), (16, b':')] {
        if moment[at] != wanted {
            return Err(TIME);
        }
    }
    let number = |from: usize, to: usize| digits(&moment[from..to]);
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    if year < 1970 || hour > 23 || minute > 59 || second > 59 {
        return Err(TIME);
    }
    let days = days_of(year, month, day).ok_or(TIME)?;
    let nanoseconds = fraction(rest.strip_suffix(b"Z").ok_or(TIME)?)?;
    let seconds = ((days * 24 + hour) * 60 + minute) * 60 + second;
    Ok((seconds * 1_000 + nanoseconds / 1_000_000, nanoseconds % 1_000_000))
}

fn digits(text: &[u8]) -> Sure<i64> {
    text.iter().try_fold(0, |sum, byte| match byte {
        b'0'..=b'9' => Ok(sum * 10 + i64::from(byte - b'0')),
        _ => Err(TIME),
    })
}

/// The nanoseconds that a point and digits say, cut; nothing says none.
fn fraction(text: &[u8]) -> Sure<i64> {
    let Some(said) = text.strip_prefix(b".") else {
        return if text.is_empty() { Ok(0) } else { Err(TIME) };
    };
    if said.is_empty() || said.len() > MAX_FRACTION_DIGITS || !said.iter().all(u8::is_ascii_digit) {
        return Err(TIME);
    }
    let kept = &said[..said.len().min(9)];
    Ok(digits(kept)? * 10_i64.pow(9 - kept.len() as u32))
}

/// Days since 1970 of a day of the calendar, from that year on; none for a day that there is not.
fn days_of(year: i64, month: i64, day: i64) -> Option<i64> {
    let is_leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    let lengths = [31, if is_leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let before = usize::try_from(month - 1).ok()?;
    if !(1..=*lengths.get(before)?).contains(&day) {
        return None;
    }
    let leaps = |year: i64| year / 4 - year / 100 + year / 400;
    let years = (year - 1970) * 365 + leaps(year - 1) - leaps(1969);
    Some(years + lengths[..before].iter().sum::<i64>() + day - 1)
}
