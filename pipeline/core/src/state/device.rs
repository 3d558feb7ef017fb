//! One device: input to state and rows. Pure; the caller makes state durable and emits the outbox.

use hashbrown::HashSet;

use super::device_state::{Checkpoint, DeviceState};
use super::report;
use super::tail::{OrderKey, Tail, mark_of};
use crate::domain::Text;
use crate::domain::event::Event;
use crate::domain::event_id::EventId;
use crate::domain::fold_by_time::fold;
use crate::domain::fold_state::FoldState;
use crate::domain::policy::Policy;
use crate::domain::session::Session;
use crate::unsure::Sure;

/// Of distinct resources and users in a tail.
const MAX_TEXT_BYTES: usize = 2_000_000;
/// Of the resource and user that a record's events share: from here it is worth to weigh the tail.
const HEAVY_CHARS: usize = 1_000;

/// The events of one record of a device: its offset, its record time, the events.
pub struct Arrival {
    pub offset: i64,
    pub record_ms: i64,
    /// What the correction of clocks has added to their times; not known of those that were folded before.
    pub moved_ms: i64,
    pub events: Vec<Event>,
}

/// An event whose id its device had already.
#[derive(Clone, Debug)]
pub struct Copy {
    pub id: EventId,
    pub offset: i64,
    pub place: usize,
    pub time_ms: i64,
    pub first_ms: Option<i64>,
}

/// What happened to the events of a step.
#[derive(Clone, Debug, Default)]
pub struct Counts {
    pub accepted: i64,
    pub late: i64,
    pub unrestated: i64,
    /// The duplicates, one by one.
    pub copies: Vec<Copy>,
}

/// What a step has in hand besides the state.
struct Hand<'a> {
    policy: &'a Policy,
    /// Sessions that were pushed out of the fold.
    left: Vec<Session>,
    /// Sessions that were pushed out of the checkpoint.
    last: Vec<Session>,
    counts: &'a mut Counts,
    /// The tail needs folding again: the head is behind, and not worth stepping.
    late: bool,
}

/// Fold records of one device, ascending by offset and all new, into its state, in place. The rows to emit are in
/// `state.outbox` afterwards. Events are taken out of the records as it goes. After an error the state is worth nothing.
pub fn apply(
    state: &mut DeviceState,
    arrivals: &mut [Arrival],
    policy: &Policy,
    counts: &mut Counts,
) -> Sure<()> {
    state.outbox.clear();
    // A version that came since may be of events that were folded without it.
    let late = state.tail.last.as_ref().is_some_and(|last| policy.covers(last.time_ms, state.applied_offset));
    let mut hand = Hand { policy, left: Vec::new(), last: Vec::new(), counts, late };
    for arrival in arrivals.iter_mut() {
        // The way that most records go; what does not takes a closer look.
        if hand.late || !take_record(state, arrival, &mut hand) {
            admit_record(state, arrival, &mut hand)?;
        }
    }
    if let Some(last) = arrivals.last() {
        state.applied_offset = last.offset;
    }
    let Hand { mut left, last, late, .. } = hand;
    if late {
        refold(state, policy, &mut left)?;
        let alive: Vec<Text> = left.iter().chain(&last).map(|each| each.first_event_id.clone()).collect();
        let alive = [alive, state.head.names()].concat();
        report::dissolve(state, &alive);
    }
    if !last.is_empty() {
        left.retain(|session| !last.iter().any(|gone| report::is_same(gone, session)));
        report::finals(state, last);
    }
    report::changed(state, &left);
    Ok(())
}

/// Put the events of a record behind all others, if there is nothing else to do. Otherwise nothing is changed.
fn take_record(state: &mut DeviceState, arrival: &mut Arrival, hand: &mut Hand<'_>) -> bool {
    let (tail, policy) = (&mut state.tail, hand.policy);
    let horizon_ms = policy.restate_horizon_ms;
    if arrival.record_ms - state.arrived_ms >= horizon_ms || arrival.events.last().is_some_and(is_heavy) {
        return false;
    }
    let (count, latest_ms) = (arrival.events.len(), tail.first_ms + horizon_ms);
    if !tail.take_newer(&mut arrival.events, latest_ms, &state.named, policy.restate_events) {
        return false;
    }
    state.arrived_ms = state.arrived_ms.max(arrival.record_ms);
    fold(&mut state.head, tail.newest(count), policy, &mut hand.left);
    hand.counts.accepted += count as i64;
    true
}

/// Put the events of one record in their places.
fn admit_record(state: &mut DeviceState, arrival: &mut Arrival, hand: &mut Hand<'_>) -> Sure<()> {
    let policy = hand.policy;
    let silent_ms = arrival.record_ms - state.arrived_ms;
    if silent_ms >= policy.restate_horizon_ms {
        compact(state, hand)?;
        if silent_ms >= policy.state_ttl_ms && state.floor.is_some() {
            begin_anew(state, hand)?;
        }
    }
    state.arrived_ms = state.arrived_ms.max(arrival.record_ms);
    let events = std::mem::take(&mut arrival.events);
    let heavy = events.iter().any(is_heavy);
    state.tail.reserve(events.len());
    for (place, event) in events.into_iter().enumerate() {
        let mark = mark_of(&event.id);
        let first_ms = state.tail.time_of(&event.id, mark, &state.strings)?;
        if first_ms.is_some() || state.named.iter().any(|name| event.id.is(name)) {
            let copy = Copy { id: event.id, offset: arrival.offset, place, time_ms: event.time_ms, first_ms };
            hand.counts.copies.push(copy);
        } else {
            admit(state, event, mark, hand)?;
        }
    }
    // After each record, so that what is remembered never depends on how records were cut into batches.
    if let Some(last) = &state.tail.last {
        let oldest_ms = last.time_ms - policy.restate_horizon_ms;
        if heavy || state.tail.count as i64 > policy.restate_events || state.tail.first_ms < oldest_ms {
            trim(state, oldest_ms, heavy, hand)?;
        }
    }
    Ok(())
}

fn is_heavy(event: &Event) -> bool {
    event.resource.len() + event.user.len() > HEAVY_CHARS
        && event.resource.chars().count() + event.user.chars().count() > HEAVY_CHARS
}

/// Forget a device that has been silent for `state_ttl`. Its tail is empty already.
fn begin_anew(state: &mut DeviceState, hand: &mut Hand<'_>) -> Sure<()> {
    if hand.late {
        hand.left.clear();
        state.head = state.checkpoint()?.clone();
        let alive: Vec<Text> = hand.last.iter().map(|each| each.first_event_id.clone()).collect();
        let alive = [alive, state.head.names()].concat();
        report::dissolve(state, &alive);
    }
    report::over(state, &std::mem::take(&mut hand.left));
    report::finals(state, std::mem::take(&mut hand.last));
    report::finals_held(state);
    state.forget();
    Ok(())
}

/// Put one event, which is no duplicate and has this mark, in its place.
fn admit(state: &mut DeviceState, event: Event, mark: [u8; 4], hand: &mut Hand<'_>) -> Sure<()> {
    let newest = state.tail.last.as_ref().or(state.floor.as_ref());
    if newest.is_none_or(|newest| newest.is_before(&event)) {
        if !hand.late {
            fold(&mut state.head, std::slice::from_ref(&event), hand.policy, &mut hand.left);
        }
        state.tail.append(event, mark);
    } else if restatable(state, &event, hand.policy)? {
        state.tail.insert(event, mark, &state.strings)?;
        hand.counts.late += 1;
        hand.late = true;
    } else {
        hand.counts.unrestated += 1;
        return Ok(());
    }
    hand.counts.accepted += 1;
    Ok(())
}

/// Whether a late event is within the horizon, in time and in events after it.
fn restatable(state: &mut DeviceState, event: &Event, policy: &Policy) -> Sure<bool> {
    let Some(last) = &state.tail.last else { return Ok(false) };
    if state.floor.as_ref().is_some_and(|floor| !floor.is_before(event)) {
        return Ok(false);
    }
    if event.time_ms < last.time_ms - policy.restate_horizon_ms {
        return Ok(false);
    }
    if (state.tail.count as i64) < policy.restate_events {
        return Ok(true);
    }
    let events = state.tail.thaw(&state.strings)?;
    let after = events.len() - events.partition_point(|each| each.place() < event.place());
    Ok((after as i64) < policy.restate_events)
}

/// Fold the tail again from the checkpoint; `left` becomes the sessions that it pushes out.
fn refold(state: &mut DeviceState, policy: &Policy, left: &mut Vec<Session>) -> Sure<()> {
    left.clear();
    let mut head = state.checkpoint()?.clone();
    state.prev_compared = None;
    fold(&mut head, state.tail.thaw(&state.strings)?, policy, left);
    state.head = head;
    Ok(())
}

/// Move the events that no late one may precede any more from the tail into the checkpoint.
fn trim(state: &mut DeviceState, oldest_ms: i64, heavy: bool, hand: &mut Hand<'_>) -> Sure<()> {
    let tail = &mut state.tail;
    let too_old = tail.older_than(oldest_ms, &state.strings)?;
    let too_many = usize::try_from(tail.count as i64 - hand.policy.restate_events).unwrap_or(0);
    let too_heavy = if heavy { too_heavy(tail.thaw(&state.strings)?) } else { 0 };
    let count = too_old.max(too_many).max(too_heavy);
    if count > 0 { shift(state, count, hand) } else { Ok(()) }
}

/// How many of the oldest events have to go for the texts of the others to stay within MAX_TEXT_BYTES.
fn too_heavy(events: &[Event]) -> usize {
    let mut texts: HashSet<&Text> = HashSet::new();
    let mut size = 0;
    for (index, event) in events.iter().enumerate().rev() {
        for text in [&event.resource, &event.user] {
            if texts.insert(text) {
                size += text.len();
            }
        }
        if size > MAX_TEXT_BYTES {
            return index + 1;
        }
    }
    0
}

/// Move the whole tail into the checkpoint: the device has been silent for the horizon.
fn compact(state: &mut DeviceState, hand: &mut Hand<'_>) -> Sure<()> {
    if state.tail.count == 0 {
        return Ok(());
    }
    let before = hand.last.len();
    shift(state, state.tail.count, hand)?;
    if !hand.late {
        let head = state.head.clone();
        if *state.checkpoint()? != head {
            // The policy has changed since: what is held stays as it was told.
            state.named = head.names();
            state.checkpoint = Checkpoint::Decoded(head);
            let moved = hand.last.split_off(before);
            let is_told = |session: &Session| {
                state.written.get(&session.first_event_id).is_some()
                    && !state.named.contains(&session.first_event_id)
            };
            hand.last.extend(moved.into_iter().filter(is_told));
        }
    }
    Ok(())
}

/// Move so many of the oldest events.
fn shift(state: &mut DeviceState, count: usize, hand: &mut Hand<'_>) -> Sure<()> {
    let moved = state.tail.take(count, &state.strings)?;
    let before: &mut FoldState = state.checkpoint()?;
    fold(before, &moved, hand.policy, &mut hand.last);
    state.named = before.names();
    state.floor = moved.last().map(OrderKey::of);
    Ok(())
}

/// Number the texts anew, in the order in which events refer to them.
pub fn repack(state: &mut DeviceState) -> Sure<()> {
    state.checkpoint()?;
    let events = state.tail.thaw(&state.strings)?.to_vec();
    state.strings = super::strings::Strings::default();
    for event in &events {
        for text in [&event.client, &event.exit_reason, &event.resource, &event.user] {
            state.strings.number(text);
        }
    }
    state.tail = Tail::of_events(events);
    Ok(())
}
