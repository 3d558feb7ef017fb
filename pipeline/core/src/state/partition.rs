//! The devices of a partition whose states are decoded here: records in, an entry of the table and rows out.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use hashbrown::HashMap;
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyDict, PyList, PyTuple};

use super::codec::step_codec::read_policy;
use super::device::{Arrival, Counts, apply};
use super::device_state::DeviceState;
use super::outbox::{Columns, Outbox};
use super::store::{Parts, entry_of_step, load};
use crate::domain::Text;
use crate::domain::policy::Policy;
use crate::formats::native::cleaner::{Rules, Texts};
use crate::formats::native::events::events_of;
use crate::formats::native::reading::{names_of, plain_envelope};
use crate::formats::record_time::{REPLAYED_RECORD_MS, said};
use crate::unsure::{Sure, Unsure};

/// Of resources and users whose canonical form is remembered.
const KEPT_BYTES: usize = 40_000_000;
const MOST_RULES: usize = 10_000;
/// Of a record's time: sums of such are far from what 64 bits hold.
const LATEST_MS: i64 = 1 << 53;
/// Of the records of one device that are folded before its state is written.
const PART_BYTES: usize = 1_000_000;

struct Device {
    /// What the state is of, exactly: the very objects that are durable, or will be.
    base: Option<Py<PyBytes>>,
    steps: Option<Py<PyBytes>>,
    state: DeviceState,
    used: u64,
}

/// A step of one device.
struct Done {
    is_base: bool,
    entry: Vec<u8>,
    counts: Counts,
}

#[pyclass]
pub struct Core {
    devices: HashMap<Box<[u8]>, Device>,
    policies: HashMap<Box<[u8]>, (Arc<Policy>, usize)>,
    rules: HashMap<usize, Rules>,
    known_bytes: usize,
    resources: Arc<Columns>,
    users: Arc<Columns>,
    /// Counts the steps, for which device was used when.
    now: u64,
    /// For tests: the device that cannot be folded here.
    poison: Option<Vec<u8>>,
    #[pyo3(get, set)]
    max_decoded: usize,
}

/// Offset, place, time, and the time of the one that came first.
type CopyFields = (i64, usize, i64, Option<i64>);
type Given<'py> = Option<Bound<'py, PyBytes>>;

#[pymethods]
impl Core {
    /// `resource_columns` and `user_columns` give what the canonical form of one says in a row.
    #[new]
    fn new(resource_columns: Py<PyAny>, user_columns: Py<PyAny>) -> Self {
        Self {
            devices: HashMap::new(),
            policies: HashMap::new(),
            rules: HashMap::new(),
            known_bytes: 0,
            resources: Arc::new(Columns::new(resource_columns)),
            users: Arc::new(Columns::new(user_columns)),
            now: 0,
            poison: None,
            max_decoded: 200_000,
        }
    }

    fn __len__(&self) -> usize {
        self.devices.len()
    }

    /// Fold the records of a device. Why Python has to, a word; or whether the entry is a base, the entry, the outbox
    /// (None if it is empty), both deadlines, accepted, late, unrestated, copies (None if there are none), until when
    /// times may have been corrected.
    ///
    /// `fields` are those of `pipeline/state/effects.py`, `base` and `steps` what is durable of the device, `came_ms`
    /// the partition's time at records whose stamps are behind it, `done` the offset below which an unknown device has
    /// been forgotten.
    #[pyo3(signature = (key, fields, base, steps, came_ms, done, policy, cleaner))]
    #[allow(clippy::too_many_arguments)]
    fn fold<'py>(
        &mut self,
        py: Python<'py>,
        key: &Bound<'py, PyBytes>,
        fields: &Bound<'py, PyList>,
        base: Given<'py>,
        steps: Given<'py>,
        came_ms: &Bound<'py, PyDict>,
        done: i64,
        policy: &Bound<'py, PyBytes>,
        cleaner: &Bound<'py, PyAny>,
    ) -> PyResult<Bound<'py, PyAny>> {
        let step = AssertUnwindSafe(|| {
            self.step(py, key, fields, (base.as_ref(), steps.as_ref()), came_ms, done, policy, cleaner)
        });
        // What was changed by halves is worth nothing.
        match catch_unwind(step) {
            Ok(Ok(Ok(done))) => Ok(done.into_any()),
            Ok(Ok(Err(Unsure(why)))) => {
                self.devices.remove(key.as_bytes());
                Ok(why.into_pyobject(py)?.into_any())
            }
            Ok(Err(error)) => {
                self.devices.remove(key.as_bytes());
                Err(error)
            }
            Err(_) => {
                self.devices.clear();
                self.rules.clear();
                Ok("panic".into_pyobject(py)?.into_any())
            }
        }
    }

    /// Let a device go.
    fn forget(&mut self, key: &[u8]) {
        self.devices.remove(key);
    }

    /// Panic at the next step of this device.
    fn poison(&mut self, key: &[u8]) {
        self.poison = Some(key.to_vec());
    }
}

impl Core {
    #[allow(clippy::too_many_arguments)]
    fn step<'py>(
        &mut self,
        py: Python<'py>,
        key: &Bound<'py, PyBytes>,
        fields: &Bound<'py, PyList>,
        parts: (Option<&Bound<'py, PyBytes>>, Option<&Bound<'py, PyBytes>>),
        came_ms: &Bound<'py, PyDict>,
        done: i64,
        policy_bytes: &Bound<'py, PyBytes>,
        cleaner: &Bound<'py, PyAny>,
    ) -> PyResult<Sure<Bound<'py, PyTuple>>> {
        let key_bytes = key.as_bytes();
        assert!(self.poison.as_deref() != Some(key_bytes), "a test asks for it");
        let (policy, own_size) = match self.policy(policy_bytes.as_bytes()) {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        let (arrivals, corrected_ms) = match self.arrivals(py, key_bytes, fields, came_ms, cleaner)? {
            Ok(found) => found,
            Err(why) => return Ok(Err(why)),
        };
        let first = arrivals[0].offset;
        let is_known = parts.0.is_some() || parts.1.is_some();
        let bytes =
            Parts { base: parts.0.map(|part| part.as_bytes()), steps: parts.1.map(|part| part.as_bytes()) };
        if !is_known && first <= done {
            return Ok(Err(Unsure("replay")));
        }
        let held = self.devices.get_mut(key_bytes).filter(|device| {
            is_same(device.base.as_ref(), parts.0) && is_same(device.steps.as_ref(), parts.1)
        });
        let device = match held {
            Some(device) => device,
            None => {
                let state = match load(bytes, &policy) {
                    Ok(state) => state,
                    Err(why) => return Ok(Err(why)),
                };
                self.devices.insert(key_bytes.into(), Device { base: None, steps: None, state, used: 0 });
                self.devices.get_mut(key_bytes).expect("it was put there")
            }
        };
        if first <= device.state.applied_offset {
            return Ok(Err(Unsure("replay")));
        }
        let own = &policy_bytes.as_bytes()[..own_size];
        let done = match fold(&mut device.state, &arrivals, &policy, corrected_ms, bytes, own) {
            Ok(done) => done,
            Err(why) => return Ok(Err(why)),
        };
        self.now += 1;
        device.used = self.now;
        let entry = PyBytes::new(py, &done.entry);
        if done.is_base {
            (device.base, device.steps) = (Some(entry.clone().unbind()), None);
        } else {
            device.base = parts.0.map(|part| part.clone().unbind());
            device.steps = Some(entry.clone().unbind());
        }
        let state = &mut device.state;
        let outbox = if state.outbox.is_empty() {
            None
        } else {
            Some(Outbox {
                key: key.clone().unbind(),
                applied_offset: state.applied_offset,
                revision: state.applied_offset * 2,
                arrived_ms: state.arrived_ms,
                writes: std::mem::take(&mut state.outbox),
                policy: policy.clone(),
                resources: self.resources.clone(),
                users: self.users.clone(),
            })
        };
        let idle_ms = state.silence_due().then_some(state.arrived_ms + policy.idle_timeout_ms);
        let final_ms =
            state.arrived_ms + if state.has_tail() { policy.restate_horizon_ms } else { policy.state_ttl_ms };
        let counts = done.counts;
        let copies: Option<Vec<CopyFields>> = (!counts.copies.is_empty()).then(|| {
            counts.copies.iter().map(|copy| (copy.offset, copy.place, copy.time_ms, copy.first_ms)).collect()
        });
        let numbers = (counts.accepted, counts.late, counts.unrestated);
        let corrected_ms = state.corrected_ms;
        self.let_go();
        (
            done.is_base,
            entry,
            outbox,
            idle_ms,
            final_ms,
            numbers.0,
            numbers.1,
            numbers.2,
            copies,
            corrected_ms,
        )
            .into_pyobject(py)
            .map(Ok)
    }

    /// A policy with its versions, and how many bytes stand for it before the steps that are folded under it.
    fn policy(&mut self, bytes: &[u8]) -> Sure<(Arc<Policy>, usize)> {
        if let Some(known) = self.policies.get(bytes) {
            return Ok(known.clone());
        }
        if self.policies.len() > MOST_RULES {
            self.policies.clear();
        }
        let (policy, own_size) = read_policy(bytes)?;
        let known = (Arc::new(policy), own_size);
        self.policies.insert(bytes.into(), known.clone());
        Ok(known)
    }

    /// What the records hold, and the latest time that was corrected, or may have been.
    fn arrivals(
        &mut self,
        py: Python<'_>,
        key: &[u8],
        fields: &Bound<'_, PyList>,
        came_ms: &Bound<'_, PyDict>,
        cleaner: &Bound<'_, PyAny>,
    ) -> PyResult<Sure<(Vec<Arrival>, i64)>> {
        let names = match names_of(key) {
            Ok(names) => names,
            Err(why) => return Ok(Err(why)),
        };
        let mut texts =
            Texts { resource: None, user: None, canonical: ("{}".into(), crate::domain::empty()) };
        let mut client: Text = crate::domain::empty();
        let mut arrivals = Vec::with_capacity(fields.len() / 4);
        let (mut corrected_ms, mut size) = (0, 0);
        let is_behind = !came_ms.is_empty();
        self.take_rules(cleaner)?;
        for at in (0..fields.len()).step_by(4) {
            let (offset, record_ms) = (fields.get_item(at)?.extract()?, fields.get_item(at + 1)?.extract()?);
            let value = fields.get_item(at + 2)?;
            let Ok(value) = value.cast::<PyBytes>() else { return Ok(Err(Unsure("empty"))) };
            let value = value.as_bytes();
            size += value.len();
            let headers = fields.get_item(at + 3)?;
            let decoded_ms = if headers.is_none() { record_ms } else { record_time_ms(&headers, record_ms)? };
            if !(0..=LATEST_MS).contains(&record_ms) || !(0..=LATEST_MS).contains(&decoded_ms) {
                return Ok(Err(Unsure("time")));
            }
            let rules = self.rules.get_mut(&address(cleaner)).expect("they were taken");
            if rules.has_own {
                return Ok(Err(Unsure("privacy")));
            }
            let wire = match plain_envelope(value, names, &rules.private) {
                Ok(wire) => wire,
                Err(why) => return Ok(Err(why)),
            };
            if !texts.are(wire.resource, wire.user) {
                let found = (
                    rules.canonical(py, 0, wire.resource.unwrap_or(""), &mut self.known_bytes)?,
                    match wire.user {
                        Some(user) => rules.canonical(py, 1, user, &mut self.known_bytes)?,
                        None => Some(crate::domain::empty()),
                    },
                );
                let (Some(resource), Some(user)) = found else { return Ok(Err(Unsure("envelope"))) };
                texts = Texts {
                    resource: Some(wire.resource.unwrap_or("").into()),
                    user: wire.user.map(Into::into),
                    canonical: (resource, user),
                };
            }
            let (resource, user) = &texts.canonical;
            let (events, latest_ms) = match events_of(wire, decoded_ms, resource, user, &mut client) {
                Ok(found) => found,
                Err(why) => return Ok(Err(why)),
            };
            corrected_ms = corrected_ms.max(latest_ms);
            let came = if is_behind { came_ms.get_item(offset)? } else { None };
            let record_ms = came.map_or(Ok(record_ms), |came| came.extract())?;
            arrivals.push(Arrival { offset, record_ms, events });
        }
        if arrivals.is_empty() || size > PART_BYTES && arrivals.len() > 1 {
            return Ok(Err(Unsure("part")));
        }
        Ok(Ok((arrivals, corrected_ms)))
    }

    fn take_rules(&mut self, cleaner: &Bound<'_, PyAny>) -> PyResult<()> {
        if self.known_bytes > KEPT_BYTES || self.rules.len() > MOST_RULES {
            self.rules.clear();
            self.known_bytes = 0;
        }
        if !self.rules.contains_key(&address(cleaner)) {
            let rules = Rules::of(cleaner)?;
            self.rules.insert(address(cleaner), rules);
        }
        Ok(())
    }

    /// Let an eighth of the devices go where there are too many: those that were used longest ago.
    fn let_go(&mut self) {
        if self.devices.len() <= self.max_decoded {
            return;
        }
        let surplus = self.devices.len() - self.max_decoded * 7 / 8;
        let mut used: Vec<u64> = self.devices.values().map(|device| device.used).collect();
        let (_, &mut until, _) = used.select_nth_unstable(surplus - 1);
        self.devices.retain(|_, device| device.used > until);
    }
}

/// A step: the state after it, and what makes it durable.
fn fold(
    state: &mut DeviceState,
    arrivals: &[Arrival],
    policy: &Policy,
    corrected_ms: i64,
    parts: Parts<'_>,
    policy_bytes: &[u8],
) -> Sure<Done> {
    let mut counts = Counts::default();
    apply(state, arrivals, policy, &mut counts)?;
    state.corrected_ms = state.corrected_ms.max(corrected_ms);
    let (is_base, entry) = entry_of_step(parts, state, arrivals, policy_bytes)?;
    Ok(Done { is_base, entry, counts })
}

/// Where an object lies: it stays there for as long as it is held.
fn address(object: &Bound<'_, PyAny>) -> usize {
    object.as_ptr() as usize
}

fn is_same(held: Option<&Py<PyBytes>>, given: Option<&Bound<'_, PyBytes>>) -> bool {
    match (held, given) {
        (Some(held), Some(given)) => held.is(given),
        (None, None) => true,
        _ => false,
    }
}

/// The record time by which a record with headers is decoded.
fn record_time_ms(headers: &Bound<'_, PyAny>, timestamp_ms: i64) -> PyResult<i64> {
    for header in headers.try_iter()? {
        let header = header?;
        let text = header.get_item(1)?;
        if header.get_item(0)?.extract::<String>().is_ok_and(|name| name == REPLAYED_RECORD_MS)
            && !text.is_none()
        {
            return Ok(said(text.cast::<PyBytes>()?.as_bytes(), timestamp_ms));
        }
    }
    Ok(timestamp_ms)
}
