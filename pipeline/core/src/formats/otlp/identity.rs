//! Whose these records are: a resource says so, and Python reads it. Here are the attributes of a record that do.

use super::message::Attributes;
use crate::formats::limits::MAX_ID_CHARS;
use crate::unsure::{Sure, Unsure};

pub const SESSION_ID: &str = "session.id";

/// The SDK's session of a record that says nothing else of whose it is; empty for none. It is taken out.
pub fn of_record<'a>(attributes: &mut Attributes<'a>) -> Sure<&'a str> {
    let Some(value) = attributes.pop(SESSION_ID) else {
        return Ok("");
    };
    value
        .text()
        .filter(|id| (id.len() <= MAX_ID_CHARS || id.chars().count() <= MAX_ID_CHARS) && !id.contains('\0'))
        .ok_or(Unsure("session"))
}
