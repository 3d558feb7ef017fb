//! What a state's value begins with: what recovery and timers need to know, the rest unread.

use crate::state::device_state::DeviceState;
use crate::state::msgpack::DAMAGED;
use crate::unsure::{Sure, Unsure};

/// Version, flags, applied offset, arrival time, applied offset of the base.
pub const HEAD_BYTES: usize = 26;
/// The only one that is written, and read here.
pub const VERSION: u8 = 3;
const SILENCE_DUE: u8 = 1;
const HAS_TAIL: u8 = 2;
const IS_STEPS: u8 = 4;

/// What the head of a value says.
pub struct Outline {
    pub applied_offset: i64,
    pub arrived_ms: i64,
    pub base_offset: i64,
    pub silence_due: bool,
    pub has_tail: bool,
    pub is_steps: bool,
}

/// With a `base_offset` that of steps which build on a base.
pub fn write_head(out: &mut Vec<u8>, state: &DeviceState, base_offset: Option<i64>) {
    let mut flags = (SILENCE_DUE * u8::from(state.silence_due())) | (HAS_TAIL * u8::from(state.has_tail()));
    if base_offset.is_some() {
        flags |= IS_STEPS;
    }
    out.extend([VERSION, flags]);
    for number in [state.applied_offset, state.arrived_ms, base_offset.unwrap_or(state.applied_offset)] {
        out.extend(number.to_be_bytes());
    }
}

/// The head, and what follows it.
pub fn outline(value: &[u8]) -> Sure<(Outline, &[u8])> {
    let (head, body) = value.split_at_checked(HEAD_BYTES).ok_or(DAMAGED)?;
    if head[0] != VERSION {
        return Err(Unsure("old_state"));
    }
    let number = |at: usize| head[at..at + 8].try_into().map(i64::from_be_bytes).map_err(|_| DAMAGED);
    let outline = Outline {
        applied_offset: number(2)?,
        arrived_ms: number(10)?,
        base_offset: number(18)?,
        silence_due: head[1] & SILENCE_DUE != 0,
        has_tail: head[1] & HAS_TAIL != 0,
        is_steps: head[1] & IS_STEPS != 0,
    };
    Ok((outline, body))
}
