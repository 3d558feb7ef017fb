//! Request bodies of the Measure SDK, as far as there is no doubt.

use std::borrow::Cow;
use std::ops::Range;

use super::blocks::{Attributes, Member, found, members, native_name_and_attributes, text_of};
use super::sender::{Block, Blocks, is_id};
use super::spans::add_attributes;
use crate::formats::clocks::back_of;
use crate::formats::json::{Reader, Value};
use crate::formats::limits::{
    MAX_AHEAD_MS, MAX_BODY_BYTES, MAX_BODY_EVENTS, MAX_CONTAINERS, MAX_ID_CHARS, MAX_STAMP_MS, MAX_TIME_MS,
    MIN_TIME_MS,
};
use crate::formats::rfc3339::unix_time;
use crate::formats::strict_json::quoted;
use crate::formats::translation::{Sender, write_behind_id};
use crate::unsure::{Sure, Unsure};

const FIELD: Unsure = Unsure("field");
const TWICE: Unsure = Unsure("twice");

/// An event or a span of a body.
pub enum Item<'a> {
    /// The index of who sent it, and where the native event stands.
    Taken(usize, Range<usize>),
    /// JSON as it came, and why it is left to Python.
    Left(&'a str, Unsure),
}

/// What a body says.
pub struct Body<'a> {
    pub senders: Vec<Sender>,
    /// The events, and then the spans.
    pub items: Vec<Item<'a>>,
    pub event_count: usize,
    /// Native events as JSON, one behind the other.
    pub text: Vec<u8>,
}

/// Read a body that came at `record_ms`. Events and spans that there is a doubt about are left alone; what is not sure
/// of the body is so of all of it.
pub fn decode(value: &[u8], record_ms: i64) -> Sure<Body<'_>> {
    if value.len() > MAX_BODY_BYTES || !(1_000..=MAX_STAMP_MS).contains(&record_ms) {
        return Err(Unsure("size"));
    }
    let mut reader = Reader::new(value)?;
    let mut taking = Taking { record_ms, blocks: Blocks::default(), text: Vec::new(), latest_ms: record_ms };
    let (mut events, mut spans) = (None, None);
    reader.object(|reader, name| match name {
        "events" => once(&mut events, taking.items(reader, Taking::event)?),
        "spans" => once(&mut spans, taking.items(reader, Taking::span)?),
        _ => reader.skip(),
    })?;
    reader.end()?;
    if reader.containers() > MAX_CONTAINERS {
        return Err(Unsure("shape"));
    }
    let mut items: Vec<Item> = events.flatten().unwrap_or_default();
    let event_count = items.len();
    items.extend(spans.flatten().unwrap_or_default());
    if items.is_empty() || items.len() > MAX_BODY_EVENTS {
        return Err(FIELD);
    }
    if back_of(taking.latest_ms, record_ms) != 0 {
        return Err(Unsure("time"));
    }
    Ok(Body { senders: taking.blocks.senders, items, event_count, text: taking.text })
}

/// What a body comes to, while it is read.
struct Taking<'a> {
    record_ms: i64,
    blocks: Blocks<'a>,
    text: Vec<u8>,
    /// Of all that is taken.
    latest_ms: i64,
}

/// Who sent it, and when it was.
type Taken = (usize, i64);

impl<'a> Taking<'a> {
    /// Of a list; none of null.
    fn items(
        &mut self,
        reader: &mut Reader<'a>,
        take: impl Fn(&mut Self, &mut Reader<'a>) -> Sure<Taken>,
    ) -> Sure<Option<Vec<Item<'a>>>> {
        if reader.null()? {
            return Ok(None);
        }
        let mut items = Vec::new();
        reader.array(|reader| {
            if items.len() == MAX_BODY_EVENTS {
                return Err(Unsure("size"));
            }
            let (place, mark, from) = (reader.place(), reader.mark(), self.text.len());
            items.push(match take(self, reader) {
                Ok((sender, time_ms)) => {
                    self.latest_ms = self.latest_ms.max(time_ms);
                    Item::Taken(sender, from..self.text.len())
                }
                Err(why) => {
                    self.text.truncate(from);
                    reader.back(mark);
                    reader.skip()?;
                    Item::Left(reader.since(place), why)
                }
            });
            Ok(())
        })?;
        Ok(Some(items))
    }

    fn event(&mut self, reader: &mut Reader<'a>) -> Sure<Taken> {
        let place = reader.place();
        let (mut id, mut session_id, mut timestamp, mut type_) = (None, None, None, None);
        let (mut block, mut fields) = (None, None);
        let mut beside: Vec<(&str, &str)> = Vec::new();
        reader.object(|reader, name| match name {
            "id" => once(&mut id, reader.string()?),
            "session_id" => once(&mut session_id, session(reader)?),
            "timestamp" => once(&mut timestamp, reader.string()?),
            "type" => once(&mut type_, plain(reader)?),
            "attribute" => once(&mut block, self.blocks.next(reader)?),
            _ if Some(name) == type_ && reader.peek() == b'{' => once(&mut fields, members(reader)?),
            _ => {
                let place = reader.place();
                reader.skip()?;
                if beside.len() == MOST_BESIDE {
                    return Err(Unsure("size"));
                }
                if beside.iter().any(|(each, _)| *each == name) {
                    return Err(TWICE);
                }
                beside.push((name, reader.since(place)));
                Ok(())
            }
        })?;
        let event_bytes = reader.since(place).len();
        let (Some(id), Some(timestamp), Some(type_), Some(block)) = (id, timestamp, type_, block) else {
            return Err(FIELD);
        };
        let other = beside.iter().find(|(name, _)| *name == type_);
        let mut fields = match (fields, other) {
            (None, Some(&(_, raw))) => block_of(raw)?,
            (fields, None) => fields.unwrap_or_default(),
            _ => return Err(TWICE),
        };
        let time = self.time_of(&timestamp)?;
        let Block { sender, is_ios, facts, .. } = self.blocks.of(block);
        let mut attributes = Attributes::default();
        let name = native_name_and_attributes(type_, &mut fields, *is_ios, event_bytes, &mut attributes)?;
        for (key, raw) in facts {
            attributes.add_beside(key, raw)?;
        }
        for (key, raw) in beside {
            if key != type_ && !matches!(raw, "null" | "false" | "[]" | "{}") {
                attributes.add_beside(key, raw)?;
            }
        }
        write(&mut self.text, &[&id], name, time, &session_id.unwrap_or_default(), &attributes)?;
        Ok((*sender, time.0))
    }

    fn span(&mut self, reader: &mut Reader<'a>) -> Sure<Taken> {
        let mark = reader.mark();
        let mut block = None;
        // First the block alone: it is known again by how it begins.
        let fields = members(reader)?;
        let end = reader.mark();
        reader.back(mark);
        reader.object(|reader, name| match name {
            "attributes" => once(&mut block, self.blocks.next(reader)?),
            _ => reader.skip(),
        })?;
        reader.back(end);
        let text = |name| text_of(&fields, name).ok_or(FIELD);
        let (trace_id, span_id) = (text("trace_id")?, text("span_id")?);
        if trace_id.contains('\0') || span_id.contains('\0') || trace_id.is_empty() || span_id.is_empty() {
            return Err(Unsure("id"));
        }
        if trace_id.chars().count() + span_id.chars().count() + 3 > MAX_ID_CHARS {
            return Err(Unsure("id"));
        }
        let session_id = match found(&fields, "session_id").map(|member| &member.value) {
            None => Cow::Borrowed(""),
            Some(Value::Text(id)) if id.is_empty() || is_id(id) => id.clone(),
            Some(_) => return Err(Unsure("id")),
        };
        text("name")?;
        let (time, end) = (self.time_of(text("start_time")?)?, unix_time(text("end_time")?)?);
        let Block { sender, facts, .. } = self.blocks.of(block.ok_or(FIELD)?);
        let mut attributes = Attributes::default();
        add_attributes(&fields, end.0 - time.0, &mut attributes)?;
        for (key, raw) in facts {
            attributes.add_beside(key, raw)?;
        }
        write(&mut self.text, &[trace_id, "-", span_id, ".e"], "span", time, &session_id, &attributes)?;
        Ok((*sender, time.0))
    }

    /// A time in Unix milliseconds that an event may have, and the nanoseconds beyond them.
    fn time_of(&self, timestamp: &str) -> Sure<(i64, i64)> {
        let time = unix_time(timestamp)?;
        let latest_ms = (self.record_ms + MAX_AHEAD_MS).min(MAX_TIME_MS);
        if (MIN_TIME_MS..=latest_ms).contains(&time.0) { Ok(time) } else { Err(Unsure("time")) }
    }
}

/// Fields of an event that nobody knows: each is compared with the others.
const MOST_BESIDE: usize = 100;

fn once<T>(kept: &mut Option<T>, found: T) -> Sure<()> {
    if kept.replace(found).is_some() { Err(TWICE) } else { Ok(()) }
}

/// The fields of a block that stands before the type of its event, or is null.
fn block_of(raw: &str) -> Sure<Vec<Member<'_>>> {
    match raw {
        "null" => Ok(Vec::new()),
        _ if raw.starts_with('{') => members(&mut Reader::new(raw.as_bytes())?),
        _ => Err(Unsure("type")),
    }
}

/// A type: no text that has to be escaped, and no field that each event has.
fn plain<'a>(reader: &mut Reader<'a>) -> Sure<&'a str> {
    match reader.string()? {
        Cow::Borrowed("" | "id" | "session_id" | "timestamp" | "type" | "attribute") | Cow::Owned(_) => {
            Err(Unsure("type"))
        }
        Cow::Borrowed(type_) => Ok(type_),
    }
}

/// The SDK's session; an empty text for none.
fn session<'a>(reader: &mut Reader<'a>) -> Sure<Cow<'a, str>> {
    if reader.null()? {
        return Ok("".into());
    }
    let id = reader.string()?;
    if id.is_empty() || is_id(&id) { Ok(id) } else { Err(Unsure("id")) }
}

/// Write a native event.
fn write(
    out: &mut Vec<u8>,
    id: &[&str],
    name: &str,
    time: (i64, i64),
    session_id: &str,
    attributes: &Attributes,
) -> Sure<()> {
    let id = if let [id] = id { Cow::Borrowed(*id) } else { id.concat().into() };
    if !is_id(&id) || id.contains('\0') {
        return Err(Unsure("id"));
    }
    out.extend(b"{\"id\":");
    quoted(out, &id);
    write_behind_id(out, name, time, session_id);
    attributes.write(out)?;
    out.push(b'}');
    Ok(())
}
