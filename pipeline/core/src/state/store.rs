//! When which of the two parts of a state is written.

use super::codec::{state_v3, step_codec};
use super::device::Arrival;
use super::device_state::DeviceState;
use crate::domain::policy::Policy;
use crate::unsure::Sure;

const MIN_STEPS_BYTES: usize = 1_024;
/// Then the base is written anew, however large it is.
const MAX_STEPS_BYTES: usize = 2_000_000;
/// About what the first base of a device has.
const FIRST_BASE_BYTES: usize = 512;

/// What is durable of a device.
#[derive(Clone, Copy)]
pub struct Parts<'a> {
    pub base: Option<&'a [u8]>,
    pub steps: Option<&'a [u8]>,
}

/// A device's state from its parts; a new one if it has none. Its steps may be of a version of the `policy`.
pub fn load(parts: Parts<'_>, policy: &Policy) -> Sure<DeviceState> {
    let mut state = parts.base.map_or_else(|| Ok(DeviceState::default()), state_v3::decode)?;
    if let Some(steps) = parts.steps {
        step_codec::take_steps(steps, &mut state, policy)?;
    }
    Ok(state)
}

/// The entry that makes a state durable after a step of `arrivals`, and whether it is a base.
pub fn entry_of_step(
    parts: Parts<'_>,
    state: &mut DeviceState,
    arrivals: &[Arrival],
    policy: &[u8],
) -> Sure<(bool, Vec<u8>)> {
    let step = step_codec::encode_step(arrivals, state);
    let size = step.len() + parts.steps.map_or(0, <[u8]>::len);
    let base_bytes = parts.base.map_or(FIRST_BASE_BYTES, <[u8]>::len);
    let is_due = size > MIN_STEPS_BYTES && size * size > 32 * base_bytes * step.len();
    let is_of_others = parts.steps.is_some_and(|steps| !step_codec::folded_under(steps, policy));
    if size > MAX_STEPS_BYTES || is_due || is_of_others {
        state.base_offset = state.applied_offset;
        return Ok((true, state_v3::encode(state)?));
    }
    Ok((false, step_codec::added(parts.steps, &step, policy, state)?))
}
