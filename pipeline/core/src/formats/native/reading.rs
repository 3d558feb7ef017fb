//! A record of `sdk-events` to the envelope in it: the quick way that most records take, and no other.

use std::borrow::Cow;

use hashbrown::HashSet;

use crate::formats::clocks::is_in_seconds;
use crate::formats::json::Reader;
use crate::formats::limits::{MAX_EVENTS, MAX_ID_CHARS, MAX_RECORD_BYTES, MAX_STAMP_MS};
use crate::formats::meaning::{Attributes, Meaning, interpret};
use crate::unsure::{Sure, Unsure};

const FAULT: Unsure = Unsure("envelope");
/// Few events have less.
const EVENT_BYTES: usize = 128;

/// An event of an envelope, as far as sessions ask.
pub struct WireEvent<'a> {
    pub id: Cow<'a, str>,
    pub time: i64,
    pub seq: i64,
    pub client: Cow<'a, str>,
    pub meaning: Meaning,
}

/// An envelope without a fault.
pub struct WireEnvelope<'a> {
    pub events: Vec<WireEvent<'a>>,
    pub sent_at: Option<i64>,
    /// As they came; None if they are not there.
    pub resource: Option<&'a str>,
    pub user: Option<&'a str>,
}

/// The app and device that a record of this key has to name.
pub fn names_of(key: &[u8]) -> Sure<(&str, &str)> {
    let key = std::str::from_utf8(key).map_err(|_| FAULT)?;
    if key.contains('\0') { Err(FAULT) } else { key.split_once('/').ok_or(FAULT) }
}

/// The envelope of a record whose key names that app and device; `private` are attributes that rules may name.
pub fn plain_envelope<'a>(
    value: &'a [u8],
    names: (&str, &str),
    private: &HashSet<String>,
) -> Sure<WireEnvelope<'a>> {
    if value.is_empty() || value.len() > MAX_RECORD_BYTES {
        return Err(FAULT);
    }
    let mut reader = Reader::new(value)?;
    let room = Vec::with_capacity(value.len() / EVENT_BYTES);
    let mut wire = WireEnvelope { events: room, sent_at: None, resource: None, user: None };
    // A field that stands twice is left to Python.
    let mut seen = 0_u8;
    reader.object(|reader, name| {
        let bit = match name {
            "v" => 0,
            "app_id" => 1,
            "device_id" => 2,
            "events" => 3,
            "batch_id" => 4,
            "sent_at" => 5,
            "resource" => 6,
            "user" => 7,
            _ => return Err(Unsure("unknown_field")),
        };
        if seen & 1 << bit != 0 {
            return Err(Unsure("twice"));
        }
        seen |= 1 << bit;
        let is_right = match bit {
            0 => reader.whole()? == 1,
            1 => id(reader)? == names.0,
            2 => id(reader)? == names.1,
            3 => {
                events(reader, private, &mut wire.events)?;
                (1..=MAX_EVENTS).contains(&wire.events.len())
            }
            4 => optional_id(reader).is_ok(),
            5 => {
                wire.sent_at = optional_number(reader, MAX_STAMP_MS)?;
                !wire.sent_at.is_some_and(is_in_seconds)
            }
            6 => raw(reader, &mut wire.resource).is_ok(),
            _ => raw(reader, &mut wire.user).is_ok(),
        };
        if is_right { Ok(()) } else { Err(FAULT) }
    })?;
    reader.end()?;
    if seen & 0b1111 == 0b1111 { Ok(wire) } else { Err(FAULT) }
}

fn events<'a>(
    reader: &mut Reader<'a>,
    private: &HashSet<String>,
    events: &mut Vec<WireEvent<'a>>,
) -> Sure<()> {
    reader.array(|reader| {
        events.push(event(reader, private)?);
        Ok(())
    })
}

fn event<'a>(reader: &mut Reader<'a>, private: &HashSet<String>) -> Sure<WireEvent<'a>> {
    let (mut own_id, mut own_name, mut time) = (None, None, None);
    let (mut seq, mut client) = (0, Cow::Borrowed(""));
    let mut attributes = Attributes::default();
    let mut seen = 0_u8;
    reader.object(|reader, name| {
        let bit = match name {
            "id" => 0,
            "name" => 1,
            "time" => 2,
            "seq" => 3,
            "session_id" => 4,
            "attributes" => 5,
            _ => return Err(Unsure("unknown_field")),
        };
        if seen & 1 << bit != 0 {
            return Err(Unsure("twice"));
        }
        seen |= 1 << bit;
        match bit {
            0 => own_id = Some(id(reader)?),
            1 => own_name = Some(reader.string()?),
            2 => time = Some(reader.whole()?),
            3 => seq = optional_number(reader, i64::MAX)?.unwrap_or(0),
            4 => client = optional_id(reader)?,
            _ => {
                if !reader.null()? {
                    reader.object(|reader, name| {
                        if may_be_private(name) && private.contains(name) {
                            return Err(Unsure("privacy"));
                        }
                        attributes.take(name, reader)
                    })?;
                }
            }
        }
        Ok(())
    })?;
    let (Some(id), Some(name), Some(time)) = (own_id, own_name, time) else { return Err(FAULT) };
    if name.is_empty() || time > MAX_STAMP_MS || id.contains('\0') {
        return Err(FAULT);
    }
    let meaning = interpret(&name, &attributes)?;
    Ok(WireEvent { id, time, seq, client, meaning })
}

/// Whether the built-in rules, which are the only ones here, may name it.
fn may_be_private(name: &str) -> bool {
    matches!(name.as_bytes().first(), Some(b'u' | b'e'))
}

fn id<'a>(reader: &mut Reader<'a>) -> Sure<Cow<'a, str>> {
    let found = reader.string()?;
    if found.is_empty() || is_too_long(&found) { Err(FAULT) } else { Ok(found) }
}

/// Empty if there is none.
fn optional_id<'a>(reader: &mut Reader<'a>) -> Sure<Cow<'a, str>> {
    if reader.null()? {
        return Ok(Cow::Borrowed(""));
    }
    let found = reader.string()?;
    if is_too_long(&found) { Err(FAULT) } else { Ok(found) }
}

fn is_too_long(id: &str) -> bool {
    id.len() > MAX_ID_CHARS && id.chars().count() > MAX_ID_CHARS
}

fn optional_number(reader: &mut Reader<'_>, most: i64) -> Sure<Option<i64>> {
    if reader.null()? {
        return Ok(None);
    }
    let found = reader.whole()?;
    if found > most { Err(FAULT) } else { Ok(Some(found)) }
}

fn raw<'a>(reader: &mut Reader<'a>, place: &mut Option<&'a str>) -> Sure<()> {
    let from = reader.place();
    reader.skip()?;
    *place = Some(reader.since(from));
    Ok(())
}
