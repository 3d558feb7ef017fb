//! What an event's name and attributes mean to a session: its kind, exit reason, what it counts, what it states.

use std::borrow::Cow;

use super::json::{Reader, Value};
use crate::domain::Text;
use crate::domain::event::{self, AppState, Kind};
use crate::unsure::{Sure, Unsure};

const MAX_EXIT_REASON_CHARS: usize = 64;
/// OpenTelemetry: ERROR is 17 to 20, FATAL 21 to 24.
const SEVERITY_NUMBER_ERROR: f64 = 17.0;

/// Names that some rule asks for.
const STEERING: [&str; 14] = [
    "app.state",
    "passive",
    "android.app.state",
    "ios.app.state",
    "browser.page.visibility",
    "app.launch.type",
    "app.exit.reason",
    "fatal",
    "http.response.status_code",
    "error.type",
    "severity_number",
    "severity_text",
    "severity",
    "app.screen.view.derived",
];

/// The attributes that some rule asks for.
#[derive(Default)]
pub struct Attributes<'a> {
    /// Few events have any.
    found: Vec<(&'static str, Value<'a>)>,
}

impl<'a> Attributes<'a> {
    /// Takes the value of an attribute.
    pub fn take(&mut self, name: &str, reader: &mut Reader<'a>) -> Sure<()> {
        match STEERING.iter().find(|each| **each == name) {
            Some(name) => self.found.push((name, reader.value()?)),
            None => reader.skip()?,
        }
        Ok(())
    }

    /// Of one that stands twice the last counts.
    fn get(&self, name: &str) -> &Value<'a> {
        self.found.iter().rev().find(|(each, _)| *each == name).map_or(&Value::Absent, |(_, value)| value)
    }
}

/// What an event means to a session.
#[derive(Clone, Debug, PartialEq)]
pub struct Meaning {
    pub kind: Kind,
    /// None unless EXIT.
    pub exit_reason: Option<Text>,
    pub counters: u16,
    pub stated: AppState,
}

fn meaning(kind: Kind, counters: u16) -> Meaning {
    Meaning { kind, exit_reason: None, counters, stated: AppState::Unknown }
}

fn exit(reason: &str) -> Meaning {
    Meaning { exit_reason: Some(reason.into()), ..meaning(Kind::Exit, 0) }
}

/// SESSIONS.md, "Event kinds". A steering attribute of an unexpected type counts as absent.
pub fn interpret(name: &str, read: &Attributes<'_>) -> Sure<Meaning> {
    let mut found = match name {
        "session.end" => meaning(Kind::SessionEnd, 0),
        "app.crash" => meaning(Kind::Crash, event::CRASH),
        "app.widget.click" | "app.screen.click" => meaning(Kind::Activity, event::TAP),
        "app.heartbeat"
        | "network.change"
        | "device.thermal_status.change"
        | "device.power_save_mode.change"
        | "device.memory.low"
        | "session.end.reported" => meaning(Kind::Passive, 0),
        "device.app.lifecycle" => lifecycle(read),
        "app.launch" if is(read.get("app.launch.type"), "cold") => meaning(Kind::Launch, 0),
        "exception" => meaning(
            if is_true(read.get("fatal")) { Kind::Exception } else { Kind::Activity },
            event::EXCEPTION,
        ),
        "app.anr" => meaning(if is_true(read.get("fatal")) { Kind::Anr } else { Kind::Activity }, event::ANR),
        "app.exit" => exit(&exit_reason_of(read.get("app.exit.reason"))?),
        "http.client.request" => http(read),
        "log" => log(read),
        "app.screen.view" => meaning(
            Kind::Activity,
            if is_true(read.get("app.screen.view.derived")) { event::APPEARANCE } else { event::VIEW },
        ),
        _ if name.starts_with("metrickit.") => meaning(Kind::Passive, 0),
        _ => meaning(Kind::Activity, 0),
    };
    match read.get("app.state") {
        Value::Text(said) if said == "foreground" => found.stated = AppState::Foreground,
        Value::Text(said) if said == "background" => found.stated = AppState::Background,
        _ => {}
    }
    if is_true(read.get("passive")) {
        (found.kind, found.exit_reason) = (Kind::Passive, None);
    }
    Ok(found)
}

fn lifecycle(read: &Attributes<'_>) -> Meaning {
    let either = |word| is(read.get("android.app.state"), word) || is(read.get("ios.app.state"), word);
    if is(read.get("ios.app.state"), "terminate") {
        exit("user_terminated")
    } else if is(read.get("android.app.state"), "created") {
        // The process is there; that it is visible is told by an event of its own.
        Meaning { stated: AppState::Background, ..meaning(Kind::Launch, 0) }
    } else if either("foreground") {
        meaning(Kind::Foreground, 0)
    } else if either("background") || is(read.get("browser.page.visibility"), "hidden") {
        meaning(Kind::Background, 0)
    } else if either("active") || is(read.get("browser.page.visibility"), "visible") {
        meaning(Kind::Active, 0)
    } else {
        meaning(Kind::Activity, 0)
    }
}

fn http(read: &Attributes<'_>) -> Meaning {
    let is_error = match read.get("error.type") {
        Value::Absent | Value::Null | Value::Bool(false) => false,
        // In Python zero equals False.
        Value::Number(number) => *number != 0.0,
        Value::Text(said) => !said.is_empty(),
        Value::Bool(true) | Value::Container => true,
    };
    let failed = is_error || number(read.get("http.response.status_code")) >= 400.0;
    meaning(Kind::Activity, if failed { event::NETWORK | event::NETWORK_ERROR } else { event::NETWORK })
}

fn log(read: &Attributes<'_>) -> Meaning {
    let is_error = number(read.get("severity_number")) >= SEVERITY_NUMBER_ERROR
        || number(read.get("severity")) >= SEVERITY_NUMBER_ERROR
        || is_error_word(read.get("severity_text"))
        || is_error_word(read.get("severity"));
    meaning(Kind::Activity, if is_error { event::LOG_ERROR } else { 0 })
}

fn is_error_word(value: &Value<'_>) -> bool {
    // No other letter becomes one of these in upper case.
    let Value::Text(word) = value else { return false };
    let upper = word.to_ascii_uppercase();
    let digit = upper.strip_prefix("ERROR").or_else(|| upper.strip_prefix("FATAL"));
    matches!(digit, Some("" | "2" | "3" | "4"))
}

fn exit_reason_of<'a>(value: &'a Value<'_>) -> Sure<Cow<'a, str>> {
    let Value::Text(said) = value else { return Ok("unknown".into()) };
    if !said.is_ascii() {
        // What is white space, and what is lower case, Python knows.
        return Err(Unsure("exit_reason"));
    }
    let is_space = |each: char| matches!(each, ' ' | '\t'..='\r' | '\u{1c}'..='\u{1f}');
    let word = said.trim_matches(is_space).to_ascii_lowercase();
    if word.is_empty() || word.len() > MAX_EXIT_REASON_CHARS {
        return Ok("unknown".into());
    }
    Ok(match &*word {
        "crash_native" => "crash".into(),
        "low_memory" => "out_of_memory".into(),
        "user_requested" | "user_stopped" => "user_terminated".into(),
        _ => word.into(),
    })
}

fn is(value: &Value<'_>, word: &str) -> bool {
    matches!(value, Value::Text(said) if said == word)
}

/// True, or the text of it: some SDKs send all attributes as text.
fn is_true(value: &Value<'_>) -> bool {
    *value == Value::Bool(true) || is(value, "true")
}

/// A number, or what a text of digits says; else 0.
fn number(value: &Value<'_>) -> f64 {
    match value {
        Value::Number(number) => *number,
        Value::Bool(value) => f64::from(u8::from(*value)),
        Value::Text(said) if (1..=4).contains(&said.len()) && said.bytes().all(|b| b.is_ascii_digit()) => {
            said.parse().unwrap_or(0.0)
        }
        _ => 0.0,
    }
}
