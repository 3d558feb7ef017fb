//! Outboxes, turned into rows.

use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashMap;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyList};

use super::device_state::{Report, Write};
use crate::domain::Text;
use crate::domain::policy::Policy;
use crate::formats::native::reading::names_of;
use crate::poison::meet;
use crate::storage::rows::{Origin, deleted_row, session_row};

const KEPT_BYTES: usize = 32_000_000;

/// What resources and users say in rows: as Python writes it, asked for once.
pub struct Columns {
    ask: Py<PyAny>,
    known: Mutex<(HashMap<Text, Text>, usize)>,
}

impl Columns {
    pub fn new(ask: Py<PyAny>) -> Self {
        Self { ask, known: Mutex::new((HashMap::new(), 0)) }
    }

    fn of(&self, py: Python<'_>, canonical: &Text) -> PyResult<Text> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let (columns, size) = &mut *known;
        if let Some(found) = columns.get(canonical) {
            return Ok(found.clone());
        }
        let made: Text = self.ask.bind(py).call1((&**canonical,))?.extract::<String>()?.into();
        *size += made.len() + canonical.len() + 200;
        if *size > KEPT_BYTES {
            columns.clear();
            *size = 0;
        }
        columns.insert(canonical.clone(), made.clone());
        Ok(made)
    }
}

/// The rows of one device's outbox, made while they are asked for.
#[pyclass(frozen)]
pub struct Outbox {
    #[pyo3(get)]
    pub key: Py<PyBytes>,
    #[pyo3(get)]
    pub applied_offset: i64,
    pub revision: i64,
    pub arrived_ms: i64,
    pub writes: Vec<Write>,
    pub policy: Arc<Policy>,
    pub resources: Arc<Columns>,
    pub users: Arc<Columns>,
}

#[pymethods]
impl Outbox {
    fn __len__(&self) -> usize {
        self.writes.len()
    }

    /// The rows from one place to another, for input that lay in a partition.
    fn rows<'py>(
        &self,
        py: Python<'py>,
        partition: i64,
        start: usize,
        stop: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let (app_id, device_id) = names_of(self.key.bind(py).as_bytes()).expect("it was folded under it");
        let origin = Origin {
            app_id,
            device_id,
            revision: self.revision,
            partition,
            offset: self.applied_offset,
            arrived_at_ms: self.arrived_ms,
        };
        meet("outbox", self.key.as_bytes(py));
        let rows = PyList::empty(py);
        for write in self.writes.iter().take(stop).skip(start) {
            rows.append(PyBytes::new(py, &self.row(py, write, &origin)?))?;
        }
        Ok(rows)
    }
}

impl Outbox {
    fn row(&self, py: Python<'_>, write: &Write, origin: &Origin<'_>) -> PyResult<Vec<u8>> {
        let session = &write.session;
        if write.report == Report::Deleted {
            return Ok(deleted_row(origin, session));
        }
        let user = self.users.of(py, &session.user)?;
        let resource = self.resources.of(py, &session.resource)?;
        let is_open = write.report == Report::Open;
        let version = self.policy.version_at(session.started_at_ms, self.applied_offset);
        let columns = [&*user, &*resource];
        if write.report == Report::Silent && session.is_open() {
            return Ok(session_row(origin, &session.as_quiet(), is_open, write.is_final, columns, version));
        }
        Ok(session_row(origin, session, is_open, write.is_final, columns, version))
    }
}
