//! Version 3 of a device's state: MessagePack arrays with a table of texts.

use super::session_codec::{
    decode_fold, read_fold, read_place, read_reported, write_fold, write_place, write_reported,
};
use super::state_head::{outline, write_head};
use crate::state::device::repack;
use crate::state::device_state::{Checkpoint, DeviceState};
use crate::state::msgpack::{self, DAMAGED, Reader};
use crate::state::tail::{Run, Tail};
use crate::unsure::Sure;

/// Texts of more than this are cleared of those that nothing refers to any more whenever they have doubled.
const REPACK_CHARS: usize = 8_192;
/// Or at the latest when they have grown by this much.
const MAX_IDLE_CHARS: usize = 200_000;
const FIELDS: usize = 11;

/// A state with its head. Drops texts that are of no use any more, in place.
pub fn encode(state: &mut DeviceState) -> Sure<Vec<u8>> {
    let packed = state.packed_chars;
    let repacks = state.strings.chars > REPACK_CHARS.max(packed + packed.min(MAX_IDLE_CHARS));
    if repacks {
        repack(state)?;
    }
    // What refers to texts is written first: it may need new ones, and the texts come before it.
    let mut body = Vec::with_capacity(1_024);
    write_place(&mut body, state.floor.as_ref());
    msgpack::array(&mut body, state.named.len());
    for id in &state.named {
        msgpack::text(&mut body, id);
    }
    match &state.checkpoint {
        Checkpoint::Encoded(bytes) => body.extend_from_slice(bytes),
        Checkpoint::Decoded(fold) => write_fold(&mut body, fold, &mut state.strings),
    }
    if state.tail.count > 0 {
        write_fold(&mut body, &state.head, &mut state.strings);
    } else {
        msgpack::nil(&mut body);
    }
    let runs = state.tail.packed(&mut state.strings);
    msgpack::array(&mut body, runs.len());
    for run in runs {
        msgpack::array(&mut body, 3);
        msgpack::int(&mut body, run.length as i64);
        msgpack::int(&mut body, run.first_ms);
        msgpack::bin(&mut body, &run.rows);
    }
    msgpack::bin(&mut body, &state.tail.marks);
    write_place(&mut body, state.tail.last.as_ref());
    write_reported(&mut body, state);
    msgpack::int(&mut body, state.corrected_ms);

    let mut value = Vec::with_capacity(body.len() + 4 * state.strings.chars + 64);
    write_head(&mut value, state, None);
    msgpack::array(&mut value, FIELDS);
    msgpack::array(&mut value, state.strings.texts().len());
    for text in state.strings.texts() {
        msgpack::text(&mut value, text);
    }
    value.extend_from_slice(&body);
    if repacks {
        state.packed_chars = state.strings.chars;
    }
    Ok(value)
}

/// The state that `encode` was given.
pub fn decode(value: &[u8]) -> Sure<DeviceState> {
    let (known, body) = outline(value)?;
    let mut reader = Reader::new(body);
    reader.array_of(FIELDS)?;
    let mut state = DeviceState::default();
    for _ in 0..reader.array()? {
        state.strings.add_new(reader.text()?.into())?;
    }
    state.packed_chars = state.strings.chars;
    state.floor = read_place(&mut reader)?;
    for _ in 0..reader.array()? {
        state.named.push(reader.text()?.into());
    }
    let place = reader.place();
    read_fold(&mut reader, &state.strings)?;
    state.checkpoint = Checkpoint::Encoded(reader.since(place).to_vec());
    let head = if reader.nil() { None } else { Some(read_fold(&mut reader, &state.strings)?) };
    let runs = runs(&mut reader)?;
    if head.is_none() != runs.is_empty() {
        return Err(DAMAGED);
    }
    let marks = reader.bin()?.to_vec();
    state.tail = Tail::of_runs(runs, marks, read_place(&mut reader)?)?;
    state.head = match (head, &state.checkpoint) {
        (Some(head), _) => head,
        (None, Checkpoint::Encoded(bytes)) => decode_fold(bytes, &state.strings)?,
        (None, Checkpoint::Decoded(fold)) => fold.clone(),
    };
    read_reported(&mut reader, &mut state)?;
    state.corrected_ms = reader.int()?;
    (state.applied_offset, state.arrived_ms) = (known.applied_offset, known.arrived_ms);
    state.base_offset = known.applied_offset;
    let says_so = (known.silence_due, known.has_tail) == (state.silence_due(), state.has_tail());
    if known.is_steps || !reader.is_done() || !says_so { Err(DAMAGED) } else { Ok(state) }
}

fn runs(reader: &mut Reader<'_>) -> Sure<Vec<Run>> {
    let mut runs = Vec::new();
    for _ in 0..reader.array()? {
        reader.array_of(3)?;
        let (length, first_ms) = (reader.number()?, reader.int()?);
        runs.push(Run { length, first_ms, rows: reader.bin()?.to_vec() });
    }
    Ok(runs)
}
