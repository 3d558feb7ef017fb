//! What log records say, as names and attributes of native events (schemas/mapping/otlp.md, "Log records").

use super::message::{Attributes, LogRecord, Value};
use super::names::{PLAIN, put, renamed};
use crate::unsure::{Sure, Unsure};

/// FATAL is 21 to 24.
pub const SEVERITY_NUMBER_FATAL: u8 = 21;
const METRICKIT: &str = "metrickit.";
const EMBRACE_VITAL: &str = "emb-web-vitals-report-";
const OLD_STATES: [(&str, &str); 2] =
    [("android.state", "android.app.state"), ("ios.state", "ios.app.state")];
const SCREEN_NAMES: [&str; 3] = ["app.screen.name", "screen.name", "view.name"];

/// What is to be done with events of some names.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Rule {
    SessionEnd,
    Lifecycle,
    Exception,
    Tap(&'static str),
    BrowserClick,
    ScreenView,
    Arrival,
    Passive,
    Metrickit,
    /// What Python alone knows.
    Left,
}

/// The name that the record has, or that tells best what it is; `log` for a line of a log. (Names in attributes are
/// left to Python.)
pub fn source_name<'a>(record: &LogRecord<'a>) -> Sure<&'a str> {
    if !record.event_name.is_empty() {
        return Ok(record.event_name);
    }
    if let Some(body) = record.body
        && is_known(body)
    {
        return Ok(body);
    }
    if record.attributes.text("metrickit.diagnostic.name").is_some_and(|name| !name.is_empty()) {
        return Err(Unsure("rule"));
    }
    Ok(if record.attributes.get("exception.type").is_some() { "exception" } else { "log" })
}

/// Whether a text is the name of an event, wherever it stands.
pub fn is_known(name: &str) -> bool {
    rule_by_name(name).is_some() || PLAIN.contains(&name)
}

/// What is to be done with an event of this name and these attributes; None if nothing is.
pub fn rule_of(name: &str, attributes: &Attributes) -> Option<Rule> {
    let Some(rule) = rule_by_name(name) else {
        if name.starts_with(METRICKIT) {
            return Some(Rule::Metrickit);
        }
        if name.ends_with(".exception") {
            return Some(Rule::Exception);
        }
        return name.starts_with(EMBRACE_VITAL).then_some(Rule::Left);
    };
    let is_needed = match rule {
        Rule::Lifecycle => OLD_STATES.iter().any(|(old, _)| attributes.get(old).is_some()),
        Rule::ScreenView => SCREEN_NAMES[1..].iter().any(|old| attributes.get(old).is_some()),
        _ => true,
    };
    is_needed.then_some(rule)
}

fn rule_by_name(name: &str) -> Option<Rule> {
    Some(match name {
        "session.end" => Rule::SessionEnd,
        "device.app.lifecycle" => Rule::Lifecycle,
        "app.crash" | "device.crash" | "device.anr" => Rule::Left,
        "exception" => Rule::Exception,
        "app.screen.longpress" => Rule::Tap("app.screen.click"),
        "app.widget.longpress" => Rule::Tap("app.widget.click"),
        "browser.user_action.click" => Rule::BrowserClick,
        "app.screen.view" => Rule::ScreenView,
        "app.navigation.complete" => Rule::Arrival,
        "browser.navigation" | "browser.page_view" => Rule::Left,
        "browser.resource_timing" => Rule::Passive,
        _ => return None,
    })
}

impl Rule {
    /// The native name of what was sent under this one; the attributes get what the native format asks for.
    pub fn apply<'a>(
        self,
        name: &'a str,
        attributes: &mut Attributes<'a>,
        severity: u8,
        is_browser: bool,
    ) -> Sure<&'a str> {
        Ok(match self {
            Rule::SessionEnd if attributes.text("session.end.reason") == Some("manual") => "session.end",
            Rule::SessionEnd => "session.end.reported",
            Rule::Lifecycle => {
                renamed(attributes, &OLD_STATES)?;
                name
            }
            Rule::Exception => {
                exception(attributes, severity, is_browser)?;
                "exception"
            }
            Rule::Tap(native) => native,
            Rule::BrowserClick => {
                renamed(
                    attributes,
                    &[
                        ("browser.page.x", "app.screen.coordinate.x"),
                        ("browser.page.y", "app.screen.coordinate.y"),
                    ],
                )?;
                "app.widget.click"
            }
            Rule::ScreenView => {
                screen_view(attributes);
                name
            }
            Rule::Arrival => {
                if let Some(destination) = attributes.text("app.navigation.destination.name") {
                    put(attributes, "app.screen.name", Value::Text(destination))?;
                }
                "app.screen.view"
            }
            Rule::Passive => {
                attributes.set("passive", Value::Bool(true));
                name
            }
            Rule::Metrickit => {
                attributes.set("time.uncertain", Value::Bool(true));
                "metrickit.diagnostic"
            }
            Rule::Left => return Err(Unsure("rule")),
        })
    }
}

fn exception(attributes: &mut Attributes<'_>, severity: u8, is_browser: bool) -> Sure<()> {
    if is_browser {
        // The page goes on, whatever is said.
        if let Some(fatal) = attributes.pop("fatal") {
            attributes.set("exception.fatal", fatal);
        }
    } else if severity >= SEVERITY_NUMBER_FATAL {
        put(attributes, "fatal", Value::Bool(true))?;
    }
    Ok(())
}

fn screen_view(attributes: &mut Attributes<'_>) {
    let Some(name) = SCREEN_NAMES.iter().find_map(|name| attributes.text(name)) else {
        return;
    };
    attributes.set(SCREEN_NAMES[0], Value::Text(name));
    for other in &SCREEN_NAMES[1..] {
        if attributes.text(other) == Some(name) {
            attributes.pop(other);
        }
    }
}
