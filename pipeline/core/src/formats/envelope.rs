//! A record of `sdk-events` as storage sees it: as `decode` in `pipeline/formats/native/events.py`, of what takes its
//! quick way and is sound in all its events.

use std::borrow::Cow;

use crate::formats::clocks::{back_of, is_in_seconds, shift_of};
use crate::formats::json::Reader;
use crate::formats::limits::{
    MAX_AHEAD_MS, MAX_EVENTS, MAX_ID_CHARS, MAX_RECORD_BYTES, MAX_STAMP_MS, MAX_TIME_MS, MIN_TIME_MS,
};
use crate::formats::meaning::{Attributes, Meaning, interpret};
use crate::unsure::{Sure, Unsure};

const TWICE: Unsure = Unsure("twice");
const FIELD: Unsure = Unsure("field");
const TIME: Unsure = Unsure("time");

pub struct Record<'a> {
    pub app_id: Cow<'a, str>,
    pub device_id: Cow<'a, str>,
    /// JSON as it came.
    pub resource: Option<&'a str>,
    pub user: Option<&'a str>,
    pub events: Vec<Event<'a>>,
    /// Of all events, one after the other.
    pub attributes: Vec<(&'a str, Cow<'a, str>)>,
}

pub struct Event<'a> {
    pub id: Cow<'a, str>,
    pub name: Cow<'a, str>,
    pub time_ms: i64,
    pub raw_time_ms: i64,
    pub seq: i64,
    pub session_id: Cow<'a, str>,
    pub meaning: Meaning,
    /// Its attributes end before this one.
    pub attributes_end: usize,
}

/// Reads a record that came at `came_ms`; `is_private` says whether the rules may have something to say of an
/// attribute.
pub fn read<'a>(value: &'a [u8], came_ms: i64, is_private: impl Fn(&str) -> bool) -> Sure<Record<'a>> {
    // Beyond these nothing is sure that is added to or taken from it.
    if value.len() > MAX_RECORD_BYTES || !(1_000..=MAX_STAMP_MS).contains(&came_ms) {
        return Err(Unsure("size"));
    }
    let mut reader = Reader::new(value)?;
    let (mut v, mut sent_at) = (None, None);
    let (mut app_id, mut device_id, mut batch_id) = (None, None, None);
    let (mut resource, mut user) = (None, None);
    let mut events: Option<Vec<Event>> = None;
    let mut attributes = Vec::new();
    reader.object(|reader, name| match name {
        "v" => once(&mut v, reader.whole()?),
        "app_id" => once(&mut app_id, id(reader)?),
        "device_id" => once(&mut device_id, id(reader)?),
        "batch_id" => once(&mut batch_id, optional_id(reader)?),
        "sent_at" => once(&mut sent_at, if reader.null()? { None } else { Some(stamp(reader)?) }),
        "resource" => once(&mut resource, raw(reader)?),
        "user" => once(&mut user, raw(reader)?),
        "events" => {
            let mut found = Vec::new();
            reader.array(|reader| {
                if found.len() == MAX_EVENTS {
                    return Err(Unsure("size"));
                }
                found.push(event(reader, &mut attributes)?);
                Ok(())
            })?;
            once(&mut events, found)
        }
        _ => Err(FIELD),
    })?;
    reader.end()?;
    let (Some(1), Some(app_id), Some(device_id), Some(mut events)) = (v, app_id, device_id, events) else {
        return Err(FIELD);
    };
    let sent_at: Option<i64> = sent_at.flatten();
    if events.is_empty() || sent_at.is_some_and(is_in_seconds) {
        return Err(FIELD);
    }
    if attributes.iter().any(|(name, _)| is_private(name)) {
        return Err(Unsure("private"));
    }
    let shift_ms = sent_at.map_or(0, |sent_at| shift_of(sent_at, came_ms));
    let latest_ms = (came_ms + MAX_AHEAD_MS).min(MAX_TIME_MS);
    for event in &mut events {
        event.time_ms = event.raw_time_ms + shift_ms;
        if !(MIN_TIME_MS..=latest_ms).contains(&event.time_ms)
            || (shift_ms != 0 && is_in_seconds(event.raw_time_ms))
        {
            return Err(TIME);
        }
    }
    let back_ms = back_of(events.iter().map(|event| event.time_ms).max().unwrap_or(0), came_ms);
    for event in &mut events {
        event.time_ms -= back_ms;
        if event.time_ms < MIN_TIME_MS {
            return Err(TIME);
        }
    }
    Ok(Record { app_id, device_id, resource, user, events, attributes })
}

fn event<'a>(reader: &mut Reader<'a>, attributes: &mut Vec<(&'a str, Cow<'a, str>)>) -> Sure<Event<'a>> {
    let (mut event_id, mut name, mut time) = (None, None, None);
    let (mut seq, mut session_id) = (None, None);
    let mut steering = Attributes::default();
    let mut has_attributes = None;
    reader.object(|reader, field| match field {
        "id" => once(&mut event_id, id(reader)?),
        "name" => once(&mut name, reader.string()?),
        "time" => once(&mut time, stamp(reader)?),
        "seq" => once(&mut seq, if reader.null()? { 0 } else { reader.whole()? }),
        "session_id" => once(&mut session_id, optional_id(reader)?),
        "attributes" => {
            if !reader.null()? {
                said(reader, attributes, &mut steering)?;
            }
            once(&mut has_attributes, ())
        }
        _ => Err(FIELD),
    })?;
    let (Some(id), Some(name), Some(time)) = (event_id, name, time) else {
        return Err(FIELD);
    };
    if name.is_empty() || id.contains('\0') {
        return Err(FIELD);
    }
    Ok(Event {
        id,
        meaning: interpret(&name, &steering)?,
        name,
        time_ms: time,
        raw_time_ms: time,
        seq: seq.unwrap_or(0),
        session_id: session_id.unwrap_or_default(),
        attributes_end: attributes.len(),
    })
}

/// The attributes of an event, each value as ClickHouse makes a text of it.
fn said<'a>(
    reader: &mut Reader<'a>,
    attributes: &mut Vec<(&'a str, Cow<'a, str>)>,
    steering: &mut Attributes<'a>,
) -> Sure<()> {
    let first = attributes.len();
    reader.object(|reader, name| {
        if attributes[first..].iter().any(|(other, _)| *other == name) {
            return Err(TWICE);
        }
        let place = reader.place();
        steering.take(name, reader)?;
        attributes.push((name, text_of(reader.since(place))?));
        Ok(())
    })
}

/// An attribute's value as a text: of a text what it says, of null nothing, of the others their JSON.
fn text_of(json: &str) -> Sure<Cow<'_, str>> {
    match json.as_bytes().first() {
        Some(b'"') if !json.contains('\\') => Ok(Cow::Borrowed(&json[1..json.len() - 1])),
        Some(b'"') => Ok(Cow::Owned(Reader::new(json.as_bytes())?.string()?.into_owned())),
        Some(b'n') => Ok(Cow::Borrowed("")),
        // Python puts a blank in the place of the end of a line.
        Some(b'{' | b'[') if json.contains(['\n', '\r']) => Err(Unsure("lines")),
        _ => Ok(Cow::Borrowed(json)),
    }
}

fn once<T>(kept: &mut Option<T>, found: T) -> Sure<()> {
    if kept.replace(found).is_some() { Err(TWICE) } else { Ok(()) }
}

fn raw<'a>(reader: &mut Reader<'a>) -> Sure<&'a str> {
    let place = reader.place();
    reader.skip()?;
    Ok(reader.since(place))
}

fn id<'a>(reader: &mut Reader<'a>) -> Sure<Cow<'a, str>> {
    let found = reader.string()?;
    if found.is_empty() || is_longer(&found) { Err(Unsure("id")) } else { Ok(found) }
}

/// Nothing as an empty text.
fn optional_id<'a>(reader: &mut Reader<'a>) -> Sure<Cow<'a, str>> {
    if reader.null()? {
        return Ok(Cow::Borrowed(""));
    }
    let found = reader.string()?;
    if is_longer(&found) { Err(Unsure("id")) } else { Ok(found) }
}

fn is_longer(text: &str) -> bool {
    text.len() > MAX_ID_CHARS && text.chars().count() > MAX_ID_CHARS
}

fn stamp(reader: &mut Reader) -> Sure<i64> {
    let found = reader.whole()?;
    if found > MAX_STAMP_MS { Err(TIME) } else { Ok(found) }
}
