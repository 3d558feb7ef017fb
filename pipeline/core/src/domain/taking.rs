//! What an event does to the session that takes it.

use super::Text;
use super::event::Event;
use super::fold_state::MAX_KNOWN;
use super::session::{Session, end};

/// Make an event one of the session's. `known` are the SDK session ids of the fold's state.
pub fn take(known: &mut Vec<Text>, session: &mut Session, event: &Event) {
    session.last_ms = event.time_ms;
    if !event.client.is_empty() && session.client.is_empty() {
        session.client = event.client.clone();
        if known.last() != Some(&event.client) {
            known.retain(|each| *each != event.client);
            if known.len() >= MAX_KNOWN {
                known.drain(..known.len() + 1 - MAX_KNOWN);
            }
            known.push(event.client.clone());
        }
    }
    count(session, event);
}

/// Count an event of the session.
pub fn count(session: &mut Session, event: &Event) {
    count_event(session, event);
    add_counters(session, event);
}

/// Count an event of the session but for what it counts besides.
pub fn count_event(session: &mut Session, event: &Event) {
    session.event_count += 1;
    if !event.user.is_empty() && event.user != session.user {
        session.note_user(&event.user);
    }
}

pub fn add_counters(session: &mut Session, event: &Event) {
    let mut bits = event.counters;
    while bits != 0 {
        session.counters[bits.trailing_zeros() as usize] += 1;
        bits &= bits - 1;
    }
}

/// Both have an SDK session id, and not the same.
pub fn ids_differ(session: &Session, event: &Event) -> bool {
    !session.client.is_empty() && !event.client.is_empty() && session.client != event.client
}

/// Both have an SDK session id, and it is the same.
pub fn ids_equal(session: &Session, event: &Event) -> bool {
    !event.client.is_empty() && session.client == event.client
}

/// Nothing said why the session ended; whatever does so later is believed.
pub fn sharpen(prev: &mut Session, reason: &str) {
    if matches!(&*prev.end_reason, end::UNCLEAN_EXIT | end::INACTIVITY) {
        prev.end_reason = reason.into();
    }
}

pub fn note_exit(prev: &mut Session, event: &Event) {
    if prev.exit_reason.is_empty() {
        prev.exit_reason = event.exit_reason.clone();
    }
    sharpen(prev, &event.exit_reason);
}
