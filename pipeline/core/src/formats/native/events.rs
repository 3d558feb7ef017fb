//! The events of a native envelope as the fold needs them.

use super::reading::WireEnvelope;
use crate::domain::Text;
use crate::domain::event::Event;
use crate::formats::clocks::{back_of, is_in_seconds, shift_of};
use crate::formats::limits::{CLOCK_TOLERANCE_MS, MAX_AHEAD_MS, MAX_TIME_MS, MIN_TIME_MS};
use crate::unsure::{Sure, Unsure};

/// What one of the events does not pass, Python refuses.
const FAULT: Unsure = Unsure("time");

/// The events of a record.
pub struct Told {
    pub events: Vec<Event>,
    /// What the correction of clocks has added to their times.
    pub moved_ms: i64,
    /// The latest time that was corrected, or may have been; 0 if there is none.
    pub corrected_ms: i64,
}

/// The events of a record that is decoded as of `record_ms`. With the canonical forms of its resource and user.
pub fn events_of(
    wire: WireEnvelope<'_>,
    record_ms: i64,
    (resource, user): &(Text, Text),
    client: &mut Text,
) -> Sure<Told> {
    let shift_ms = wire.sent_at.map_or(0, |sent_at| shift_of(sent_at, record_ms));
    let latest_ms = (record_ms + MAX_AHEAD_MS).min(MAX_TIME_MS);
    let empty = crate::domain::empty();
    let mut events = Vec::with_capacity(wire.events.len());
    for event in wire.events {
        let time_ms = event.time + shift_ms;
        if !(MIN_TIME_MS..=latest_ms).contains(&time_ms) || (shift_ms != 0 && is_in_seconds(event.time)) {
            return Err(FAULT);
        }
        let own = if event.client.is_empty() {
            empty.clone()
        } else {
            // Most have the same as the one before.
            if **client != *event.client {
                *client = event.client.as_ref().into();
            }
            client.clone()
        };
        let meaning = event.meaning;
        events.push(Event {
            time_ms,
            seq: event.seq,
            id: event.id.as_ref().into(),
            kind: meaning.kind,
            client: own,
            exit_reason: meaning.exit_reason.unwrap_or_else(|| empty.clone()),
            counters: meaning.counters,
            resource: resource.clone(),
            user: user.clone(),
            stated: meaning.stated,
        });
    }
    let latest_ms = events.iter().map(|event| event.time_ms).max().unwrap_or(0);
    if latest_ms <= record_ms + CLOCK_TOLERANCE_MS {
        let corrected_ms = if shift_ms == 0 { 0 } else { latest_ms };
        return Ok(Told { events, moved_ms: shift_ms, corrected_ms });
    }
    let back_ms = back_of(latest_ms, record_ms);
    for event in &mut events {
        event.time_ms -= back_ms;
        if event.time_ms < MIN_TIME_MS {
            return Err(FAULT);
        }
    }
    Ok(Told { events, moved_ms: shift_ms - back_ms, corrected_ms: latest_ms - back_ms })
}
