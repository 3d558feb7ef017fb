//! When which of the two parts of a state is written, and which states are kept decoded.

use hashbrown::HashMap;
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use super::codec::step_codec::{KnownPolicy, Scratch};
use super::codec::{state_v3, step_codec};
use super::device_state::DeviceState;
use super::durable::Place;
use crate::domain::event::Event;
use crate::unsure::Sure;

const MIN_STEPS_BYTES: usize = 1_024;
/// Then the base is written anew, however large it is.
const MAX_STEPS_BYTES: usize = 2_000_000;
/// About what the first base of a device has.
const FIRST_BASE_BYTES: usize = 512;

/// A state of no more bytes, encoded, is decoded anew for each step: that takes less than to fetch from memory what it is
/// decoded, and to let go another one for it, and a tenth of the memory. Some 150 events.
const LIGHT_BYTES: usize = 8_192;
/// Of the states that are kept decoded, as they are encoded.
const MOST_BYTES: usize = 32_000_000;

/// What is durable of a device.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    pub base: Option<&'a [u8]>,
    pub steps: Option<&'a [u8]>,
}

/// A device's state from its parts; a new one if it has none. `next` is an event that is to come.
pub fn load(parts: Parts<'_>, by: &KnownPolicy, next: &Event) -> Sure<DeviceState> {
    let mut state = parts.base.map_or_else(|| Ok(DeviceState::default()), state_v3::decode)?;
    if let Some(steps) = parts.steps {
        step_codec::take_steps(steps, &mut state, by, next)?;
    }
    Ok(state)
}

/// The entry that makes a state durable after the step of the `scratch`, where it is written; whether it is a base.
pub fn entry_of_step(
    parts: Parts<'_>,
    state: &mut DeviceState,
    scratch: &mut Scratch,
    policy: &[u8],
) -> Sure<bool> {
    let step_bytes = scratch.step().len();
    let size = step_bytes + parts.steps.map_or(0, <[u8]>::len);
    let base_bytes = parts.base.map_or(FIRST_BASE_BYTES, <[u8]>::len);
    let is_due = size > MIN_STEPS_BYTES && size * size > 32 * base_bytes * step_bytes;
    let is_of_others = parts.steps.is_some_and(|steps| !step_codec::folded_under(steps, policy));
    if size > MAX_STEPS_BYTES || is_due || is_of_others {
        state.base_offset = state.applied_offset;
        scratch.entry = state_v3::encode(state)?;
        return Ok(true);
    }
    step_codec::add(parts.steps, policy, state, scratch)?;
    Ok(false)
}

struct Decoded {
    /// Apart, so that the table that it is in can grow.
    state: Box<DeviceState>,
    /// The entry that it was made with, the very object, as long as that is not durable. Until then the state is ahead
    /// of what is, and worth nothing if anything else becomes of the device.
    entry: Option<Py<PyBytes>>,
    /// Bytes of what it is, encoded.
    weight: usize,
    used: u64,
}

/// The states of heavy devices that were used recently, decoded. Each is what is durable of its device, or will be.
pub struct DecodedStates {
    by_place: HashMap<Place, Decoded>,
    bytes: usize,
    pub most_bytes: usize,
    /// Counts the steps, for which device was used when.
    now: u64,
}

impl Default for DecodedStates {
    fn default() -> Self {
        Self { by_place: HashMap::new(), bytes: 0, most_bytes: MOST_BYTES, now: 0 }
    }
}

impl DecodedStates {
    pub fn len(&self) -> usize {
        self.by_place.len()
    }

    pub fn clear(&mut self) {
        self.by_place.clear();
        self.bytes = 0;
    }

    /// Take the state of a device out; None if it has to be decoded.
    pub fn take(&mut self, place: Place) -> Option<DeviceState> {
        let decoded = self.by_place.remove(&place)?;
        self.bytes -= decoded.weight;
        decoded.entry.is_none().then_some(*decoded.state)
    }

    /// Keep the state that an entry was made with, if that is worth it; `weight` is of all that will be durable.
    pub fn keep(&mut self, place: Place, state: DeviceState, entry: &Bound<'_, PyBytes>, weight: usize) {
        if weight <= LIGHT_BYTES {
            return;
        }
        self.now += 1;
        let decoded =
            Decoded { state: Box::new(state), entry: Some(entry.clone().unbind()), weight, used: self.now };
        self.bytes += weight;
        self.by_place.insert(place, decoded);
        if self.bytes > self.most_bytes {
            self.let_go();
        }
    }

    /// A part of a device is durable, None: gone. What is decoded of it stays only if it was made with that.
    pub fn committed(&mut self, place: Place, value: Option<&Bound<'_, PyBytes>>) {
        let Some(decoded) = self.by_place.get_mut(&place) else { return };
        match (value, &decoded.entry) {
            (Some(value), Some(entry)) if entry.is(value) => decoded.entry = None,
            _ => drop(self.take(place)),
        }
    }

    /// Let an eighth of the bytes go: those that were used longest ago.
    fn let_go(&mut self) {
        let mut used: Vec<(u64, Place)> =
            self.by_place.iter().map(|(place, each)| (each.used, *place)).collect();
        used.sort_unstable();
        for (_, oldest) in used {
            if self.bytes <= self.most_bytes / 8 * 7 {
                break;
            }
            self.take(oldest);
        }
    }
}
