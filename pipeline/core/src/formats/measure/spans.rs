//! Spans of a Measure body: each is one native event `span`, at its start.

use super::blocks::{Attributes, Member, Name, Said, found, text_of};
use super::measured::{is_whole, positive};
use crate::formats::json::Value;
use crate::unsure::{Sure, Unsure};

const MEASURE_LOADS: [&str; 2] = ["Activity TTID ", "Fragment TTID "];

/// Add what a span says by its fields; `lasted_ms` is by its times, and counts where it does not say how long it took.
pub fn add_attributes<'a>(
    fields: &[Member<'a>],
    lasted_ms: i64,
    attributes: &mut Attributes<'a>,
) -> Sure<()> {
    for member in fields {
        let is_read = matches!(
            member.name,
            "session_id" | "start_time" | "end_time" | "duration" | "status" | "attributes"
        );
        if !is_read && !matches!(member.raw, "\"\"" | "false" | "[]" | "{}") {
            attributes.set(name_of(member.name), Said::Raw(member.raw));
        }
    }
    match found(fields, "status") {
        // In Python true equals 1.
        Some(Member { value: Value::Bool(_), .. }) => return Err(Unsure("type")),
        Some(Member { raw: "1", .. }) => attributes.set(Name::plain("span.status"), Said::Word("ok")),
        Some(Member { raw: "2", .. }) => attributes.set(Name::plain("span.status"), Said::Word("error")),
        _ => {}
    }
    let duration = found(fields, "duration");
    let (told, took) = match positive(duration)? {
        Some((raw, _)) if is_whole(raw) => (Said::Raw(raw), Said::Raw(raw)),
        Some((raw, value)) => (Said::Raw(raw), Said::Double(value)),
        None if lasted_ms >= 0 => (Said::Int(lasted_ms), Said::Int(lasted_ms)),
        None => return add_measured(text_of(fields, "name").unwrap_or_default(), None, attributes),
    };
    attributes.set(Name::plain("duration_ms"), told);
    add_measured(text_of(fields, "name").unwrap_or_default(), Some(took), attributes)
}

/// The screen whose load the span was, and how long that took.
fn add_measured<'a>(name: &str, took: Option<Said<'a>>, attributes: &mut Attributes<'a>) -> Sure<()> {
    if name.starts_with("emb-app-startup-") {
        return Err(Unsure("rule"));
    }
    let screen = MEASURE_LOADS.iter().find_map(|prefix| name.strip_prefix(prefix)).unwrap_or_default();
    if let Some(took) = took
        && !screen.is_empty()
    {
        attributes.add("app.screen.name", Said::Text(screen.to_owned().into()));
        attributes.add("app.screen.load_ms", took);
    }
    Ok(())
}

fn name_of(field: &str) -> Name<'_> {
    match field {
        "name" => Name::plain("span.name"),
        "parent_id" => Name::plain("span.parent_id"),
        "trace_id" | "span_id" | "user_defined_attribute" => Name::plain(field),
        _ => Name::of("span", field),
    }
}
