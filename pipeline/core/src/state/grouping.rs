//! The records of a chunk, put together by device, and folded one device after the other.

use std::panic::{AssertUnwindSafe, catch_unwind};

use hashbrown::{HashMap, HashTable};
use pyo3::exceptions::PyKeyError;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyIterator, PyList};

use super::compiled_partition::is_for_python;
use super::durable::Hashed;
use super::fetching::TOGETHER;
use super::partition::Core;
use crate::formats::native::partitioner::partition_of;
use crate::kafka::packed_records::Records;
use crate::poison::meet;
use crate::unsure::Unsure;

/// In the place of a record: there is no further one of this device.
pub(super) const NONE: u32 = u32::MAX;

/// The records of one key.
pub(super) struct Group {
    /// Of the key.
    pub(super) hash: u64,
    pub(super) first: u32,
    last: u32,
    pub(super) count: u32,
    /// Of their values.
    pub(super) bytes: usize,
    /// What Python has put in their place.
    pub(super) put: Option<Py<PyList>>,
    is_out: bool,
    /// Accepted, late, duplicates, unrestated.
    pub(super) counts: [i64; 4],
}

/// A policy with its versions, and a `Cleaner`.
pub(super) type Rules = (Py<PyBytes>, Py<PyAny>);
/// Why Python has to go on (empty: it may ask again; None: it need not), the bytes that were made, the records that
/// were folded, and how many events were accepted, late, duplicates, unrestated.
type Folded = (Option<&'static str>, usize, usize, [i64; 4]);

/// A chunk by the keys of its records, in the order of their first ones: `by_key` of `Grouped`. To Python it is a
/// mapping, and what was folded, or handed over, is in it no longer, but for `fields_of`.
#[pyclass]
pub struct Groups {
    pub(super) records: Records,
    base: i64,
    pub(super) groups: Vec<Group>,
    /// Of each record, the next one of its key.
    pub(super) next_of: Vec<u32>,
    by_key: HashTable<u32>,
    /// The partition's time at records whose stamps are behind it.
    pub(super) came_ms: HashMap<u32, i64>,
    #[pyo3(get)]
    clock_ms: i64,
    /// The group that is next.
    pub(super) at: usize,
    pub(super) rules: HashMap<Box<[u8]>, Rules>,
}

#[pymethods]
impl Groups {
    /// Group records, ascending by offset, to each of which `base` is added; `clock_ms` is the latest record time
    /// before them.
    #[new]
    fn new(py: Python<'_>, records: &Bound<'_, PyAny>, base: i64, clock_ms: i64) -> PyResult<Self> {
        let mut made = Self {
            records: Records::of(records)?,
            base,
            groups: Vec::new(),
            next_of: Vec::new(),
            by_key: HashTable::new(),
            came_ms: HashMap::new(),
            clock_ms,
            at: 0,
            rules: HashMap::new(),
        };
        made.next_of = vec![NONE; made.records.to - made.records.from];
        for number in 0..made.next_of.len() {
            let at = u32::try_from(number)?;
            let timestamp = made.records.all.place(made.records.from + number).timestamp;
            made.clock_ms = made.clock_ms.max(timestamp);
            if timestamp < made.clock_ms {
                made.came_ms.insert(at, made.clock_ms);
            }
            made.add(py, at);
        }
        Ok(made)
    }

    /// The partition's time at records whose stamps are behind it, by offset.
    #[getter]
    fn came_ms<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyDict>> {
        let came_ms = PyDict::new(py);
        for (at, clock_ms) in &self.came_ms {
            came_ms.set_item(self.offset(*at), clock_ms)?;
        }
        Ok(came_ms)
    }

    fn __contains__(&self, py: Python<'_>, key: Option<&[u8]>) -> bool {
        self.find(py, key).is_some_and(|group| self.is_in(group))
    }

    fn __iter__<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyIterator>> {
        let keys = (0..self.groups.len()).filter(|group| self.is_in(*group));
        PyList::new(py, keys.map(|group| self.key_object(py, group)))?.try_iter()
    }

    fn __getitem__<'py>(&self, py: Python<'py>, key: Option<&[u8]>) -> PyResult<Bound<'py, PyList>> {
        let group = self.find(py, key).filter(|group| self.is_in(*group));
        self.fields(py, group.ok_or_else(|| PyKeyError::new_err("there is no record of this key"))?)
    }

    fn __setitem__(&mut self, py: Python<'_>, key: Option<&[u8]>, fields: Py<PyList>) -> PyResult<()> {
        let group =
            self.find(py, key).ok_or_else(|| PyKeyError::new_err("there is no record of this key"))?;
        self.groups[group].put = Some(fields);
        Ok(())
    }

    fn __delitem__(&mut self, py: Python<'_>, key: Option<&[u8]>) {
        if let Some(group) = self.find(py, key) {
            self.groups[group].is_out = true;
        }
    }

    fn pop<'py>(&mut self, py: Python<'py>, key: Option<&[u8]>) -> PyResult<Bound<'py, PyList>> {
        let fields = self.__getitem__(py, key)?;
        self.__delitem__(py, key);
        Ok(fields)
    }

    /// The keys that Kafka's partitioner puts elsewhere.
    fn misplaced<'py>(
        &self,
        py: Python<'py>,
        partition: u32,
        partitions: u32,
    ) -> PyResult<Bound<'py, PyList>> {
        let keys = (0..self.groups.len()).filter(|group| {
            self.key(py, *group).is_some_and(|key| partition_of(key, partitions) != partition)
        });
        PyList::new(py, keys.map(|group| self.key_object(py, group)))
    }

    /// The records of a key, whatever became of them.
    fn fields_of<'py>(&self, py: Python<'py>, key: Option<&[u8]>) -> PyResult<Bound<'py, PyList>> {
        self.find(py, key).map_or_else(|| Ok(PyList::empty(py)), |group| self.fields(py, group))
    }

    /// What the events of a device came to that was folded: accepted, late, duplicates, unrestated.
    fn counts_of(&self, py: Python<'_>, key: &[u8]) -> [i64; 4] {
        self.find(py, Some(key)).map_or([0; 4], |group| self.groups[group].counts)
    }

    /// Whether the records of a device were folded here.
    fn folded(&self, py: Python<'_>, key: &[u8]) -> bool {
        let group = self.find(py, Some(key));
        group.is_some_and(|group| {
            group < self.at && !self.groups[group].is_out && self.groups[group].counts != [-1; 4]
        })
    }

    fn is_done(&self) -> bool {
        (self.at..self.groups.len()).all(|group| !self.is_in(group))
    }

    /// Hand the next key and its records over to Python.
    fn hand_over<'py>(
        &mut self,
        py: Python<'py>,
    ) -> PyResult<(Option<Bound<'py, PyBytes>>, Bound<'py, PyList>)> {
        let group = self.at;
        let fields = self.fields(py, group)?;
        self.groups[group].counts = [-1; 4];
        self.at += 1;
        Ok((self.key_object(py, group), fields))
    }

    /// Fold one device after the other, until they have made so many bytes, or Python has to take the next one.
    ///
    /// `rules_of` gives policy and rules of a device's app. `tell` is given copies of which only Python knows what is to be
    /// told (the key, its records, the copies, until when times may have been corrected) and gives the bytes that this
    /// makes. Devices that are `held_back` are Python's. To `states`, `outboxes` and `copies` is added what the step
    /// makes; deadlines the core notes as that becomes durable.
    #[allow(clippy::too_many_arguments)]
    fn fold<'py>(
        &mut self,
        core: &Bound<'py, Core>,
        most_bytes: usize,
        done: i64,
        held_back: Option<&Bound<'py, PyAny>>,
        rules_of: &Bound<'py, PyAny>,
        tell: &Bound<'py, PyAny>,
        states: &Bound<'py, PyList>,
        outboxes: &Bound<'py, PyList>,
        copies: &Bound<'py, PyList>,
    ) -> PyResult<Folded> {
        let lists = [states, outboxes, copies];
        let mut folded: Folded = (None, 0, 0, [0; 4]);
        let mut fetched = self.at;
        while self.at < self.groups.len() && folded.1 < most_bytes {
            if !self.is_in(self.at) {
                self.at += 1;
                continue;
            }
            if self.at >= fetched {
                self.fetch(core.py(), &core.borrow().durable);
                fetched = self.at + TOGETHER;
            }
            let lengths = lists.map(|list| list.len());
            let next = AssertUnwindSafe(|| {
                let made = self.next(core, done, held_back, rules_of, tell)?;
                made.map_or_else(|why| Ok(Err(why)), |made| self.add_made(core, made, lists).map(Ok))
            });
            match catch_unwind(next) {
                Ok(Ok(Ok((bytes, records, counts)))) => {
                    folded.1 += bytes;
                    folded.2 += records;
                    (0..4).for_each(|kind| folded.3[kind] += counts[kind]);
                }
                Ok(Ok(Err(Unsure(why)))) => {
                    folded.0 = Some(why);
                    break;
                }
                Ok(Err(error)) if is_for_python(core.py(), &error) => {
                    folded.0 = Some("");
                    break;
                }
                Ok(Err(error)) => return Err(error),
                Err(_) => {
                    for (list, length) in lists.iter().zip(lengths) {
                        list.del_slice(length, list.len())?;
                    }
                    core.borrow_mut().let_go();
                    folded.0 = Some("panic");
                    break;
                }
            }
        }
        Ok(folded)
    }
}

impl Groups {
    fn add(&mut self, py: Python<'_>, at: u32) {
        let Self { records, groups, by_key, .. } = self;
        let place = |at: u32| records.from + at as usize;
        let key_of = |group: u32, groups: &[Group]| records.all.key(py, place(groups[group as usize].first));
        let key = records.all.key(py, place(at));
        meet("group", key.unwrap_or_default());
        let bytes = records.all.value(py, place(at)).map_or(0, <[u8]>::len);
        let hash = hash_of(key);
        if let Some(group) = by_key.find(hash, |group| key_of(*group, groups) == key) {
            let group = &mut groups[*group as usize];
            self.next_of[group.last as usize] = at;
            group.last = at;
            group.count += 1;
            group.bytes += bytes;
            return;
        }
        let number = u32::try_from(groups.len()).expect("there are no more than records");
        groups.push(Group {
            hash,
            first: at,
            last: at,
            count: 1,
            bytes,
            put: None,
            is_out: false,
            counts: [0; 4],
        });
        by_key.insert_unique(hash, number, |group| groups[*group as usize].hash);
    }

    fn find(&self, py: Python<'_>, key: Option<&[u8]>) -> Option<usize> {
        let hash = hash_of(key);
        self.by_key.find(hash, |group| self.key(py, *group as usize) == key).map(|group| *group as usize)
    }

    pub(super) fn key<'a>(&'a self, py: Python<'a>, group: usize) -> Option<&'a [u8]> {
        self.records.all.key(py, self.records.from + self.groups[group].first as usize)
    }

    pub(super) fn key_object<'py>(&self, py: Python<'py>, group: usize) -> Option<Bound<'py, PyBytes>> {
        self.key(py, group).map(|key| PyBytes::new(py, key))
    }

    fn is_in(&self, group: usize) -> bool {
        group >= self.at && !self.groups[group].is_out
    }

    pub(super) fn offset(&self, at: u32) -> i64 {
        self.records.all.place(self.records.from + at as usize).offset + self.base
    }

    pub(super) fn fields<'py>(&self, py: Python<'py>, group: usize) -> PyResult<Bound<'py, PyList>> {
        if let Some(fields) = &self.groups[group].put {
            return Ok(fields.bind(py).clone());
        }
        let fields = PyList::empty(py);
        let mut at = self.groups[group].first;
        while at != NONE {
            let place = self.records.from + at as usize;
            let record = self.records.all.place(place);
            fields.append(self.offset(at))?;
            fields.append(record.timestamp)?;
            fields.append(self.records.all.value(py, place).map(|value| PyBytes::new(py, value)))?;
            if record.header_count == 0 {
                fields.append(py.None())?;
            } else {
                fields.append(self.records.all.headers_list(py, place)?)?;
            }
            at = self.next_of[at as usize];
        }
        Ok(fields)
    }
}

fn hash_of(key: Option<&[u8]>) -> u64 {
    key.map_or(0, |key| Hashed::of(key).hash)
}
