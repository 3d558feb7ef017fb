//! A step of a device: its records in, an entry of the table and an outbox out.

use std::panic::{AssertUnwindSafe, catch_unwind};

use pyo3::exceptions::{PyException, PyMemoryError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use super::codec::step_codec::{Scratch, encode_step};
use super::copies::told_copies;
use super::device::{Arrival, Copy, Counts, apply};
use super::device_state::DeviceState;
use super::durable::{Hashed, Kept, NEVER, Place, STEPS_SUFFIX};
use super::grouping::{Groups, NONE, Rules};
use super::outbox::Outbox;
use super::partition::{Core, MadeEntry};
use super::store::{Parts, entry_of_step, load};
use crate::domain::policy::Policy;
use crate::formats::edge::{Given, PART_BYTES, record_time_ms};
use crate::formats::native::reading::names_of;
use crate::poison::meet;
use crate::unsure::{Sure, Unsure};

/// Of one row in an outbox, decoded.
const WRITE_BYTES: usize = 600;

/// By what a device is folded: its policy with all versions, encoded, and the `Cleaner` of its app.
pub struct Asked<'a, 'py> {
    pub policy: &'a Bound<'py, PyBytes>,
    pub cleaner: &'a Bound<'py, PyAny>,
}

/// What a step made of a device.
pub struct Made<'py> {
    /// Where the device is, if it is known.
    place: Option<Place>,
    pub is_base: bool,
    pub entry: Bound<'py, PyBytes>,
    pub outbox: Option<Outbox>,
    pub idle_ms: Option<i64>,
    pub final_ms: i64,
    pub counts: Counts,
    /// What is told of copies, for `event-copies`; None: Python has to.
    pub copies_told: Option<Vec<Vec<u8>>>,
    /// Until when times may have been corrected.
    pub corrected_ms: i64,
    /// Bytes that were durable of the device.
    pub weight: usize,
}

/// What was made of a device, and the bytes of what is told of copies.
pub type Next<'py> = (Made<'py>, usize);
/// Offset, place, time, and the time of the one that came first.
type CopyFields = (i64, usize, i64, Option<i64>);

impl<'py> Made<'py> {
    /// As Python takes it.
    pub fn told(self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let copies = (!self.counts.copies.is_empty()).then(|| self.copies());
        let Counts { accepted, late, unrestated, .. } = self.counts;
        (
            (self.is_base, self.entry, self.outbox, self.idle_ms, self.final_ms),
            (accepted, late, unrestated, copies, self.corrected_ms),
            self.weight,
        )
            .into_pyobject(py)
    }

    /// About how many there are of all this, but for what is told of copies.
    pub fn bytes(&self) -> usize {
        let write_count = self.outbox.as_ref().map_or(0, |outbox| outbox.writes.len());
        self.entry.as_bytes().len() + self.weight + WRITE_BYTES * write_count
    }

    /// Accepted, late, duplicates, unrestated.
    pub fn counts_by_kind(&self) -> [i64; 4] {
        let counts = &self.counts;
        [counts.accepted, counts.late, counts.copies.len().cast_signed() as i64, counts.unrestated]
    }

    pub fn copies(&self) -> Vec<CopyFields> {
        let fields = |copy: &Copy| (copy.offset, copy.place, copy.time_ms, copy.first_ms);
        self.counts.copies.iter().map(fields).collect()
    }
}

impl Core {
    /// A step of a device, whose key has this hash. A panic is a reason, too.
    pub fn fold_safely<'py>(
        &mut self,
        key: &[u8],
        hash: u64,
        records: &[Given<'_>],
        done: i64,
        by: &Asked<'_, 'py>,
    ) -> PyResult<Sure<Made<'py>>> {
        let step = AssertUnwindSafe(|| self.step(key, hash, records, done, by));
        // What was changed by halves was taken out before.
        catch_unwind(step).unwrap_or_else(|_| {
            self.let_go();
            Ok(Err(Unsure("panic")))
        })
    }

    fn step<'py>(
        &mut self,
        key: &[u8],
        hash: u64,
        records: &[Given<'_>],
        done: i64,
        by: &Asked<'_, 'py>,
    ) -> PyResult<Sure<Made<'py>>> {
        let py = by.policy.py();
        meet("step", key);
        let place = self.durable.find(Hashed { key, hash });
        let held = place.and_then(|place| self.states.take(place));
        let known = match self.policy(by.policy.as_bytes()) {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        let (mut arrivals, corrected_ms) = match self.edge.arrivals(py, key, records, by.cleaner)? {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        let device = place.map(|place| self.durable.at(place)).filter(|device| device.is_known());
        let parts = Parts { base: device.and_then(Kept::base), steps: device.and_then(Kept::steps) };
        let weight = device.map_or(0, Kept::weight);
        let (device_is_known, base_bytes) = (device.is_some(), parts.base.map_or(0, <[u8]>::len));
        if !device_is_known && arrivals[0].offset <= done {
            return Ok(Err(Unsure("replay")));
        }
        let mut state = match held.map_or_else(|| load(parts, &known, &arrivals[0].events[0]), Ok) {
            Ok(state) => state,
            Err(why) => return Ok(Err(why)),
        };
        if arrivals[0].offset <= state.applied_offset {
            return Ok(Err(Unsure("replay")));
        }
        let policy = &known.policy;
        let scratch = &mut self.scratch;
        let (is_base, counts) =
            match fold(&mut state, &mut arrivals, policy, corrected_ms, parts, &known.own, scratch) {
                Ok(done) => done,
                Err(why) => return Ok(Err(why)),
            };
        let copies_told = if counts.copies.is_empty() {
            Some(Vec::new())
        } else {
            let names = names_of(key).expect("it was folded under it");
            told_copies(names, records, &arrivals, &counts.copies, state.corrected_ms)
        };
        let entry = PyBytes::new(py, &scratch.entry);
        let outbox = (!state.outbox.is_empty()).then(|| Outbox {
            key: PyBytes::new(py, key).unbind(),
            applied_offset: state.applied_offset,
            revision: state.applied_offset * 2,
            arrived_ms: state.arrived_ms,
            writes: std::mem::take(&mut state.outbox),
            policy: policy.clone(),
            resources: self.resources.clone(),
            users: self.users.clone(),
        });
        let idle_ms = state.silence_due().then_some(state.arrived_ms + policy.idle_timeout_ms);
        let final_ms =
            state.arrived_ms + if state.has_tail() { policy.restate_horizon_ms } else { policy.state_ttl_ms };
        let corrected_ms = state.corrected_ms;
        let held = if is_base { 0 } else { base_bytes } + entry.as_bytes().len();
        if device_is_known && let Some(place) = place {
            self.states.keep(place, state, &entry, held);
        }
        Ok(Ok(Made {
            place,
            is_base,
            entry,
            outbox,
            idle_ms,
            final_ms,
            counts,
            copies_told,
            corrected_ms,
            weight,
        }))
    }
}

impl Groups {
    /// Fold the next device.
    pub(super) fn next<'py>(
        &mut self,
        core: &Bound<'py, Core>,
        done: i64,
        held_back: Option<&Bound<'py, PyAny>>,
        rules_of: &Bound<'py, PyAny>,
        tell: &Bound<'py, PyAny>,
    ) -> PyResult<Sure<Next<'py>>> {
        let (py, group) = (core.py(), &self.groups[self.at]);
        let is_part = group.count > 1 && group.bytes > PART_BYTES;
        let key = self.key(py, self.at).filter(|_| group.put.is_none() && !is_part);
        let Some(key) = key else { return Ok(Err(Unsure(""))) };
        meet("fold", key);
        if held_back.map_or(Ok(false), |held| held.contains(PyBytes::new(py, key)))? {
            return Ok(Err(Unsure("")));
        }
        let made = match self.step(py, &mut core.borrow_mut(), done, rules_of)? {
            Ok(made) => made,
            Err(why) => return Ok(Err(why)),
        };
        let told = match &made.copies_told {
            Some(told) => told.iter().map(Vec::len).sum(),
            None => {
                let said = (
                    self.key_object(py, self.at),
                    self.fields(py, self.at)?,
                    made.copies(),
                    made.corrected_ms,
                );
                tell.call1(said)?.extract()?
            }
        };
        Ok(Ok((made, told)))
    }

    /// Add what was made of the next device: the bytes, the records, and what became of their events.
    pub(super) fn add_made<'py>(
        &mut self,
        core: &Bound<'py, Core>,
        (made, told): Next<'py>,
        lists: [&Bound<'py, PyList>; 3],
    ) -> PyResult<(usize, usize, [i64; 4])> {
        let (bytes, counts) = (told + made.bytes(), made.counts_by_kind());
        let key = self.key(core.py(), self.at).expect("it was folded under it");
        let made = add(core.py(), key, self.groups[self.at].hash, made, lists)?;
        core.borrow_mut().made.push(made);
        let group = &mut self.groups[self.at];
        group.counts = counts;
        let count = group.count as usize;
        self.at += 1;
        Ok((bytes, count, counts))
    }

    fn step<'py>(
        &mut self,
        py: Python<'py>,
        core: &mut Core,
        done: i64,
        rules_of: &Bound<'py, PyAny>,
    ) -> PyResult<Sure<Made<'py>>> {
        let (all, group) = (&self.records.all, &self.groups[self.at]);
        let key = all.key(py, self.records.from + group.first as usize).expect("there is one");
        let app = key.split(|byte| *byte == b'/').next().unwrap_or_default();
        if !self.rules.contains_key(app) {
            let rules: Rules = rules_of.call1((PyBytes::new(py, key),))?.extract()?;
            self.rules.insert(app.into(), rules);
        }
        let (policy, cleaner) = &self.rules[app];
        let mut records = Vec::with_capacity(group.count as usize);
        let mut at = group.first;
        while at != NONE {
            let place = self.records.from + at as usize;
            let record = all.place(place);
            let record_ms = record.timestamp;
            let is_plain = record.header_count == 0;
            records.push(Given {
                offset: self.offset(at),
                record_ms,
                decoded_ms: if is_plain {
                    record_ms
                } else {
                    record_time_ms(all.headers(py, place), record_ms)
                },
                came_ms: self.came_ms.get(&at).copied().unwrap_or(record_ms),
                has_headers: !is_plain,
                value: all.value(py, place),
            });
            at = self.next_of[at as usize];
        }
        core.fold_safely(
            key,
            group.hash,
            &records,
            done,
            &Asked { policy: policy.bind(py), cleaner: cleaner.bind(py) },
        )
    }
}

/// A step: the state after it, and, in the scratch, what makes it durable. Whether that is a base, and what became of the
/// events.
fn fold(
    state: &mut DeviceState,
    arrivals: &mut [Arrival],
    policy: &Policy,
    corrected_ms: i64,
    parts: Parts<'_>,
    policy_bytes: &[u8],
    scratch: &mut Scratch,
) -> Sure<(bool, Counts)> {
    let mut counts = Counts::default();
    state.corrected_ms = state.corrected_ms.max(corrected_ms);
    scratch.shrink();
    encode_step(arrivals, state, scratch);
    apply(state, arrivals, policy, &mut counts)?;
    Ok((entry_of_step(parts, state, scratch, policy_bytes)?, counts))
}

/// Does something with the records that a device's `fields` are.
pub fn with_given<T>(
    fields: &Bound<'_, PyList>,
    came_ms: &Bound<'_, PyDict>,
    act: impl FnOnce(&[Given<'_>]) -> T,
) -> PyResult<T> {
    let mut values = Vec::with_capacity(fields.len() / 4);
    for at in (0..fields.len()).step_by(4) {
        values.push((fields.get_item(at + 2)?, fields.get_item(at + 3)?));
    }
    let mut records = Vec::with_capacity(values.len());
    for (number, (value, headers)) in values.iter().enumerate() {
        let offset = fields.get_item(4 * number)?.extract()?;
        let record_ms = fields.get_item(4 * number + 1)?.extract()?;
        let came = if came_ms.is_empty() { None } else { came_ms.get_item(offset)? };
        records.push(Given {
            offset,
            record_ms,
            decoded_ms: if headers.is_none() { record_ms } else { decoded_ms(headers, record_ms)? },
            came_ms: came.map_or(Ok(record_ms), |came| came.extract())?,
            has_headers: !headers.is_none(),
            value: value.cast::<PyBytes>().ok().map(|value| value.as_bytes()),
        });
    }
    Ok(act(&records))
}

fn decoded_ms(headers: &Bound<'_, PyAny>, record_ms: i64) -> PyResult<i64> {
    let mut found: Vec<(String, Option<Bound<'_, PyBytes>>)> = Vec::new();
    for header in headers.try_iter()? {
        found.push(header?.extract()?);
    }
    let each = found.iter().map(|(name, value)| (&**name, value.as_ref().map(|value| value.as_bytes())));
    Ok(record_time_ms(each, record_ms))
}

/// Python asks anew, and meets what is wrong by its own rules, which set the device aside.
pub fn is_for_python(py: Python<'_>, error: &PyErr) -> bool {
    error.is_instance_of::<PyException>(py) && !error.is_instance_of::<PyMemoryError>(py)
}

/// Add what a step made of a device; what is to be known of its entry.
fn add<'py>(
    py: Python<'py>,
    key: &[u8],
    hash: u64,
    made: Made<'py>,
    [states, outboxes, copies]: [&Bound<'py, PyList>; 3],
) -> PyResult<MadeEntry> {
    for value in made.copies_told.into_iter().flatten() {
        copies.append((PyBytes::new(py, key), PyBytes::new(py, &value)))?;
    }
    let suffix = if made.is_base { &[][..] } else { STEPS_SUFFIX };
    let table_key = PyBytes::new_with(py, key.len() + suffix.len(), |bytes| {
        let (first, last) = bytes.split_at_mut(key.len());
        first.copy_from_slice(key);
        last.copy_from_slice(suffix);
        Ok(())
    })?;
    states.append((table_key, &made.entry))?;
    if let Some(outbox) = made.outbox {
        outboxes.append(outbox)?;
    }
    let due_ms = [made.idle_ms.unwrap_or(NEVER), made.final_ms];
    Ok(MadeEntry { entry: made.entry.unbind(), place: made.place, hash, due_ms })
}
