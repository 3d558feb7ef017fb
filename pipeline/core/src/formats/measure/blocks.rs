//! A Measure event's own block as a native name and attributes, OpenTelemetry's names where it has one.

use std::borrow::Cow;

use super::measured::measured;
use super::screens::appeared;
use super::stacktrace::{chain_of, stacktrace};
use crate::formats::json::{Reader, Value};
use crate::formats::strict_json::{double, number, quoted};
use crate::unsure::{Sure, Unsure};

const MAX_DERIVED_CHARS: usize = 8_000;
const LARGE_EVENT_BYTES: usize = 800_000;
/// Fields of one object: each is compared with the others.
const MAX_MEMBERS: usize = 200;

/// A field of an object.
pub struct Member<'a> {
    pub name: &'a str,
    /// JSON as it came.
    pub raw: &'a str,
    pub value: Value<'a>,
    /// Whether it was said under a name that sessions hang on.
    pub is_taken: bool,
}

/// The fields of the next object, without nulls. Such that stand twice are left to Python.
pub fn members<'a>(reader: &mut Reader<'a>) -> Sure<Vec<Member<'a>>> {
    let mut members: Vec<Member> = Vec::with_capacity(32);
    reader.object(|reader, name| {
        if members.len() == MAX_MEMBERS {
            return Err(Unsure("size"));
        }
        if members.iter().any(|each| each.name == name) {
            return Err(Unsure("twice"));
        }
        let place = reader.place();
        let value = reader.value()?;
        members.push(Member { name, raw: reader.since(place), value, is_taken: false });
        Ok(())
    })?;
    members.retain(|each| each.value != Value::Null);
    Ok(members)
}

pub fn found<'m, 'a>(members: &'m [Member<'a>], name: &str) -> Option<&'m Member<'a>> {
    members.iter().find(|each| each.name == name)
}

pub fn text_of<'m>(members: &'m [Member], name: &str) -> Option<&'m str> {
    match &found(members, name)?.value {
        Value::Text(text) => Some(text),
        _ => None,
    }
}

/// The name of an attribute: that of a field of a block has the type of its event before it.
#[derive(Clone, Copy)]
pub struct Name<'a> {
    type_: &'a str,
    field: &'a str,
}

impl<'a> Name<'a> {
    pub fn plain(name: &'a str) -> Self {
        Self { type_: "", field: name }
    }

    pub fn of(type_: &'a str, field: &'a str) -> Self {
        Self { type_, field }
    }

    /// Whether two of one event are the same.
    fn is(self, other: Self) -> bool {
        match (self.type_.is_empty(), other.type_.is_empty()) {
            (true, false) => other.is(self),
            (false, true) => {
                let rest = other.field.strip_prefix(self.type_).and_then(|rest| rest.strip_prefix('.'));
                rest == Some(self.field)
            }
            _ => self.field == other.field,
        }
    }
}

/// What an attribute says.
pub enum Said<'a> {
    /// JSON as it came.
    Raw(&'a str),
    Word(&'static str),
    Text(Cow<'a, str>),
    Int(i64),
    Double(f64),
    True,
}

/// The attributes of one event, in order.
#[derive(Default)]
pub struct Attributes<'a> {
    said: Vec<(Name<'a>, Said<'a>)>,
}

impl<'a> Attributes<'a> {
    pub fn has(&self, name: Name) -> bool {
        self.said.iter().any(|(each, _)| each.is(name))
    }

    /// Say it in the place of what stood under the name.
    pub fn set(&mut self, name: Name<'a>, said: Said<'a>) {
        match self.said.iter_mut().find(|(each, _)| each.is(name)) {
            Some((_, found)) => *found = said,
            None => self.said.push((name, said)),
        }
    }

    /// Say it, unless the name is there.
    pub fn add(&mut self, name: &'a str, said: Said<'a>) {
        if !self.has(Name::plain(name)) {
            self.said.push((Name::plain(name), said));
        }
    }

    /// Say a fact that is no field of the block. Where its name is taken, Python knows another.
    pub fn add_beside(&mut self, name: &'a str, raw: &'a str) -> Sure<()> {
        if self.has(Name::plain(name)) {
            return Err(Unsure("twice"));
        }
        self.said.push((Name::plain(name), Said::Raw(raw)));
        Ok(())
    }

    /// As a JSON object. No name has anything in it that would have to be escaped.
    pub fn write(&self, out: &mut Vec<u8>) -> Sure<()> {
        out.push(b'{');
        for (at, (name, said)) in self.said.iter().enumerate() {
            out.extend_from_slice(if at == 0 { b"\"" } else { b",\"" });
            if !name.type_.is_empty() {
                out.extend_from_slice(name.type_.as_bytes());
                out.push(b'.');
            }
            out.extend_from_slice(name.field.as_bytes());
            out.extend_from_slice(b"\":");
            match said {
                Said::Raw(raw) => out.extend_from_slice(raw.as_bytes()),
                Said::Word(word) => quoted(out, word),
                Said::Text(text) => quoted(out, text),
                Said::Int(value) => number(out, value),
                Said::Double(value) => double(out, *value)?,
                Said::True => out.extend(b"true"),
            }
        }
        out.push(b'}');
        Ok(())
    }
}

/// The name of a Measure event, from its type and the fields of its own block; the attributes are added.
pub fn native_name_and_attributes<'a>(
    type_: &'a str,
    fields: &mut [Member<'a>],
    is_ios: bool,
    event_bytes: usize,
    attributes: &mut Attributes<'a>,
) -> Sure<&'a str> {
    let name = steering(type_, fields, is_ios, attributes)?;
    for member in fields.iter().filter(|each| !each.is_taken) {
        let own = Name::of(type_, member.name);
        let key = renamed(type_, member.name).map_or(own, Name::plain);
        attributes.set(if attributes.has(key) { own } else { key }, Said::Raw(member.raw));
    }
    if matches!(type_, "exception" | "anr")
        && let Some(exceptions) = found(fields, "exceptions")
    {
        if event_bytes > LARGE_EVENT_BYTES {
            return Err(Unsure("size"));
        }
        add_exception_facts(exceptions.raw, attributes)?;
    }
    measured(type_, fields, is_ios, attributes)?;
    if name != type_ {
        attributes.set(Name::plain("measure.type"), Said::Text(type_.into()));
    }
    Ok(name)
}

/// The name; and the attributes that sessions hang on: those it has named are taken.
fn steering<'a>(
    type_: &'a str,
    fields: &mut [Member<'a>],
    is_ios: bool,
    attributes: &mut Attributes<'a>,
) -> Sure<&'a str> {
    let mut say = |name, said| attributes.set(Name::plain(name), said);
    Ok(match type_ {
        "cold_launch" => {
            say("app.launch.type", Said::Word("cold"));
            "app.launch"
        }
        "lifecycle_app" => return Ok(lifecycle(fields, is_ios, attributes)),
        "http" => {
            http(fields, attributes)?;
            "http.client.request"
        }
        "exception" | "anr" => {
            if let Some(Member { value: Value::Bool(is_there), .. }) = found(fields, "foreground") {
                say("app.state", Said::Word(if *is_there { "foreground" } else { "background" }));
            }
            match type_ {
                "anr" => "app.anr",
                _ if is_crash(fields)? => "app.crash",
                _ => "exception",
            }
        }
        "app_exit" => {
            if let Some(state) = text_of(fields, "importance").and_then(state_of_importance) {
                say("app.state", Said::Word(state));
            }
            "app.exit"
        }
        "trim_memory" => {
            if text_of(fields, "level").is_some_and(lacks_memory) {
                return Ok("device.memory.low");
            }
            say("passive", Said::True);
            type_
        }
        _ if appeared(type_, fields) => {
            say("app.screen.view.derived", Said::True);
            say("app.screen.name", Said::Raw(taken(fields, "class_name").map_or("null", |each| each.raw)));
            "app.screen.view"
        }
        "gesture_click" | "gesture_long_click" => "app.widget.click",
        "low_memory" => "device.memory.low",
        "navigation" | "screen_view" => "app.screen.view",
        "network_change" => "network.change",
        "session_start" => "session.start",
        "string" => "log",
        _ => type_,
    })
}

/// The native name of a field of a block.
fn renamed(type_: &str, field: &str) -> Option<&'static str> {
    Some(match (type_, field) {
        ("app_exit", "reason") => "app.exit.reason",
        ("gesture_click" | "gesture_long_click", "target_id") => "app.widget.id",
        ("gesture_click" | "gesture_long_click", "target") => "app.widget.name",
        ("gesture_click" | "gesture_long_click", "x") => "app.screen.coordinate.x",
        ("gesture_click" | "gesture_long_click", "y") => "app.screen.coordinate.y",
        ("http", "url") => "url.full",
        ("log", "severity_number") => "severity_number",
        ("log" | "string", "severity_text") => "severity_text",
        ("log", "body") | ("string", "string") => "body",
        ("navigation", "to") | ("screen_view", "name") => "app.screen.name",
        ("session_start", "previous_session_id" | "previous_id" | "previous_session") => {
            "session.previous_id"
        }
        _ => return None,
    })
}

/// Android's words for a process; the others say neither, or not for sure.
fn state_of_importance(importance: &str) -> Option<&'static str> {
    // No other letter becomes one of these in lower case.
    let is = |word: &&str| importance.eq_ignore_ascii_case(word);
    if is(&"foreground") {
        return Some("foreground");
    }
    ["foreground_service", "service", "cached", "empty"].iter().any(is).then_some("background")
}

fn lacks_memory(level: &str) -> bool {
    let kind = level.strip_prefix("TRIM_MEMORY_").unwrap_or_default();
    let low = ["RUNNING_MODERATE", "RUNNING_LOW", "RUNNING_CRITICAL", "BACKGROUND", "MODERATE", "COMPLETE"];
    low.contains(&kind)
}

/// A field, which is not said again.
fn taken<'m, 'a>(fields: &'m mut [Member<'a>], name: &str) -> Option<&'m Member<'a>> {
    let member = fields.iter_mut().find(|each| each.name == name)?;
    member.is_taken = true;
    Some(member)
}

fn lifecycle<'a>(fields: &mut [Member<'a>], is_ios: bool, attributes: &mut Attributes<'a>) -> &'static str {
    let state = match found(fields, "type").map(|member| &member.value) {
        Some(Value::Text(state)) => state.clone(),
        _ => return "device.app.lifecycle",
    };
    taken(fields, "type");
    let key = Name::plain(if is_ios { "ios.app.state" } else { "android.app.state" });
    if state != "terminated" {
        attributes.set(key, Said::Text(state));
    } else if is_ios {
        attributes.set(key, Said::Word("terminate"));
    } else {
        attributes.set(Name::plain("app.exit.reason"), Said::Word("user_terminated"));
        return "app.exit";
    }
    "device.app.lifecycle"
}

fn http<'a>(fields: &mut [Member<'a>], attributes: &mut Attributes<'a>) -> Sure<()> {
    if let Some(method) = text_of(fields, "method") {
        if !method.is_ascii() {
            return Err(Unsure("rule"));
        }
        let method = method.to_ascii_uppercase();
        attributes.set(Name::plain("http.request.method"), Said::Text(method.into()));
        taken(fields, "method");
    }
    for (field, name) in [("status_code", "http.response.status_code"), ("failure_reason", "error.type")] {
        if is_true(found(fields, field))? {
            let raw = taken(fields, field).map_or("null", |member| member.raw);
            attributes.set(Name::plain(name), Said::Raw(raw));
            break;
        }
    }
    Ok(())
}

fn is_crash(fields: &[Member]) -> Sure<bool> {
    if is_true(found(fields, "severity"))? {
        return Ok(text_of(fields, "severity") == Some("fatal"));
    }
    let is_contained = matches!(text_of(fields, "framework"), Some("dart" | "js"));
    Ok(!is_true(found(fields, "handled"))? && !is_contained)
}

/// Whether a value is true to Python. Of containers it is not known here whether anything is in them.
fn is_true(member: Option<&Member>) -> Sure<bool> {
    match member.map(|each| &each.value) {
        None | Some(Value::Absent | Value::Null) => Ok(false),
        Some(Value::Bool(value)) => Ok(*value),
        Some(Value::Number(value)) => Ok(*value != 0.0),
        Some(Value::Text(text)) => Ok(!text.is_empty()),
        Some(Value::Container) => Err(Unsure("type")),
    }
}

/// Add type (else the name of the signal), message and stack trace of a chain of exceptions, where it has them and they
/// are short.
fn add_exception_facts<'a>(exceptions: &'a str, attributes: &mut Attributes<'a>) -> Sure<()> {
    let chain = chain_of(exceptions)?;
    let Some(first) = chain.first() else { return Ok(()) };
    let type_ = if first.type_.is_empty() { &first.signal } else { &first.type_ };
    let trace = Cow::Owned(stacktrace(&chain, MAX_DERIVED_CHARS));
    for (name, text) in [
        ("exception.type", type_.clone()),
        ("exception.message", first.message.clone()),
        ("exception.stacktrace", trace),
    ] {
        if !text.is_empty() && text.chars().count() <= MAX_DERIVED_CHARS {
            attributes.add(name, Said::Text(text));
        }
    }
    Ok(())
}
