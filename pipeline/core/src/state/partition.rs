//! The devices of a partition, kept here: records in, an entry of the table and rows out.

use std::sync::Arc;

use hashbrown::{HashMap, HashSet};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyIterator, PyList};

use super::codec::state_head::outline;
use super::codec::step_codec::{KnownPolicy, Scratch, read_policy};
use super::compiled_partition::{Asked, with_given};
use super::deadlines::{Times, Timetable, due_ms};
use super::durable::{Durable, Hashed, Kept, NEVER, Part, Place, part_of};
use super::fetching::TOGETHER;
use super::outbox::Columns;
use super::store::DecodedStates;
use crate::formats::edge::Edge;
use crate::poison::meet;
use crate::unsure::{Sure, Unsure};

/// With their versions, as bytes of them stand for each application.
const MOST_POLICIES: usize = 10_000;

/// An entry that was made of a device. Once that is durable, its deadlines hold.
pub(super) struct MadeEntry {
    /// The very object.
    pub entry: Py<PyBytes>,
    pub place: Option<Place>,
    pub hash: u64,
    pub due_ms: [i64; 2],
}

/// What an entry that is durable is of.
struct Of<'a> {
    device: Hashed<'a>,
    part: Part,
    /// Where the device is, most likely.
    place: Option<Place>,
    /// Of one that was made here.
    due_ms: Option<[i64; 2]>,
}

#[pyclass]
pub struct Core {
    pub(super) durable: Durable,
    timetable: Timetable,
    pub(super) states: DecodedStates,
    /// In the order in which the step in hand made them.
    pub(super) made: Vec<MadeEntry>,
    policies: HashMap<Box<[u8]>, Arc<KnownPolicy>>,
    pub(super) edge: Edge,
    pub(super) scratch: Scratch,
    pub(super) resources: Arc<Columns>,
    pub(super) users: Arc<Columns>,
}

type Given<'py> = Option<Bound<'py, PyBytes>>;
/// A table key and its value.
type Entry<'py> = (Bound<'py, PyBytes>, Given<'py>);
/// A device key and its deadlines.
type Touched<'py> = (Bound<'py, PyBytes>, Option<i64>, Option<i64>);

#[pymethods]
impl Core {
    /// `resource_columns` and `user_columns` give what the canonical form of one says in a row.
    #[new]
    fn new(resource_columns: Py<PyAny>, user_columns: Py<PyAny>) -> Self {
        Self {
            durable: Durable::default(),
            timetable: Timetable::default(),
            states: DecodedStates::default(),
            made: Vec::new(),
            policies: HashMap::new(),
            edge: Edge::default(),
            scratch: Scratch::default(),
            resources: Arc::new(Columns::new(resource_columns)),
            users: Arc::new(Columns::new(user_columns)),
        }
    }

    // What is durable: `Durable` of `pipeline/state/durable.py`.

    fn __len__(&self) -> usize {
        self.durable.count
    }

    fn __contains__(&self, key: &[u8]) -> bool {
        self.durable.get(key).is_some_and(Kept::is_known)
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        PyList::new(py, self.durable.known().map(|device| PyBytes::new(py, device.key())))?.try_iter()
    }

    #[getter]
    fn byte_count(&self) -> usize {
        self.durable.byte_count
    }

    fn parts<'py>(&self, py: Python<'py>, key: &[u8]) -> (Given<'py>, Given<'py>) {
        let given = |part: Option<&[u8]>| part.map(|value| PyBytes::new(py, value));
        self.durable.get(key).map_or((None, None), |device| (given(device.base()), given(device.steps())))
    }

    fn weight(&self, key: &[u8]) -> usize {
        self.durable.get(key).map_or(0, Kept::weight)
    }

    fn put_base(&mut self, key: &Bound<'_, PyBytes>, value: &Bound<'_, PyBytes>) {
        self.put(Hashed::of(key.as_bytes()), None, Part::Base, Some(value));
    }

    fn put_steps(&mut self, key: &Bound<'_, PyBytes>, value: &Bound<'_, PyBytes>) {
        self.put(Hashed::of(key.as_bytes()), None, Part::Steps, Some(value));
    }

    fn drop_base(&mut self, key: &[u8]) {
        self.put(Hashed::of(key), None, Part::Base, None);
    }

    fn drop_steps(&mut self, key: &[u8]) {
        self.put(Hashed::of(key), None, Part::Steps, None);
    }

    /// The devices whose parts may not belong together, or of which Python has to say so; of others, steps are dropped
    /// whose base has gone on.
    fn with_steps<'py>(&mut self, py: Python<'py>) -> PyResult<Bound<'py, PyList>> {
        let misfits = self.durable.misfits();
        PyList::new(py, misfits.iter().map(|place| PyBytes::new(py, self.durable.at(*place).key())))
    }

    /// Take over entries of the table. Those that are not of devices, or that it cannot read, in their order.
    fn restore<'py>(&mut self, py: Python<'py>, items: &Bound<'py, PyDict>) -> PyResult<Bound<'py, PyList>> {
        let left = PyList::empty(py);
        for (table_key, value) in items {
            let (table_key, value) = (table_key.cast_into::<PyBytes>()?, value.cast_into::<PyBytes>()?);
            meet("restore", table_key.as_bytes());
            if let Some((key, part)) = part_of(table_key.as_bytes())
                && outline(value.as_bytes()).is_ok_and(|(known, _)| known.is_steps == (part == Part::Steps))
            {
                let place = self.durable.place(Hashed::of(key));
                self.durable.put(place, part, Some(value.as_bytes()));
            } else {
                left.append((table_key, value))?;
            }
        }
        Ok(left)
    }

    /// A step begins: what another one made, and nobody committed, nobody will.
    fn begin(&mut self) {
        self.made.clear();
    }

    /// Device keys and deadlines of those of these entries that were made since `begin`.
    fn touched<'py>(&self, py: Python<'py>, states: Vec<Entry<'py>>) -> Vec<Touched<'py>> {
        let told = |due_ms: i64| (due_ms != NEVER).then_some(due_ms);
        let mut next = 0;
        let of = states.iter().filter_map(|entry| self.of(entry, &mut next));
        let touched = |of: Of<'_>| {
            of.due_ms.map(|due_ms| (PyBytes::new(py, of.device.key), told(due_ms[0]), told(due_ms[1])))
        };
        of.filter_map(touched).collect()
    }

    /// Entries are durable, and the deadlines hold of those that were made since `begin`. Those that are not of devices,
    /// or that are gone, in their order.
    fn commit<'py>(&mut self, py: Python<'py>, states: Vec<Entry<'py>>) -> PyResult<Bound<'py, PyList>> {
        let (left, mut next) = (PyList::empty(py), 0);
        for some in states.chunks(TOGETHER) {
            let each: Vec<_> = some.iter().map(|entry| self.of(entry, &mut next)).collect();
            self.durable.fetch_keys(each.iter().flatten().filter_map(|of| of.place));
            for ((table_key, value), of) in some.iter().zip(each) {
                let (Some(of), Some(entry)) = (of, value) else {
                    left.append((table_key, value))?;
                    continue;
                };
                let Some(place) = self.put(of.device, of.place, of.part, Some(entry)) else { continue };
                if of.part == Part::Base {
                    self.durable.put(place, Part::Steps, None);
                }
                if let Some(due_ms) = of.due_ms {
                    meet("touch", of.device.key);
                    self.timetable.touch_at(&mut self.durable, place, due_ms);
                }
            }
        }
        // Few steps make as much as the largest did.
        self.made = Vec::new();
        Ok(left)
    }

    // When silence has something to say: `Timetable` and `Deadlines` of `pipeline/state/deadlines.py`.

    #[getter]
    fn open_count(&self) -> usize {
        self.timetable.open_count
    }

    fn touch(&mut self, touched: Vec<Touched<'_>>) {
        for some in touched.chunks(TOGETHER) {
            let keys: Vec<Hashed<'_>> = some.iter().map(|(key, ..)| Hashed::of(key.as_bytes())).collect();
            self.durable.fetch_keys(keys.iter().filter_map(|of| self.durable.likely(*of)));
            for (of, (_, idle_ms, final_ms)) in keys.into_iter().zip(some) {
                meet("touch", of.key);
                let due_ms = [idle_ms.unwrap_or(NEVER), final_ms.unwrap_or(NEVER)];
                self.timetable.touch(&mut self.durable, of, due_ms);
            }
        }
    }

    /// Note a deadline of an open session (0), or of what becomes final (1).
    fn note(&mut self, which: usize, key: &[u8], due_ms: i64) {
        let place = self.durable.place(Hashed::of(key));
        self.timetable.note(&mut self.durable, which, place, due_ms);
    }

    fn pop<'py>(
        &mut self,
        py: Python<'py>,
        which: usize,
        now_ms: i64,
        limit: usize,
    ) -> PyResult<Bound<'py, PyList>> {
        let keys = self.timetable.pop(&mut self.durable, which, now_ms, limit);
        keys.iter().for_each(|key| meet("pop", key));
        PyList::new(py, keys.iter().map(|key| PyBytes::new(py, key)))
    }

    /// Note the deadlines of all devices, but for those set aside. `times_of` gives, for the key of a device, how long
    /// until its session is idle, its sessions are final, it is forgotten. Those of which Python has to say when.
    fn touch_all<'py>(
        &mut self,
        py: Python<'py>,
        times_of: &Bound<'py, PyAny>,
        aside: Vec<Vec<u8>>,
    ) -> PyResult<Bound<'py, PyList>> {
        let left = PyList::empty(py);
        let aside: HashSet<Vec<u8>> = aside.into_iter().collect();
        let mut apps: HashMap<Box<[u8]>, Times> = HashMap::new();
        for place in self.durable.places() {
            let device = self.durable.at(place);
            meet("touch_all", device.key());
            let Some(value) = device.steps().or(device.base()) else { continue };
            if !aside.is_empty() && aside.contains(device.key()) {
                continue;
            }
            let is_readable = device.base().is_none_or(|base| outline(base).is_ok());
            let app = device.key().iter().position(|byte| *byte == b'/').map(|end| &device.key()[..end]);
            let (Ok((known, _)), Some(app), true) = (outline(value), app, is_readable) else {
                left.append(PyBytes::new(py, device.key()))?;
                continue;
            };
            let times = match apps.get(app) {
                Some(times) => *times,
                None => {
                    let said = times_of.call1((PyBytes::new(py, device.key()),))?;
                    let (idle_timeout_ms, restate_horizon_ms, state_ttl_ms) = said.extract()?;
                    let times = Times { idle_timeout_ms, restate_horizon_ms, state_ttl_ms };
                    apps.insert(app.into(), times);
                    times
                }
            };
            self.timetable.touch_at(&mut self.durable, place, due_ms(&known, times));
        }
        Ok(left)
    }

    /// Fold the records of a device. Why Python has to, a word; or whether the entry is a base, the entry, the outbox
    /// (None if it is empty), both deadlines, accepted, late, unrestated, copies (None if there are none), until when
    /// times may have been corrected, and the bytes that are durable of the device.
    ///
    /// `fields` are those of `pipeline/state/effects.py`, `came_ms` the partition's time at records whose stamps are
    /// behind it, `done` the offset below which an unknown device has been forgotten.
    #[pyo3(signature = (key, fields, came_ms, done, policy, cleaner))]
    fn fold<'py>(
        &mut self,
        key: &Bound<'py, PyBytes>,
        fields: &Bound<'py, PyList>,
        came_ms: &Bound<'py, PyDict>,
        done: i64,
        policy: &Bound<'py, PyBytes>,
        cleaner: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = key.py();
        let rules = Asked { policy, cleaner };
        let hash = Hashed::of(key.as_bytes()).hash;
        match with_given(fields, came_ms, |records| {
            self.fold_safely(key.as_bytes(), hash, records, done, &rules)
        })?? {
            Ok(made) => Ok(made.told(py)?.into_any()),
            Err(Unsure(why)) => Ok(why.into_pyobject(py)?.into_any()),
        }
    }

    /// Keep the decoded state of a device no longer.
    fn forget(&mut self, key: &[u8]) {
        self.durable.find(Hashed::of(key)).and_then(|place| self.states.take(place));
    }

    /// States that are kept decoded.
    #[getter]
    fn decoded(&self) -> usize {
        self.states.len()
    }

    /// Keep states decoded that have no more bytes together, encoded.
    fn keep_decoded(&mut self, bytes: usize) {
        self.states.most_bytes = bytes;
    }
}

impl Core {
    /// Let go what a panic may have changed by halves; what is durable is no part of that.
    pub(super) fn let_go(&mut self) {
        self.states.clear();
        self.edge.clear();
    }

    /// A policy with its versions.
    pub(super) fn policy(&mut self, bytes: &[u8]) -> Sure<Arc<KnownPolicy>> {
        if let Some(known) = self.policies.get(bytes) {
            return Ok(known.clone());
        }
        if self.policies.len() > MOST_POLICIES {
            self.policies.clear();
        }
        let known = Arc::new(read_policy(bytes)?);
        self.policies.insert(bytes.into(), known.clone());
        Ok(known)
    }

    /// What an entry is of, if it is of a device and not gone. `next` is how many that were made came before it.
    fn of<'a>(&self, (table_key, value): &'a Entry<'_>, next: &mut usize) -> Option<Of<'a>> {
        let (value, (key, part)) = (value.as_ref()?, part_of(table_key.as_bytes())?);
        Some(match self.made.get(*next) {
            Some(made) if made.entry.is(value) => {
                *next += 1;
                let device = Hashed { key, hash: made.hash };
                Of { device, part, place: made.place, due_ms: Some(made.due_ms) }
            }
            _ => {
                let device = Hashed::of(key);
                Of { device, part, place: self.durable.likely(device), due_ms: None }
            }
        })
    }

    /// A part of a device, or None in its place, is durable. Where the device is, or was; most likely it is `at` a place.
    fn put(
        &mut self,
        of: Hashed<'_>,
        at: Option<Place>,
        part: Part,
        value: Option<&Bound<'_, PyBytes>>,
    ) -> Option<Place> {
        meet("put", of.key);
        let place = match at {
            Some(place) if self.durable.at(place).key() == of.key => place,
            _ if value.is_some() => self.durable.place(of),
            _ => self.durable.find(of)?,
        };
        self.durable.put(place, part, value.map(|value| value.as_bytes()));
        self.states.committed(place, value);
        self.durable.settle(place);
        Some(place)
    }
}
