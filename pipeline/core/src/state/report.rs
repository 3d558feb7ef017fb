//! Which rows a device's sessions need: the difference between what is true now and what was written.
//!
//! Each function appends to `state.outbox` and notes in `state.written` what the new row says.

use std::sync::Arc;

use super::device_state::{DeviceState, Report, Said, Write, Written};
use crate::domain::Text;
use crate::domain::session::Session;

/// An open session is written when it opens, and again with the first input after this.
const LIVE_INTERVAL_MS: i64 = 30_000;

/// After input: write the sessions that differ from their rows; `left` were pushed out of the fold.
pub fn changed(state: &mut DeviceState, left: &[Session]) {
    over(state, left);
    if let Some(opened) = state.head.open.take() {
        open(state, &opened);
        state.head.open = Some(opened);
    }
}

/// Write the sessions that are over and differ from their rows; `left` were pushed out of the fold.
pub fn over(state: &mut DeviceState, left: &[Session]) {
    for session in left {
        closed(state, session);
    }
    if let Some(prev) = state.head.prev.take() {
        // Whatever changes it changes one of these.
        let says = (
            prev.first_event_id.clone(),
            prev.event_count,
            prev.end_reason.clone(),
            prev.exit_reason.clone(),
            prev.counters.iter().sum(),
        );
        if state.prev_compared.as_ref() != Some(&says) {
            closed(state, &prev);
            state.prev_compared = Some(says);
        }
        state.head.prev = Some(prev);
    }
}

/// After the tail was folded again: take back the rows of sessions that no longer exist.
pub fn dissolve(state: &mut DeviceState, alive: &[Text]) {
    let mut gone = Vec::new();
    state.written.0.retain(|(id, written)| {
        let stays = alive.contains(id);
        if !stays {
            gone.push((id.clone(), written.started_at_ms));
        }
        stays
    });
    for (id, started_at_ms) in gone {
        state.outbox.push(Write {
            session: Arc::new(stub(id, started_at_ms)),
            report: Report::Deleted,
            is_final: false,
        });
    }
}

/// Of a session that is no more, its first event and its start.
fn stub(first_event_id: Text, started_at_ms: i64) -> Session {
    let none = crate::domain::empty();
    Session {
        first_event_id,
        started_at_ms,
        start_reason: none.clone(),
        foreground: true,
        resource: "{}".into(),
        last_ms: started_at_ms,
        ended_at_ms: 0,
        end_reason: none.clone(),
        exit_reason: none.clone(),
        cold_start: false,
        client: none.clone(),
        user: none.clone(),
        event_count: 0,
        counters: [0; crate::domain::event::COUNTERS],
        stitched_first_event_id: none.clone(),
        stitched_index: 1,
        user_id: none,
        user_ids: Vec::new(),
    }
}

/// Write as final the sessions that left the checkpoint: no event in reach touches them any more. Of one that left
/// twice in a step the last time counts, in the place of the first.
pub fn finals(state: &mut DeviceState, sessions: Vec<Session>) {
    let mut last: Vec<Session> = Vec::with_capacity(sessions.len());
    for session in sessions {
        match last.iter_mut().find(|each| is_same(each, &session)) {
            Some(known) => *known = session,
            None => last.push(session),
        }
    }
    for session in last {
        let before = state.written.pop(&session.first_event_id);
        if before.is_none_or(|before| !before.is_final || !before.said.is(&session)) {
            let session = Arc::new(session);
            state.outbox.push(Write { session, report: Report::Closed, is_final: true });
        }
    }
}

/// Whether two are the same session.
pub fn is_same(one: &Session, other: &Session) -> bool {
    one.first_event_id == other.first_event_id && one.started_at_ms == other.started_at_ms
}

/// Write as final what the fold still holds of a device that has been silent for the horizon.
pub fn finals_held(state: &mut DeviceState) {
    if let Some(prev) = state.head.prev.clone() {
        write_final(state, &prev, Report::Closed);
    }
    if let Some(opened) = state.head.open.clone() {
        write_final(state, &opened.as_quiet(), Report::Silent);
    }
}

fn closed(state: &mut DeviceState, session: &Session) {
    if let Some(before) = state.written.get_mut(&session.first_event_id)
        && before.said.is(session)
    {
        before.report = Report::Closed;
        return;
    }
    write(state, session, Report::Closed, false);
}

fn open(state: &mut DeviceState, session: &Session) {
    if let Some(before) = state.written.get(&session.first_event_id) {
        let told_open = before.report == Report::Open;
        if told_open && state.arrived_ms - before.at_ms < LIVE_INTERVAL_MS {
            return;
        }
        let is_said = if told_open { before.said.is(session) } else { before.said.is(&session.as_quiet()) };
        if is_said {
            return;
        }
    }
    write(state, session, Report::Open, false);
}

fn write_final(state: &mut DeviceState, session: &Session, report: Report) {
    let before = state.written.get(&session.first_event_id);
    if !before.is_some_and(|before| before.is_final && before.said.is(session)) {
        write(state, session, report, true);
    }
}

fn write(state: &mut DeviceState, session: &Session, report: Report, is_final: bool) {
    let session = Arc::new(session.clone());
    state.outbox.push(Write { session: session.clone(), report, is_final });
    let (started_at_ms, at_ms) = (session.started_at_ms, state.arrived_ms);
    let (id, said) = (session.first_event_id.clone(), Said::Session(session));
    state.written.set(&id, Written { said, started_at_ms, report, is_final, at_ms });
}
