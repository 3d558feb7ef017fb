//! Sessions and the fold's state as MessagePack arrays, with texts by number.

use std::sync::Arc;

use crate::domain::Text;
use crate::domain::event::{AppState, COUNTERS};
use crate::domain::fold_state::{FoldState, MAX_KNOWN};
use crate::domain::session::{MAX_USER_IDS, Session};
use crate::domain::stitching::Stitched;
use crate::state::device_state::{DeviceState, Report, Said, Write, Written, WrittenRows};
use crate::state::msgpack::{self, DAMAGED, Reader};
use crate::state::strings::Strings;
use crate::state::tail::OrderKey;
use crate::unsure::Sure;

const SESSION_FIELDS: usize = 18;

/// A session as bytes, for comparing what two rows would say.
pub fn session_bytes(out: &mut Vec<u8>, session: &Session) {
    write_session(out, session, |out, text| msgpack::text(out, text));
}

/// A session as it is encoded.
pub fn write_row(out: &mut Vec<u8>, session: &Session, strings: &mut Strings) {
    write_session(out, session, |out, text| {
        let number = strings.number(text);
        msgpack::int(out, number);
    });
}

fn write_session(out: &mut Vec<u8>, s: &Session, mut text: impl FnMut(&mut Vec<u8>, &Text)) {
    msgpack::array(out, SESSION_FIELDS);
    msgpack::text(out, &s.first_event_id);
    msgpack::int(out, s.started_at_ms);
    text(out, &s.start_reason);
    msgpack::boolean(out, s.foreground);
    text(out, &s.resource);
    msgpack::int(out, s.last_ms);
    msgpack::int(out, s.ended_at_ms);
    text(out, &s.end_reason);
    text(out, &s.exit_reason);
    msgpack::boolean(out, s.cold_start);
    text(out, &s.client);
    text(out, &s.user);
    msgpack::int(out, s.event_count);
    msgpack::array(out, COUNTERS);
    for count in s.counters {
        msgpack::int(out, count);
    }
    msgpack::text(out, &s.stitched_first_event_id);
    msgpack::int(out, s.stitched_index);
    text(out, &s.user_id);
    msgpack::array(out, s.user_ids.len());
    for user_id in &s.user_ids {
        text(out, user_id);
    }
}

fn session(reader: &mut Reader<'_>, strings: &Strings) -> Sure<Session> {
    reader.array_of(SESSION_FIELDS)?;
    let text = |reader: &mut Reader<'_>| strings.at(reader.number()?);
    Ok(Session {
        first_event_id: reader.text()?.into(),
        started_at_ms: reader.int()?,
        start_reason: text(reader)?,
        foreground: reader.boolean()?,
        resource: text(reader)?,
        last_ms: reader.int()?,
        ended_at_ms: reader.int()?,
        end_reason: text(reader)?,
        exit_reason: text(reader)?,
        cold_start: reader.boolean()?,
        client: text(reader)?,
        user: text(reader)?,
        event_count: reader.int()?,
        counters: counters(reader)?,
        stitched_first_event_id: reader.text()?.into(),
        stitched_index: reader.int()?,
        user_id: text(reader)?,
        user_ids: texts(reader, strings, MAX_USER_IDS)?,
    })
}

/// A state from before a counter was added has counted none: then Python reads it.
fn counters(reader: &mut Reader<'_>) -> Sure<[i64; COUNTERS]> {
    reader.array_of(COUNTERS)?;
    let mut counters = [0; COUNTERS];
    for count in &mut counters {
        *count = reader.int()?;
    }
    Ok(counters)
}

fn texts(reader: &mut Reader<'_>, strings: &Strings, most: usize) -> Sure<Vec<Text>> {
    let count = reader.array()?;
    if count > most {
        return Err(DAMAGED);
    }
    (0..count).map(|_| strings.at(reader.number()?)).collect()
}

/// The fold's state as it is encoded.
pub fn write_fold(out: &mut Vec<u8>, fold: &FoldState, strings: &mut Strings) {
    msgpack::array(out, 6);
    for held in [&fold.open, &fold.prev] {
        match held {
            Some(session) => write_row(out, session, strings),
            None => msgpack::nil(out),
        }
    }
    msgpack::int(out, fold.app_state as i64);
    match &fold.stitched {
        Some(stitched) => {
            msgpack::array(out, 6);
            msgpack::text(out, &stitched.first_event_id);
            msgpack::int(out, stitched.started_at_ms);
            msgpack::int(out, stitched.members);
            msgpack::int(out, stitched.any_end_ms);
            msgpack::optional(out, stitched.foreground_end_ms);
            msgpack::boolean(out, stitched.ended_manually);
        }
        None => msgpack::nil(out),
    }
    msgpack::array(out, fold.known.len());
    for client in &fold.known {
        let number = strings.number(client);
        msgpack::int(out, number);
    }
    msgpack::optional(out, fold.shown_ms);
}

/// The state of `write_fold`.
pub fn read_fold(reader: &mut Reader<'_>, strings: &Strings) -> Sure<FoldState> {
    reader.array_of(6)?;
    let held = |reader: &mut Reader<'_>| {
        if reader.nil() { Ok(None) } else { session(reader, strings).map(Box::new).map(Some) }
    };
    let (open, prev) = (held(reader)?, held(reader)?);
    let app_state = AppState::of(reader.int()?).ok_or(DAMAGED)?;
    let stitched = if reader.nil() { None } else { Some(stitched(reader)?) };
    let known = texts(reader, strings, MAX_KNOWN)?;
    Ok(FoldState { open, prev, app_state, stitched, known, shown_ms: reader.optional()? })
}

pub fn decode_fold(bytes: &[u8], strings: &Strings) -> Sure<FoldState> {
    let mut reader = Reader::new(bytes);
    let fold = read_fold(&mut reader, strings)?;
    if reader.is_done() { Ok(fold) } else { Err(DAMAGED) }
}

fn stitched(reader: &mut Reader<'_>) -> Sure<Stitched> {
    reader.array_of(6)?;
    Ok(Stitched {
        first_event_id: reader.text()?.into(),
        started_at_ms: reader.int()?,
        members: reader.int()?,
        any_end_ms: reader.int()?,
        foreground_end_ms: reader.optional()?,
        ended_manually: reader.boolean()?,
    })
}

pub fn write_place(out: &mut Vec<u8>, place: Option<&OrderKey>) {
    match place {
        Some(place) => {
            msgpack::array(out, 4);
            for number in [place.time_ms, place.rank, place.seq] {
                msgpack::int(out, number);
            }
            msgpack::text_of(out, place.id.as_bytes());
        }
        None => msgpack::nil(out),
    }
}

pub fn read_place(reader: &mut Reader<'_>) -> Sure<Option<OrderKey>> {
    if reader.nil() {
        return Ok(None);
    }
    reader.array_of(4)?;
    let (time_ms, rank, seq) = (reader.int()?, reader.int()?, reader.int()?);
    Ok(Some(OrderKey { time_ms, rank, seq, id: reader.text()?.into() }))
}

/// What was written of a device's sessions, and its outbox.
pub fn write_reported(out: &mut Vec<u8>, state: &mut DeviceState) {
    msgpack::array(out, state.written.0.len());
    for (first_id, written) in &mut state.written.0 {
        msgpack::array(out, 6);
        msgpack::text(out, first_id);
        msgpack::bin(out, written.said.digest());
        msgpack::int(out, written.started_at_ms);
        msgpack::int(out, written.report as i64);
        msgpack::boolean(out, written.is_final);
        msgpack::int(out, written.at_ms);
    }
    msgpack::array(out, state.outbox.len());
    for write in &state.outbox {
        msgpack::array(out, 3);
        write_row(out, &write.session, &mut state.strings);
        msgpack::int(out, write.report as i64);
        msgpack::boolean(out, write.is_final);
    }
}

/// Gives a state what `write_reported` wrote.
pub fn read_reported(reader: &mut Reader<'_>, state: &mut DeviceState) -> Sure<()> {
    let mut written = WrittenRows::default();
    for _ in 0..reader.array()? {
        reader.array_of(6)?;
        let first_id: Text = reader.text()?.into();
        let said = Said::Digest(reader.bin()?.to_vec());
        let (started_at_ms, report) = (reader.int()?, report(reader)?);
        let (is_final, at_ms) = (reader.boolean()?, reader.int()?);
        written.set(&first_id, Written { said, started_at_ms, report, is_final, at_ms });
    }
    state.written = written;
    for _ in 0..reader.array()? {
        reader.array_of(3)?;
        let session = Arc::new(session(reader, &state.strings)?);
        let (report, is_final) = (report(reader)?, reader.boolean()?);
        state.outbox.push(Write { session, report, is_final });
    }
    Ok(())
}

fn report(reader: &mut Reader<'_>) -> Sure<Report> {
    match reader.int()? {
        0 => Ok(Report::Open),
        1 => Ok(Report::Closed),
        2 => Ok(Report::Silent),
        3 => Ok(Report::Deleted),
        _ => Err(DAMAGED),
    }
}
