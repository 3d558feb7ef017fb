//! What Python calls to make event rows: records are taken as long as there is no doubt, and each one that there is a
//! doubt about is named. `pipeline/roles/sink/compiled_rows.py` is the other side.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hashbrown::HashMap;
use pyo3::intern;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict};

use crate::domain::event::{ANR, CRASH, EXCEPTION};
use crate::formats::envelope::{Record, read};
use crate::formats::native::reading::names_of;
use crate::poison::meet;
use crate::storage::crash_rows::Failure;
use crate::storage::event_block::{EventBlock, Shared};
use crate::unsure::{Sure, Unsure};

const DAY_MS: i64 = 86_400_000;
/// As in `pipeline/storage/kept.py`.
const FIRST_DAY: i64 = 18_262;
const LAST_DAY: i64 = 65_530;
/// As in `pipeline/storage/rows.py`.
const ROW_BYTES: usize = 3_000;
const KEPT_BYTES: usize = 32_000_000;
const KEPT_APPS: usize = 100_000;

/// What is known of an app: nothing, where its records are left to Python.
struct App {
    /// Apps of one group have the same rules.
    group: u32,
    days: u16,
    private: HashSet<String>,
}

/// A resource or a user, by its JSON as it came.
struct Text {
    canonical: String,
    chars: usize,
    /// The version of the app, or the id of the user.
    column: String,
}

type Texts = HashMap<u32, HashMap<Box<str>, Arc<Text>>>;
/// The records up to this place are taken; why the next one is not, if it is not that the block is full; how many
/// events were taken, and rows of the ledger.
type Taken<'py> = (usize, Option<&'static str>, usize, Bound<'py, PyBytes>);

#[pyclass]
pub struct EventEncoder {
    rules_of: Py<PyAny>,
    resource_of: Py<PyAny>,
    user_of: Py<PyAny>,
    failures_of: Py<PyAny>,
    apps: HashMap<Box<str>, Option<Arc<App>>>,
    resources: Texts,
    users: Texts,
    kept_bytes: usize,
}

/// The events of one piece.
#[pyclass]
pub struct EventRows {
    topic: String,
    quoted_topic: String,
    partition: u32,
    block: EventBlock,
}

#[pymethods]
impl EventRows {
    #[new]
    fn new(topic: String, quoted_topic: String, partition: u32) -> Self {
        Self { topic, quoted_topic, partition, block: EventBlock::default() }
    }

    #[getter]
    fn byte_count(&self) -> usize {
        self.block.byte_count()
    }

    #[getter]
    fn count(&self) -> usize {
        self.block.count()
    }

    /// The block; None, where that is a panic.
    fn written<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyBytes>> {
        let written = catch_unwind(AssertUnwindSafe(|| {
            meet("written", self.topic.as_bytes());
            self.block.written(&self.topic)
        }));
        Some(PyBytes::new(py, &written.ok()?))
    }
}

#[pymethods]
impl EventEncoder {
    #[new]
    fn new(rules_of: Py<PyAny>, resource_of: Py<PyAny>, user_of: Py<PyAny>, failures_of: Py<PyAny>) -> Self {
        let (apps, resources, users) = Default::default();
        Self { rules_of, resource_of, user_of, failures_of, apps, resources, users, kept_bytes: 0 }
    }

    /// Takes records from one on, until there is a doubt about one or the rows have so many bytes.
    #[allow(clippy::too_many_arguments)]
    fn take<'py>(
        &mut self,
        py: Python<'py>,
        mut rows: PyRefMut<'_, EventRows>,
        records: &Bound<'py, PyAny>,
        start: usize,
        offset_base: i64,
        max_bytes: usize,
        piece_bytes: usize,
        wrong: &Bound<'py, PyDict>,
    ) -> PyResult<Taken<'py>> {
        let mut ledger = Vec::new();
        let before = rows.block.count();
        let mut at = start;
        let mut reason = None;
        let end = records.len()?;
        while at < end {
            let record = records.get_item(at)?;
            if let Err(Unsure(why)) =
                self.take_one(py, &mut rows, &record, offset_base, piece_bytes, wrong, &mut ledger)?
            {
                reason = Some(why);
                break;
            }
            at += 1;
            if rows.block.byte_count() >= max_bytes {
                break;
            }
        }
        Ok((at, reason, rows.block.count() - before, PyBytes::new(py, &ledger)))
    }
}

impl EventEncoder {
    #[allow(clippy::too_many_arguments)]
    fn take_one(
        &mut self,
        py: Python<'_>,
        rows: &mut EventRows,
        record: &Bound<'_, PyAny>,
        offset_base: i64,
        piece_bytes: usize,
        wrong: &Bound<'_, PyDict>,
        ledger: &mut Vec<u8>,
    ) -> PyResult<Sure<()>> {
        let key = record.getattr(intern!(py, "key"))?;
        let value = record.getattr(intern!(py, "value"))?;
        let (Ok(key_bytes), Ok(value)) = (key.cast::<PyBytes>(), value.cast::<PyBytes>()) else {
            return Ok(Err(Unsure("empty")));
        };
        if record.getattr(intern!(py, "headers"))?.is_truthy()? {
            return Ok(Err(Unsure("headers")));
        }
        if !wrong.is_empty() && wrong.contains(&key)? {
            return Ok(Err(Unsure("misplaced")));
        }
        let timestamp_ms: i64 = record.getattr(intern!(py, "timestamp"))?.extract()?;
        let offset = record.getattr(intern!(py, "offset"))?.extract::<i64>()? + offset_base;
        let (Ok((app_id, device_id)), Ok(offset)) = (names_of(key_bytes.as_bytes()), u64::try_from(offset))
        else {
            return Ok(Err(Unsure("key")));
        };
        let Some(app) = self.app(py, app_id)? else {
            return Ok(Err(Unsure("rules")));
        };
        let is_private = |name: &str| !app.private.is_empty() && app.private.contains(name);
        // Reading changes nothing, so that a fault of ours costs no more than the reading.
        let found = catch_unwind(AssertUnwindSafe(|| read(value.as_bytes(), timestamp_ms, is_private)))
            .unwrap_or(Err(Unsure("panic")));
        let found = match found {
            Ok(found) => found,
            Err(unsure) => return Ok(Err(unsure)),
        };
        if found.app_id != app_id || found.device_id != device_id {
            return Ok(Err(Unsure("key")));
        }
        let Some((resource, user)) = self.texts(py, &app, app_id, &found)? else {
            return Ok(Err(Unsure("texts")));
        };
        let count = found.events.len();
        if count * (ROW_BYTES + 8 * resource.chars + 4 * user.chars) > piece_bytes {
            return Ok(Err(Unsure("size")));
        }
        let failures: Vec<Failure> = if found.events.iter().any(|event| event.meaning.counters & FAILED != 0)
        {
            let place = (&record, rows.topic.as_str(), rows.partition, offset);
            self.failures_of.bind(py).call1(place)?.extract()?
        } else {
            Vec::new()
        };
        let (stored_on, retention_days) = kept(timestamp_ms, app.days);
        let shared = Shared {
            resource: &resource.canonical,
            app_version: &resource.column,
            user: &user.canonical,
            user_id: &user.column,
            received_at_ms: timestamp_ms,
            partition: rows.partition,
            offset,
            stored_on,
            retention_days,
        };
        meet("rows", key_bytes.as_bytes());
        rows.block.push(&found, &shared, &failures);
        write_ledger(ledger, rows, &shared, app_id, count);
        Ok(Ok(()))
    }

    fn app(&mut self, py: Python<'_>, app_id: &str) -> PyResult<Option<Arc<App>>> {
        if let Some(found) = self.apps.get(app_id) {
            return Ok(found.clone());
        }
        let told: Option<(u32, u16, HashSet<String>)> = self.rules_of.bind(py).call1((app_id,))?.extract()?;
        let made = told
            .filter(|_| is_plain(app_id))
            .map(|(group, days, private)| Arc::new(App { group, days, private }));
        if self.apps.len() >= KEPT_APPS {
            self.apps.clear();
        }
        self.apps.insert(app_id.into(), made.clone());
        Ok(made)
    }

    /// Resource and user in canonical form; None where there is a fault in one.
    fn texts(
        &mut self,
        py: Python<'_>,
        app: &App,
        app_id: &str,
        record: &Record,
    ) -> PyResult<Option<(Arc<Text>, Arc<Text>)>> {
        if self.kept_bytes > KEPT_BYTES {
            self.resources.clear();
            self.users.clear();
            self.kept_bytes = 0;
        }
        let of = |texts: &mut Texts, ask: &Py<PyAny>, raw: Option<&str>, kept_bytes: &mut usize| {
            let texts = texts.entry(app.group).or_default();
            // No JSON is empty.
            let raw = raw.unwrap_or("");
            if let Some(found) = texts.get(raw) {
                return Ok(Some(found.clone()));
            }
            let told: Option<(String, String)> =
                ask.bind(py).call1((app_id, PyBytes::new(py, raw.as_bytes())))?.extract()?;
            let Some((canonical, column)) = told else {
                return PyResult::Ok(None);
            };
            let made = Arc::new(Text { chars: canonical.chars().count(), canonical, column });
            *kept_bytes += raw.len() + made.canonical.len() + made.column.len() + 100;
            texts.insert(raw.into(), made.clone());
            Ok(Some(made))
        };
        let Some(resource) =
            of(&mut self.resources, &self.resource_of, record.resource, &mut self.kept_bytes)?
        else {
            return Ok(None);
        };
        let user = of(&mut self.users, &self.user_of, record.user, &mut self.kept_bytes)?;
        Ok(user.map(|user| (resource, user)))
    }
}

/// Bits of an event's counters: it may have a group, which Python makes.
const FAILED: u16 = CRASH | ANR | EXCEPTION;

/// Whether a text stands in JSON as it is.
fn is_plain(text: &str) -> bool {
    text.bytes().all(|byte| byte >= 0x20 && byte != b'"' && byte != b'\\')
}

/// The day from which on a row is kept, and for how many days. As `kept` in `pipeline/storage/kept.py`.
fn kept(timestamp_ms: i64, days: u16) -> (u16, u16) {
    let day = timestamp_ms.div_euclid(DAY_MS);
    if day < FIRST_DAY {
        return (0, 0);
    }
    (day.min(LAST_DAY - i64::from(days)).clamp(0, 0xffff) as u16, days)
}

/// As `ledger_row` in `pipeline/storage/rows.py`.
fn write_ledger(out: &mut Vec<u8>, rows: &EventRows, shared: &Shared, app_id: &str, received: usize) {
    use std::io::Write;
    if !out.is_empty() {
        out.push(b'\n');
    }
    let (year, month, day) = date(shared.stored_on);
    // Nothing can go wrong with writing into memory.
    let _ = write!(
        out,
        "{{\"topic\":{},\"partition\":{},\"offset\":{},\"received\":{received},\"refused\":0,\"sampled_out\":0,\
         \"erased\":0,\"app_id\":\"{app_id}\",\"stored_on\":\"{year:04}-{month:02}-{day:02}\",\"retention_days\":{}}}",
        rows.quoted_topic, shared.partition, shared.offset, shared.retention_days,
    );
}

/// Year, month and day of a day since 1970.
fn date(day: u16) -> (u32, u32, u32) {
    // Years begin in March here, and 719,468 days before 1970 is 1 March of the year 0.
    let day = u32::from(day) + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let date = of_year - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 { (month + 3, 0) } else { (month - 9, 1) };
    (year + 400 * era + later, month, date)
}
