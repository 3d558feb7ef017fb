//! What Python calls to make events of the records of a scope. `pipeline/formats/otlp/compiled_events.py` is the other
//! side.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::events::{Buffers, Context, add_log, add_span};
use crate::poison::meet;
use crate::unsure::Unsure;

/// The events; of how many each record has; why the next record is left, empty if it is not; the latest time, Unix ms.
type Made<'py> = (Bound<'py, PyList>, Bound<'py, PyBytes>, &'static str, i64);

#[pyclass]
#[derive(Default)]
pub struct EventMaker {
    buffers: Buffers,
}

#[pymethods]
impl EventMaker {
    #[new]
    fn new() -> Self {
        Self::default()
    }

    /// The events of records in protobuf, from one on, until there is a doubt about one or `room` events are made.
    ///
    /// `sender` is app and device as JSON, each with a comma behind it, `scope` the name of the scope as JSON,
    /// `scope_json` its attributes, each with a comma before it; `latest_ms` the latest time that is taken.
    #[allow(clippy::too_many_arguments)]
    fn make<'py>(
        &mut self,
        py: Python<'py>,
        is_log: bool,
        records: &Bound<'py, PyList>,
        start: usize,
        room: usize,
        sender: &[u8],
        scope: &[u8],
        scope_json: &[u8],
        session_id: &str,
        is_browser: bool,
        latest_ms: i64,
    ) -> PyResult<Made<'py>> {
        let context = Context { sender, scope, scope_json, session_id, is_browser, latest_ms };
        let buffers = &mut self.buffers;
        let (made, mut counts, mut latest_ms, mut left_why) = (PyList::empty(py), Vec::new(), 0, "");
        for at in start..records.len() {
            if made.len() >= room {
                break;
            }
            meet("make", scope);
            let record = records.get_item(at)?;
            let raw = record.cast::<PyBytes>()?.as_bytes();
            // What is changed by halves is written anew for the next record.
            let done = catch_unwind(AssertUnwindSafe(|| {
                meet("events", scope);
                if is_log { add_log(raw, &context, buffers) } else { add_span(raw, &context, buffers) }
            }));
            match done.unwrap_or(Err(Unsure("panic"))) {
                Ok(time_ms) => latest_ms = latest_ms.max(time_ms),
                Err(Unsure(why)) => {
                    left_why = why;
                    break;
                }
            }
            let before = made.len();
            for event in buffers.events() {
                made.append(PyBytes::new(py, event))?;
            }
            counts.push((made.len() - before) as u8);
        }
        Ok((made, PyBytes::new(py, &counts), left_why, latest_ms))
    }
}
