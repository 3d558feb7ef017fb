//! What spans say, as native events (schemas/mapping/otlp.md, "Spans").

use super::logs::is_known;
use super::message::{Attributes, SpanRecord, Value};
use super::names::{SOURCE_NAME, put, renamed};
use crate::formats::performance;
use crate::unsure::{Sure, Unsure};

const CLIENT: u8 = 3;
const STATUS_ERROR: u8 = 2;
/// Of a span that says when its app was used: no session goes on for longer.
const LONGEST_NS: u64 = 12 * 3_600_000_000_000;
/// What ids of facts end in.
const START: &str = ".s";
const END: &str = ".e";

const KINDS: [&str; 6] = ["unspecified", "internal", "server", "client", "producer", "consumer"];
const OLD_HTTP: [(&str, &str); 3] = [
    ("http.method", "http.request.method"),
    ("http.status_code", "http.response.status_code"),
    ("http.url", "url.full"),
];

/// Spans of opentelemetry-android, one for each step in the life of an activity or a fragment, besides `Resumed`.
const ACTIVITY: [(&str, &str); 6] = [
    ("Created", "android.activity.created"),
    ("Started", "android.activity.started"),
    ("Paused", "android.activity.paused"),
    ("Stopped", "android.activity.stopped"),
    ("Destroyed", "android.activity.destroyed"),
    ("Restarted", "android.activity.restarted"),
];

/// One thing that a span says, as a native event without its session. It happened when the span began.
pub struct Fact<'a> {
    /// What follows `<trace id>-<span id>`.
    pub id: &'static str,
    pub name: &'static str,
    pub attributes: Attributes<'a>,
}

/// The facts of a span. Those of windows, of moments and of Embrace are left to Python.
pub fn facts_of<'a>(span: &SpanRecord<'a>) -> Sure<[Option<Fact<'a>>; 2]> {
    let is_long = span.end_ns.saturating_sub(span.start_ns) > LONGEST_NS;
    let is_moment = span.start_ns == span.end_ns && is_known(span.name);
    if is_long || is_moment || matches!(span.name, "MXMetricPayload" | "MXDiagnosticPayload") {
        return Err(Unsure("rule"));
    }
    let at_start = told_at_start(span)?;
    if span.end_ns == 0 {
        return Ok([Some(at_start.unwrap_or_else(|| started(span))), None]);
    }
    let told = if at_start.is_some() { Attributes::default() } else { span.attributes.clone() };
    let mut ended = ended(span, told)?;
    if span.end_ns >= span.start_ns {
        let measured = performance::of_span(span.name, &span.attributes, duration_ms(span))?;
        performance::add(&mut ended.attributes, measured);
    }
    Ok([at_start, Some(ended)])
}

/// What is known of a span that is not over.
fn started<'a>(span: &SpanRecord<'a>) -> Fact<'a> {
    let mut attributes = span.attributes.clone();
    attributes.set("span.name", Value::Text(span.name));
    Fact { id: START, name: "span.started", attributes }
}

/// The fact that is true when a span begins, for spans that stand for one.
fn told_at_start<'a>(span: &SpanRecord<'a>) -> Sure<Option<Fact<'a>>> {
    let mut told;
    let native = match span.name {
        "AppStart" => {
            told = span.attributes.clone();
            if told.text("start.type").is_some()
                && let Some(kind) = told.pop("start.type")
            {
                put(&mut told, "app.launch.type", kind)?;
            }
            "app.launch"
        }
        "Resumed" => {
            told = span.attributes.clone();
            let screen = told.get("app.screen.name").or_else(|| told.get("screen.name"));
            if let Some(Value::Text(screen)) = screen {
                // No foreground: at each change of screens one is resumed.
                told.set("app.screen.name", Value::Text(screen));
                if told.text("screen.name") == Some(screen) {
                    told.pop("screen.name");
                }
                "app.screen.view"
            } else {
                "android.activity.resumed"
            }
        }
        name => {
            let Some((_, native)) = ACTIVITY.iter().find(|(told, _)| *told == name) else {
                return Ok(None);
            };
            told = span.attributes.clone();
            *native
        }
    };
    told.set(SOURCE_NAME, Value::Text(span.name));
    Ok(Some(Fact { id: START, name: native, attributes: told }))
}

/// All of a span, once it is over; at its start, since that is when the app was used.
fn ended<'a>(span: &SpanRecord<'a>, mut told: Attributes<'a>) -> Sure<Fact<'a>> {
    describe(span, &mut told)?;
    let is_request = told.get("http.request.method").is_some() || told.get("http.method").is_some();
    if span.kind != CLIENT || !is_request {
        return Ok(Fact { id: END, name: "span", attributes: told });
    }
    renamed(&mut told, &OLD_HTTP)?;
    if told.text("http.request.method").is_some_and(|method| !method.bytes().all(is_upper)) {
        return Err(Unsure("rule"));
    }
    let is_true = |name: &str| told.get(name).is_some_and(Value::is_true);
    if span.status_code == STATUS_ERROR && !is_true("http.response.status_code") && !is_true("error.type") {
        let message = if span.status_message.is_empty() { "_OTHER" } else { span.status_message };
        told.set("error.type", Value::Text(message));
    }
    Ok(Fact { id: END, name: "http.client.request", attributes: told })
}

/// Whether a character is the same in capitals.
fn is_upper(byte: u8) -> bool {
    byte.is_ascii() && !byte.is_ascii_lowercase()
}

/// The attributes get what the span is besides them.
fn describe<'a>(span: &SpanRecord<'a>, told: &mut Attributes<'a>) -> Sure<()> {
    put(told, "span.name", Value::Text(span.name))?;
    if let Some(kind) = KINDS.get(usize::from(span.kind))
        && span.kind > 0
    {
        put(told, "span.kind", Value::Text(kind))?;
    }
    match span.status_code {
        1 => put(told, "span.status", Value::Text("ok"))?,
        STATUS_ERROR => put(told, "span.status", Value::Text("error"))?,
        _ => {}
    }
    if !span.status_message.is_empty() {
        put(told, "span.status_message", Value::Text(span.status_message))?;
    }
    if span.end_ns >= span.start_ns {
        put(told, "duration_ms", Value::Double(duration_ms(span)))?;
    }
    if !span.parent_id.is_empty() {
        put(told, "span.parent_id", Value::Id(span.parent_id))?;
    }
    if !span.trace_state.is_empty() {
        put(told, "trace_state", Value::Text(span.trace_state))?;
    }
    Ok(())
}

/// Of a span that is not long: its nanoseconds are exact as a double.
fn duration_ms(span: &SpanRecord) -> f64 {
    (span.end_ns - span.start_ns) as f64 / 1e6
}
