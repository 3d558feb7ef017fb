//! Copies of events that may be stamped otherwise than the ones that came first: what is told of them.

use super::device::{Arrival, Copy};
use crate::formats::edge::Given;
use crate::formats::strict_json::{number, quoted};

const VERSION: i64 = 1;

/// Values for `event-copies`, of the copies that records of a device brought. Times up to `corrected_ms` may have been
/// corrected. None: headers of a record may have something to say of that, which Python asks.
pub fn told_copies(
    (app_id, device_id): (&str, &str),
    records: &[Given<'_>],
    arrivals: &[Arrival],
    copies: &[Copy],
    corrected_ms: i64,
) -> Option<Vec<Vec<u8>>> {
    let is_suspect = |copy: &&Copy| copy.first_ms != Some(copy.time_ms) || copy.time_ms <= corrected_ms;
    let suspects: Vec<&Copy> = copies.iter().filter(is_suspect).collect();
    let mut told = Vec::new();
    for some in suspects.chunk_by(|one, other| one.offset == other.offset) {
        let at = records.partition_point(|record| record.offset < some[0].offset);
        let (record, arrival) = (&records[at], &arrivals[at]);
        if record.has_headers {
            return None;
        }
        let mut out = Vec::with_capacity(128 + app_id.len() + device_id.len() + 96 * some.len());
        out.extend(b"{\"v\":");
        number(&mut out, VERSION);
        for (name, text) in [("app_id", app_id), ("device_id", device_id)] {
            write_name(&mut out, b',', name);
            quoted(&mut out, text);
        }
        write_name(&mut out, b',', "offset");
        number(&mut out, record.offset);
        write_name(&mut out, b',', "record_time");
        number(&mut out, record.record_ms);
        write_name(&mut out, b',', "copies");
        for (index, copy) in some.iter().enumerate() {
            out.push(if index == 0 { b'[' } else { b',' });
            write_name(&mut out, b'{', "event_id");
            quoted(&mut out, copy.id.as_str());
            write_name(&mut out, b',', "raw_time");
            number(&mut out, copy.time_ms - arrival.moved_ms);
            write_name(&mut out, b',', "event_index");
            number(&mut out, copy.place);
            out.push(b'}');
        }
        out.extend(b"]}");
        told.push(out);
    }
    Some(told)
}

fn write_name(out: &mut Vec<u8>, before: u8, name: &str) {
    out.push(before);
    quoted(out, name);
    out.push(b':');
}
