//! What came for a device since its state was last written whole: the input of each step, for folding again.

use std::sync::Arc;

use super::state_head::{HEAD_BYTES, outline, write_head};
use crate::domain::event::Event;
use crate::domain::policy::{Dated, Policy};
use crate::state::device::{Arrival, Counts, apply};
use crate::state::device_state::DeviceState;
use crate::state::msgpack::{self, DAMAGED, Reader};
use crate::state::strings::shared;
use crate::state::tail::{event_of, write_event};
use crate::unsure::{Sure, Unsure};

/// Of a scratch.
const MOST_KEPT_BYTES: usize = 1 << 16;
/// For so many there is room from the beginning, if so many are told of.
const MOST_AHEAD: usize = 1_000;
/// Of a policy.
const NUMBERS: usize = 11;
/// Behind the head, an array in the form of fixed size.
const BODY_AT: usize = HEAD_BYTES + 5;

/// Where steps are encoded, one after the other: memory for each takes longer than what is written there.
#[derive(Default)]
pub struct Scratch {
    records: Vec<u8>,
    step: Vec<u8>,
    /// The whole entry.
    pub entry: Vec<u8>,
}

impl Scratch {
    pub fn step(&self) -> &[u8] {
        &self.step
    }

    /// Keep no more memory than most steps take.
    pub fn shrink(&mut self) {
        for each in [&mut self.records, &mut self.step, &mut self.entry] {
            each.clear();
            each.shrink_to(MOST_KEPT_BYTES);
        }
    }
}

/// One step, before it is applied: that takes the events. Texts that are new get numbers.
pub fn encode_step(arrivals: &[Arrival], state: &mut DeviceState, scratch: &mut Scratch) {
    let known = state.strings.texts().len();
    let Scratch { records, step, .. } = scratch;
    msgpack::array(records, arrivals.len());
    for arrival in arrivals {
        msgpack::array(records, 3);
        msgpack::int(records, arrival.offset);
        msgpack::int(records, arrival.record_ms);
        msgpack::array(records, arrival.events.len());
        for event in &arrival.events {
            write_event(records, event, &mut state.strings);
        }
    }
    let new = &state.strings.texts()[known..];
    msgpack::array(step, 3);
    msgpack::array(step, new.len());
    for text in new {
        msgpack::text(step, text);
    }
    step.extend_from_slice(records);
    msgpack::int(step, state.corrected_ms);
}

/// Writes the value with one more step, that of the scratch; None: the first. `state` is the one after the step.
pub fn add(value: Option<&[u8]>, policy: &[u8], state: &DeviceState, scratch: &mut Scratch) -> Sure<()> {
    let Scratch { step, entry: made, .. } = scratch;
    let old = value.map_or(Ok(&[][..]), |value| value.get(BODY_AT..).ok_or(DAMAGED))?;
    made.clear();
    made.reserve(BODY_AT + old.len() + policy.len() + step.len());
    write_head(made, state, Some(state.base_offset));
    let count = match value {
        Some(value) => count_of(value)?.checked_add(1).ok_or(DAMAGED)?,
        None => 2,
    };
    made.push(0xdd);
    made.extend(count.to_be_bytes());
    made.extend_from_slice(if value.is_some() { old } else { policy });
    made.extend_from_slice(step);
    Ok(())
}

fn count_of(value: &[u8]) -> Sure<u32> {
    let count = value.get(BODY_AT - 4..BODY_AT).ok_or(DAMAGED)?;
    count.try_into().map(u32::from_be_bytes).map_err(|_| DAMAGED)
}

/// Whether the steps of a value were folded under this policy.
pub fn folded_under(value: &[u8], policy: &[u8]) -> bool {
    value.get(BODY_AT..).is_some_and(|body| body.starts_with(policy))
}

/// A policy by which devices are folded.
pub struct KnownPolicy {
    /// With all versions.
    pub policy: Arc<Policy>,
    /// What stands for it before the steps that are folded under it.
    pub own: Box<[u8]>,
    /// What such steps are folded again under.
    of_own: Sure<Policy>,
}

/// The policy of `with_versions`: what `encode_policy` gives, and behind it what `encode_versions` does.
pub fn read_policy(bytes: &[u8]) -> Sure<KnownPolicy> {
    let mut reader = Reader::new(bytes);
    let (own, version) = numbers(&mut reader)?;
    let own_bytes = reader.since(0).into();
    let policy = if reader.is_done() { own.clone() } else { with_versions(&mut reader)? };
    let of_own = of_version(&policy, own, version);
    Ok(KnownPolicy { policy: Arc::new(policy), own: own_bytes, of_own })
}

/// The policy that `encode_versions` gives.
fn with_versions(reader: &mut Reader<'_>) -> Sure<Policy> {
    let count = reader.array()?;
    let (mut policy, _) = numbers(reader)?;
    for _ in 1..count {
        reader.array_of(4)?;
        let (version, from_ms, came_at) = (reader.int()?, reader.int()?, reader.int()?);
        let before = Arc::new(policy);
        policy = numbers(reader)?.0;
        policy.dated = Some(Dated { version, from_ms, came_at, before });
    }
    Ok(policy)
}

/// The numbers of a policy, and its version; 0: it was not published.
fn numbers(reader: &mut Reader<'_>) -> Sure<(Policy, i64)> {
    let count = reader.array()?;
    let mut found = (0..count).map(|_| reader.int()).collect::<Sure<Vec<i64>>>()?;
    let version = if found.len() > NUMBERS { found.pop().unwrap_or(0) } else { 0 };
    Ok((Policy::of(&found).ok_or(DAMAGED)?, version))
}

/// The policy as it was when a version was the newest; the numbers alone where that is forgotten.
fn of_version(policy: &Policy, numbers: Policy, version: i64) -> Sure<Policy> {
    if version == 0 || policy.versions().last().is_some_and(|(_, oldest)| version < oldest.version) {
        return Ok(numbers);
    }
    let found = policy.versions().find(|(_, each)| each.version == version);
    found.map(|(policy, _)| policy.clone()).ok_or(Unsure("policy"))
}

/// Folds the steps of a value into the state that they build on. An event that comes behind them has most of their texts.
pub fn take_steps(value: &[u8], state: &mut DeviceState, by: &KnownPolicy, next: &Event) -> Sure<()> {
    let (known, body) = outline(value)?;
    if !known.is_steps || known.base_offset != state.base_offset {
        return Err(DAMAGED);
    }
    let mut reader = Reader::new(body);
    let count = reader.array()?;
    let other;
    // Nearly all were folded under the policy that still is: it need not be read anew.
    let policy = if reader.are(&by.own) {
        by.of_own.as_ref().map_err(|why| *why)?
    } else {
        let (own, version) = numbers(&mut reader)?;
        other = of_version(&by.policy, own, version)?;
        &other
    };
    let mut corrected_ms = state.corrected_ms;
    for _ in 1..count {
        let mut arrivals = step(&mut reader, state, next)?;
        corrected_ms = corrected_ms.max(reader.int()?);
        arrivals.retain(|each| each.offset > state.applied_offset);
        if !arrivals.is_empty() {
            apply(state, &mut arrivals, policy, &mut Counts::default())?;
        }
    }
    state.corrected_ms = corrected_ms;
    let says_so = (known.silence_due, known.has_tail) == (state.silence_due(), state.has_tail());
    let is_there = (known.applied_offset, known.arrived_ms) == (state.applied_offset, state.arrived_ms);
    if reader.is_done() && says_so && is_there { Ok(()) } else { Err(DAMAGED) }
}

/// The records of the next step, as far as to its last field.
fn step(reader: &mut Reader<'_>, state: &mut DeviceState, next: &Event) -> Sure<Vec<Arrival>> {
    let likely = [&next.client, &next.resource, &next.user, &next.exit_reason];
    reader.array_of(3)?;
    for _ in 0..reader.array()? {
        state.strings.add_new(shared(reader.text()?, likely))?;
    }
    let count = reader.array()?;
    let mut arrivals = Vec::with_capacity(count.min(MOST_AHEAD));
    for _ in 0..count {
        reader.array_of(3)?;
        let (offset, record_ms) = (reader.int()?, reader.int()?);
        let count = reader.array()?;
        let mut events = Vec::with_capacity(count.min(MOST_AHEAD));
        for _ in 0..count {
            events.push(event_of(reader, &state.strings)?);
        }
        arrivals.push(Arrival { offset, record_ms, moved_ms: 0, events });
    }
    Ok(arrivals)
}
