//! What Python calls to translate a body. `pipeline/formats/measure/compiled_bodies.py` is the other side.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::body::{Body, Item, decode};
use crate::formats::translation::{NativeRecord, Sender, pack};
use crate::poison::meet;
use crate::unsure::{Sure, Unsure};

/// Key and value of a native envelope.
type Record<'py> = (Bound<'py, PyBytes>, Bound<'py, PyBytes>);
/// The index of who sent an event or a span, and the native event as JSON; or -1 and what is left, as it came.
type Half<'py> = (isize, Bound<'py, PyBytes>);
/// App, device, resource and user.
type Who = (String, String, String, String);
/// The envelopes of a body of which all was taken. Otherwise none, but its events and then its spans; how many are
/// events; who sent them; and why some are left. Of a body that is left altogether the last alone.
type Made<'py> = (Vec<Record<'py>>, Vec<Half<'py>>, usize, Vec<Who>, Vec<&'static str>);

#[pyclass]
#[derive(Default)]
pub struct BodyMaker;

#[pymethods]
impl BodyMaker {
    #[new]
    fn new() -> Self {
        Self
    }

    /// Translates a body that came at a time in Unix milliseconds.
    fn make<'py>(&self, py: Python<'py>, value: &[u8], record_ms: i64) -> Made<'py> {
        let done = catch_unwind(AssertUnwindSafe(|| {
            meet("body", value);
            made(py, value, record_ms)
        }));
        let left = |Unsure(why)| (Vec::new(), Vec::new(), 0, Vec::new(), vec![why]);
        done.unwrap_or(Err(Unsure("panic"))).unwrap_or_else(left)
    }
}

fn made<'py>(py: Python<'py>, value: &[u8], record_ms: i64) -> Sure<Made<'py>> {
    let Body { senders, items, event_count, text } = decode(value, record_ms)?;
    let mut events = Vec::with_capacity(items.len());
    let mut left = Vec::new();
    for item in &items {
        match item {
            Item::Taken(sender, range) => events.push((*sender, &text[range.clone()])),
            Item::Left(_, Unsure(why)) => left.push(*why),
        }
    }
    if left.is_empty()
        && let Ok(records) = pack(&senders, &events)
    {
        let bytes = |NativeRecord { key, value }| (PyBytes::new(py, &key), PyBytes::new(py, &value));
        return Ok((records.into_iter().map(bytes).collect(), Vec::new(), 0, Vec::new(), left));
    }
    let half = |item: &Item| match item {
        Item::Taken(sender, range) => (*sender as isize, PyBytes::new(py, &text[range.clone()])),
        Item::Left(raw, _) => (-1, PyBytes::new(py, raw.as_bytes())),
    };
    let halves = items.iter().map(half).collect();
    let who = |Sender { app_id, device_id, resource, user }| (app_id, device_id, resource, user);
    Ok((Vec::new(), halves, event_count, senders.into_iter().map(who).collect(), left))
}
