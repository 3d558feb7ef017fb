//! Sessions as rows of ClickHouse: one JSON object each (JSONEachRow).

use super::row_texts::{boolean, number, quoted, seconds};
use crate::domain::event::{APPEARANCES, COUNTER_NAMES, VIEWS};
use crate::domain::session::{Session, end, write_session_id};

/// Where a row comes from.
pub struct Origin<'a> {
    pub app_id: &'a str,
    pub device_id: &'a str,
    pub revision: i64,
    pub partition: i64,
    pub offset: i64,
    /// The record time of the device's latest record.
    pub arrived_at_ms: i64,
}

/// The row of a session. `columns` are what its user and its resource say there.
pub fn session_row(
    origin: &Origin<'_>,
    session: &Session,
    is_open: bool,
    is_final: bool,
    columns: [&str; 2],
    policy_version: i64,
) -> Vec<u8> {
    // An open session has no end yet: the row shows how far it has come.
    let ended_at_ms = if session.is_open() { session.last_ms } else { session.ended_at_ms };
    let end_reason = if session.is_open() && !is_open { end::INACTIVITY } else { &session.end_reason };
    let mut out = Vec::with_capacity(1_000 + columns[0].len() + columns[1].len());
    let own_id = write_identity(&mut out, origin, &session.first_event_id);
    out.extend(b",\"status\":");
    quoted(&mut out, if is_open { "open" } else { "closed" });
    out.extend(b",\"state\":");
    quoted(&mut out, if session.foreground { "foreground" } else { "background" });
    for (name, text) in [
        ("start_reason", &*session.start_reason),
        ("end_reason", end_reason),
        ("exit_reason", &session.exit_reason),
    ] {
        write_name(&mut out, name);
        quoted(&mut out, text);
    }
    write_name(&mut out, "cold_start");
    out.extend(boolean(session.cold_start).bytes());
    for (name, time_ms) in [
        ("started_at", session.started_at_ms),
        ("ended_at", ended_at_ms),
        ("last_event_at", session.last_ms),
        ("arrived_at", origin.arrived_at_ms),
    ] {
        write_name(&mut out, name);
        seconds(&mut out, time_ms);
    }
    write_number(&mut out, "duration_ms", ended_at_ms - session.started_at_ms);
    write_name(&mut out, "is_final");
    out.extend(boolean(is_final).bytes());
    write_name(&mut out, "client_session_id");
    quoted(&mut out, &session.client);
    write_name(&mut out, "stitched_session_id");
    out.push(b'"');
    if session.stitched_first_event_id == session.first_event_id {
        out.extend_from_within(own_id..own_id + 36);
    } else {
        write_session_id(&mut out, origin.app_id, origin.device_id, &session.stitched_first_event_id);
    }
    out.push(b'"');
    write_number(&mut out, "stitched_index", session.stitched_index);
    write_name(&mut out, "user_id");
    quoted(&mut out, &session.user_id);
    write_name(&mut out, "user_ids");
    out.push(b'[');
    for (index, user_id) in session.user_ids.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        quoted(&mut out, user_id);
    }
    out.push(b']');
    for texts in columns {
        out.push(b',');
        out.extend_from_slice(texts.as_bytes());
    }
    write_number(&mut out, "event_count", session.event_count);
    for (index, (name, count)) in COUNTER_NAMES.iter().zip(&session.counters).enumerate() {
        match index {
            // They are its views, or they are not counted.
            APPEARANCES => {}
            VIEWS => write_number(&mut out, name, session.view_count()),
            _ => write_number(&mut out, name, *count),
        }
    }
    write_place(&mut out, origin);
    write_number(&mut out, "policy_version", policy_version);
    out.extend(b",\"is_deleted\":0}");
    out
}

/// The row that takes a session back.
pub fn deleted_row(origin: &Origin<'_>, session: &Session) -> Vec<u8> {
    let mut out = Vec::with_capacity(512);
    write_identity(&mut out, origin, &session.first_event_id);
    write_name(&mut out, "started_at");
    seconds(&mut out, session.started_at_ms);
    write_name(&mut out, "arrived_at");
    seconds(&mut out, origin.arrived_at_ms);
    write_place(&mut out, origin);
    out.extend(b",\"is_deleted\":1}");
    out
}

/// Where in the row the id of the session begins.
fn write_identity(out: &mut Vec<u8>, origin: &Origin<'_>, first_event_id: &str) -> usize {
    out.extend(b"{\"app_id\":");
    quoted(out, origin.app_id);
    write_name(out, "device_id");
    quoted(out, origin.device_id);
    write_name(out, "session_id");
    out.push(b'"');
    let own_id = out.len();
    write_session_id(out, origin.app_id, origin.device_id, first_event_id);
    out.push(b'"');
    write_name(out, "first_event_id");
    quoted(out, first_event_id);
    own_id
}

fn write_place(out: &mut Vec<u8>, origin: &Origin<'_>) {
    write_number(out, "revision", origin.revision);
    write_number(out, "partition", origin.partition);
    write_number(out, "offset", origin.offset);
}

fn write_name(out: &mut Vec<u8>, name: &str) {
    out.extend(b",\"");
    out.extend_from_slice(name.as_bytes());
    out.extend(b"\":");
}

fn write_number(out: &mut Vec<u8>, name: &str, value: i64) {
    write_name(out, name);
    number(out, value);
}
