//! Records of OTLP as native events in JSON: what all have in common, whatever they say.

use super::identity::of_record;
use super::logs::{Rule, SEVERITY_NUMBER_FATAL, rule_of, source_name};
use super::message::{Attributes, LogRecord, Value};
use super::names::SOURCE_NAME;
use super::proto_quick::{quick_log, quick_span};
use super::spans::facts_of;
use crate::formats::hashed_ids::{digest_id, write_hex};
use crate::formats::limits::{MAX_ID_CHARS, MAX_RECORD_BYTES, MIN_TIME_MS};
use crate::formats::strict_json::{number, quoted};
use crate::formats::translation::write_behind_id;
use crate::unsure::{Sure, Unsure};

/// What the records of one scope have in common.
pub struct Context<'a> {
    /// App and device as JSON, each with a comma behind it.
    pub sender: &'a [u8],
    /// The name of the scope as JSON.
    pub scope: &'a [u8],
    /// The scope's attributes, each with a comma before it.
    pub scope_json: &'a [u8],
    /// The session of the resource, empty for none.
    pub session_id: &'a str,
    pub is_browser: bool,
    /// The latest that an event may be.
    pub latest_ms: i64,
}

impl Context<'_> {
    /// A time in Unix milliseconds, and the nanoseconds beyond them.
    fn time_of(&self, time_ns: u64) -> Sure<(i64, u64)> {
        let time_ms = (time_ns / 1_000_000).cast_signed();
        let is_taken = (MIN_TIME_MS..=self.latest_ms).contains(&time_ms);
        if is_taken { Ok((time_ms, time_ns % 1_000_000)) } else { Err(Unsure("time")) }
    }
}

/// Made once, and used for each record.
#[derive(Default)]
pub struct Buffers {
    said: Vec<u8>,
    id: Vec<u8>,
    content: Vec<u8>,
    /// The events of one record, one behind the other.
    events: Vec<u8>,
    ends: Vec<usize>,
}

impl Buffers {
    /// The events of the last record.
    pub fn events(&self) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(&0).chain(&self.ends);
        begins.zip(&self.ends).map(|(begin, end)| &self.events[*begin..*end])
    }

    fn clear(&mut self) {
        for buffer in [&mut self.said, &mut self.id, &mut self.content, &mut self.events] {
            buffer.clear();
        }
        self.ends.clear();
    }

    /// Add the event of this id and these attributes. `beside` writes what joins them, each with a comma before it.
    fn add(
        &mut self,
        name: &str,
        time: (i64, u64),
        session_id: &str,
        attributes: &Attributes,
        beside: impl Fn(&mut Vec<u8>),
    ) {
        let Self { said, id, events: out, ends, .. } = self;
        out.extend(b"{\"id\":\"");
        out.extend_from_slice(id);
        out.push(b'"');
        write_behind_id(out, name, time, session_id);
        out.extend_from_slice(&said[..said.len() - 1]);
        let at = out.len();
        beside(out);
        if attributes.is_empty() && out.len() > at {
            out.remove(at); // A comma.
        }
        out.extend(b"}}");
        ends.push(out.len());
    }
}

/// Attributes without which a log record is made into an event in the shortest way.
fn is_special(name: &str) -> bool {
    matches!(
        name,
        "otel.scope.name"
            | "otel.scope.version"
            | "trace_id"
            | "span_id"
            | "severity_number"
            | "severity_text"
            | "body"
            | "app.installation.id"
            | "emb.session_part_id"
            | "rum.sessionId"
            | "user.id"
            | "enduser.id"
            | "enduser.pseudo.id"
            | "user.hash"
            | "user.roles"
            | "user.name"
            | "user.full_name"
            | "user.email"
            | "log.record.uid"
            | "event.name"
            | "emb.type"
            | "emb.user_session_id"
    )
}

/// Make the event of a log record; its time, Unix ms. What was written is worth nothing where there is a doubt.
pub fn add_log(raw: &[u8], context: &Context, buffers: &mut Buffers) -> Sure<i64> {
    if raw.len() > MAX_RECORD_BYTES {
        return Err(Unsure("size"));
    }
    let mut record = quick_log(raw)?;
    let time_ns = if record.time_ns == 0 { record.observed_ns } else { record.time_ns };
    let time = context.time_of(time_ns)?;
    let session_id = whose(&mut record.attributes, context)?;
    let source = source_name(&record)?;
    let rule = rule_of(source, &record.attributes);
    buffers.clear();
    let Buffers { said, id, content, .. } = buffers;
    record.attributes.write(said)?;
    match rule {
        Some(Rule::Exception) if is_of_span(&record, source) => {
            of_exception(content, &record, context, time.0)?;
        }
        _ => by_content(content, &record, context, (time_ns, source, session_id), said),
    }
    digest_id(id, content);
    let mut name = source;
    if let Some(rule) = rule {
        let attributes = &mut record.attributes;
        name = rule.apply(source, attributes, record.severity_number, context.is_browser)?;
        if name != source {
            attributes.set(SOURCE_NAME, Value::Text(source));
        }
        said.clear();
        attributes.write(said)?;
    }
    buffers.add(name, time, session_id, &record.attributes, |out| beside_log(out, &record, context));
    Ok(time.0)
}

/// Make the events of a span; the latest of their times, Unix ms. What was written is worth nothing where there is a
/// doubt.
pub fn add_span(raw: &[u8], context: &Context, buffers: &mut Buffers) -> Sure<i64> {
    if raw.len() > MAX_RECORD_BYTES {
        return Err(Unsure("size"));
    }
    let mut span = quick_span(raw)?;
    let time = context.time_of(span.start_ns)?;
    let id_chars = 2 * (span.trace_id.len() + span.span_id.len()) + 3;
    if span.trace_id.is_empty() || span.span_id.is_empty() || id_chars > MAX_ID_CHARS {
        return Err(Unsure("form"));
    }
    let session_id = whose(&mut span.attributes, context)?;
    buffers.clear();
    for fact in facts_of(&span)?.into_iter().flatten() {
        let Buffers { said, id, .. } = buffers;
        said.clear();
        fact.attributes.write(said)?;
        id.clear();
        write_hex(id, span.trace_id);
        id.push(b'-');
        write_hex(id, span.span_id);
        id.extend(fact.id.bytes());
        buffers.add(fact.name, time, session_id, &fact.attributes, |out| {
            beside(out, context, span.trace_id, span.span_id);
        });
    }
    Ok(time.0)
}

/// The SDK's session of a record. Who sent it has to be the one whom its resource names.
fn whose<'a>(attributes: &mut Attributes<'a>, context: &Context<'a>) -> Sure<&'a str> {
    if attributes.names().any(is_special) {
        return Err(Unsure("special"));
    }
    let session_id = of_record(attributes)?;
    Ok(if session_id.is_empty() { context.session_id } else { session_id })
}

/// What fields say, as members of the attributes, each with a comma before it.
fn beside(out: &mut Vec<u8>, context: &Context, trace_id: &[u8], span_id: &[u8]) {
    out.extend_from_slice(context.scope_json);
    for (name, id) in [(&b",\"trace_id\":\""[..], trace_id), (b",\"span_id\":\"", span_id)] {
        if !id.is_empty() {
            out.extend_from_slice(name);
            write_hex(out, id);
            out.push(b'"');
        }
    }
}

/// The same of a log record, with what else is beside its attributes.
fn beside_log(out: &mut Vec<u8>, record: &LogRecord, context: &Context) {
    beside(out, context, record.trace_id, record.span_id);
    if record.severity_number != 0 {
        out.extend(b",\"severity_number\":");
        number(out, record.severity_number);
    }
    if !record.severity_text.is_empty() {
        out.extend(b",\"severity_text\":");
        quoted(out, record.severity_text);
    }
    if let Some(body) = record.body
        && !body.is_empty()
    {
        out.extend(b",\"body\":");
        quoted(out, body);
    }
}

/// The content of which the id of a record is made that has none: sender, time (ns), name and session, attributes and
/// body, trace, span and scope.
fn by_content(
    content: &mut Vec<u8>,
    record: &LogRecord,
    context: &Context,
    (time_ns, source, session_id): (u64, &str, &str),
    attributes: &[u8],
) {
    content.push(b'[');
    content.extend_from_slice(context.sender);
    number(content, time_ns);
    content.push(b',');
    quoted(content, source);
    content.push(b',');
    quoted(content, session_id);
    content.push(b',');
    content.extend_from_slice(attributes);
    content.push(b',');
    match record.body {
        Some(body) => quoted(content, body),
        None => content.extend(b"null"),
    }
    content.extend(b",\"");
    write_hex(content, record.trace_id);
    content.extend(b"\",\"");
    write_hex(content, record.span_id);
    content.extend(b"\",");
    content.extend_from_slice(context.scope);
    content.push(b']');
}

/// Whether a record tells of an exception that its span may tell of, too.
fn is_of_span(record: &LogRecord, source: &str) -> bool {
    // What ends the use of the app is told by the log record alone, which has to count then.
    let is_fatal = record.severity_number >= SEVERITY_NUMBER_FATAL;
    source == "exception" && !record.trace_id.is_empty() && !record.span_id.is_empty() && !is_fatal
}

/// The content of which the id of an exception within a span is made.
fn of_exception(content: &mut Vec<u8>, record: &LogRecord, context: &Context, time_ms: i64) -> Sure<()> {
    content.extend(b"[\"exception\",");
    content.extend_from_slice(context.sender);
    number(content, time_ms);
    content.extend(b",\"");
    write_hex(content, record.trace_id);
    content.extend(b"\",\"");
    write_hex(content, record.span_id);
    content.push(b'"');
    for name in ["exception.type", "exception.message"] {
        content.push(b',');
        write_or_null(content, &record.attributes, name)?;
    }
    content.push(b']');
    Ok(())
}

fn write_or_null(out: &mut Vec<u8>, attributes: &Attributes, name: &str) -> Sure<()> {
    match attributes.get(name) {
        Some(value) => value.write(out),
        None => {
            out.extend(b"null");
            Ok(())
        }
    }
}
