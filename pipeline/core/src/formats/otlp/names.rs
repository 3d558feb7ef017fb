//! Names that OpenTelemetry, and SDKs that are older than its conventions, give to what apps tell.

use std::borrow::Cow;

use super::message::{Attributes, Value};
use crate::unsure::Sure;

/// The attribute with the name that was sent, where the native one is another.
pub const SOURCE_NAME: &str = "otlp.name";

/// Names that need no rule, or that the native format knows.
#[rustfmt::skip]
pub const PLAIN: [&str; 26] = [
    "app.launch", "app.exit", "app.heartbeat", "app.screen.view", "app.jank", "log", "http.client.request",
    "session.start", "network.change", "device.power_save_mode.change", "device.thermal_status.change",
    "device.memory.low", "device.screen_orientation", "app.screen.scroll", "app.screen.fling",
    "app.widget.scroll", "app.widget.fling", "app.screen.click", "app.widget.click",
    "browser.web_vital", "browser.console", "browser.long_animation_frame", "browser.navigation_timing",
    "rum.sdk.init.started", "rum.sdk.init.net.provider", "rum.sdk.init.net.monitor",
];

/// Say a fact under a name. What stood there, if it is not the same, goes to `attribute.<name>`.
pub fn put<'a>(attributes: &mut Attributes<'a>, name: &'static str, value: Value<'a>) -> Sure<()> {
    if let Some(found) = attributes.get(name)
        && !found.is_same(value)?
    {
        attributes.set(Cow::Owned(format!("attribute.{name}")), found);
    }
    attributes.set(name, value);
    Ok(())
}

/// Put what is under old names under the present ones; the old one stays where the two say different things.
pub fn renamed(attributes: &mut Attributes<'_>, names: &[(&'static str, &'static str)]) -> Sure<()> {
    for (old, name) in names {
        let Some(value) = attributes.get(old) else {
            continue;
        };
        let is_other = match attributes.get(name) {
            Some(found) => !found.is_same(value)?,
            None => false,
        };
        if !is_other {
            attributes.pop(old);
            attributes.set(*name, value);
        }
    }
    Ok(())
}
