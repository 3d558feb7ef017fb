//! What was measured, under the names that all formats have in common (schemas/MAPPING.md, "Performance").

use std::borrow::Cow;

use super::otlp::message::{Attributes, Value};
use crate::unsure::{Sure, Unsure};

const SCREEN_NAMES: [&str; 7] = [
    "app.screen.name",
    "screen.name",
    "view.name",
    "activity.name",
    "activityName",
    "fragment.name",
    "fragmentName",
];
const MEASURE_LOADS: [&str; 2] = ["Activity TTID ", "Fragment TTID "];

/// Names and values.
pub type Measured<'a> = Option<[(&'static str, Value<'a>); 2]>;

/// Put what was measured beside what an event says, which counts where it has the name already.
pub fn add<'a>(attributes: &mut Attributes<'a>, measured: Measured<'a>) {
    for (name, value) in measured.into_iter().flatten() {
        if attributes.get(name).is_none() {
            attributes.set(Cow::Borrowed(name), value);
        }
    }
}

/// What a span that has ended measured, by the names that SDKs give those that measure; None for all others. Pages and
/// the spans of Embrace are left to Python.
pub fn of_span<'a>(name: &'a str, attributes: &Attributes<'a>, duration_ms: f64) -> Sure<Measured<'a>> {
    let took = Value::Double(duration_ms);
    if name == "AppStart" {
        let kind = match attributes.text("start.type").map(str::to_ascii_lowercase).as_deref() {
            Some("cold") => "cold",
            Some("warm") => "warm",
            Some("hot") => "hot",
            _ => return Ok(None),
        };
        return Ok(Some([("app.launch.type", Value::Text(kind)), ("app.launch.duration_ms", took)]));
    }
    if name == "documentLoad" || name.starts_with("emb-") {
        return Err(Unsure("rule"));
    }
    let screen = screen_of(name, attributes).filter(|screen| !screen.is_empty());
    Ok(screen.map(|screen| [("app.screen.name", Value::Text(screen)), ("app.screen.load_ms", took)]))
}

fn screen_of<'a>(name: &'a str, attributes: &Attributes<'a>) -> Option<&'a str> {
    if let Some(screen) = MEASURE_LOADS.iter().find_map(|prefix| name.strip_prefix(prefix)) {
        return Some(screen);
    }
    if name != "Created" {
        return None;
    }
    SCREEN_NAMES.iter().filter_map(|name| attributes.text(name)).find(|screen| !screen.is_empty())
}
