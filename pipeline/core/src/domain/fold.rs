//! The fold: events of one device, in order, to sessions (SESSIONS.md, "The fold").
//!
//! `step` applies one event to a state in place: a pure function of state, event and policy.

use super::event::{AppState, Event, Kind};
use super::fold_state::FoldState;
use super::policy::Policy;
use super::session::{Session, end, start};
use super::stitching::{join, note_end};
use super::taking::{add_counters, count, count_event, ids_differ, ids_equal, note_exit, sharpen, take};

/// Apply the next event of the order to the state, in place. Appends to `left` the sessions that it pushed out.
pub fn step(state: &mut FoldState, event: &Event, policy: &Policy, left: &mut Vec<Session>) {
    let time_ms = event.time_ms;
    let mut kind = event.kind;
    if kind == Kind::Passive {
        if let Some(session) = state.open.as_mut().or(state.prev.as_mut()) {
            count(session, event);
        }
        return;
    }
    if let Some(opened) = &state.open {
        let last_ms = opened.last_ms;
        if time_ms - last_ms > policy.inactivity_timeout_ms {
            close(state, end::INACTIVITY, last_ms, left);
        }
    }
    if kind == Kind::Active {
        kind = seen_in_front(state, event);
    }
    if let Some(opened) = &state.open {
        if time_ms == opened.last_ms {
            // One session a device and millisecond.
            if matches!(kind, Kind::Launch | Kind::Foreground) {
                absorb(state, event);
                return;
            }
        } else if kind == Kind::Activity {
            end_by_age_or_identity(state, event, policy, left);
        }
    } else if state.prev.as_ref().is_some_and(|prev| time_ms == prev.last_ms) && joins_prev(state, event) {
        return;
    }
    match kind {
        Kind::Foreground => on_foreground(state, event, policy, left),
        Kind::Launch => on_launch(state, event, policy, left),
        Kind::Activity => on_activity(state, event, policy),
        Kind::SessionEnd => on_session_end(state, event, policy, left),
        Kind::Background => on_background(state, event, policy, left),
        Kind::Crash | Kind::Exception | Kind::Anr => on_failure(state, event, policy, left),
        Kind::Exit => on_exit(state, event, policy, left),
        Kind::Active | Kind::Passive => unreachable!("ACTIVE is one of these, and PASSIVE takes no part"),
    }
}

/// `step` for each of the next events of the order; a short way for activity that the open session just takes.
pub fn step_all<'a>(
    state: &mut FoldState,
    events: impl IntoIterator<Item = &'a Event>,
    policy: &Policy,
    left: &mut Vec<Session>,
) {
    for event in events {
        match state.open.as_mut() {
            Some(opened)
                if event.kind == Kind::Activity
                    && event.time_ms - opened.last_ms <= policy.inactivity_timeout_ms
                    && event.time_ms - opened.started_at_ms < policy.max_duration_ms
                    && (event.client.is_empty() || event.client == opened.client) =>
            {
                opened.last_ms = event.time_ms;
                count(opened, event);
            }
            _ => step(state, event, policy, left),
        }
    }
}

/// What an ACTIVE event is: the app comes to the front, or a window of it does while it is there already.
fn seen_in_front(state: &mut FoldState, event: &Event) -> Kind {
    if let Some(opened) = state.open.as_ref().filter(|opened| opened.foreground) {
        if ids_equal(opened, event) {
            state.shown_ms = Some(event.time_ms);
        }
        return Kind::Activity;
    }
    if state.app_state == AppState::Foreground { Kind::Activity } else { Kind::Foreground }
}

/// A start in the open session's last millisecond.
fn absorb(state: &mut FoldState, event: &Event) {
    let opened = state.open.as_mut().expect("a session is open");
    let is_launch = event.kind == Kind::Launch;
    if is_launch {
        opened.cold_start = true;
    }
    state.app_state = if is_launch { event.stated.or(AppState::Foreground) } else { AppState::Foreground };
    take(&mut state.known, opened, event);
}

/// None open, and the event comes at the last time of the session before: that one takes it.
fn joins_prev(state: &mut FoldState, event: &Event) -> bool {
    let prev = state.prev.as_mut().expect("there is one before");
    match event.kind {
        // Never in order: whatever gives `prev` its last event while none is open has a higher rank.
        Kind::Launch | Kind::Foreground | Kind::Active => return false,
        Kind::Background => state.app_state = AppState::Background,
        Kind::Crash | Kind::Exception | Kind::Anr => {
            sharpen(prev, event.kind.label());
            state.app_state = AppState::Unknown;
        }
        Kind::Exit => {
            note_exit(prev, event);
            state.app_state = AppState::Unknown;
        }
        Kind::Activity | Kind::SessionEnd | Kind::Passive => {}
    }
    take(&mut state.known, prev, event);
    true
}

fn end_by_age_or_identity(state: &mut FoldState, event: &Event, policy: &Policy, left: &mut Vec<Session>) {
    let opened = state.open.as_ref().expect("a session is open");
    let last_ms = opened.last_ms;
    if event.time_ms - opened.started_at_ms >= policy.max_duration_ms {
        close(state, end::MAX_DURATION, last_ms, left);
    } else if ids_differ(opened, event) && !state.known.contains(&event.client) {
        close(state, end::SUPERSEDED, last_ms, left);
    }
}

fn on_launch(state: &mut FoldState, event: &Event, policy: &Policy, left: &mut Vec<Session>) {
    let visible = event.stated != AppState::Background;
    state.app_state = event.stated.or(AppState::Foreground);
    if let Some(opened) = state.open.as_mut() {
        if event.time_ms - opened.started_at_ms <= policy.launch_grace_ms && !opened.cold_start {
            opened.cold_start = true;
            opened.foreground |= visible;
            if &*opened.start_reason != start::FOREGROUND {
                opened.start_reason = start::LAUNCH.into();
            }
            if let Some(prev) = state.prev.as_mut().filter(|prev| &*prev.end_reason == end::SUPERSEDED) {
                prev.end_reason = end::UNCLEAN_EXIT.into();
            }
            take(&mut state.known, opened, event);
            return;
        }
        let last_ms = opened.last_ms;
        close(state, end::UNCLEAN_EXIT, last_ms, left);
    }
    open(state, event, policy, start::LAUNCH, visible).cold_start = true;
}

fn on_foreground(state: &mut FoldState, event: &Event, policy: &Policy, left: &mut Vec<Session>) {
    if state.open.is_none() && gave_way(state, event, policy) {
        reopen(state, event);
        return;
    }
    state.app_state = AppState::Foreground;
    if let Some(opened) = state.open.as_mut() {
        if event.time_ms - opened.started_at_ms <= policy.launch_grace_ms && !ids_differ(opened, event) {
            opened.foreground = true;
            if &*opened.start_reason != start::LAUNCH {
                opened.start_reason = start::FOREGROUND.into();
            }
            take(&mut state.known, opened, event);
            return;
        }
        let last_ms = opened.last_ms;
        if opened.foreground {
            close(state, end::UNCLEAN_EXIT, last_ms, left);
        } else {
            close(state, end::FOREGROUND, event.time_ms, left);
        }
    }
    open(state, event, policy, start::FOREGROUND, true);
}

/// Whether the session before ended only because one window gave way to the one that comes now.
fn gave_way(state: &FoldState, event: &Event, policy: &Policy) -> bool {
    state.prev.as_ref().is_some_and(|prev| {
        prev.foreground
            && &*prev.end_reason == end::BACKGROUND
            && event.time_ms - prev.ended_at_ms <= policy.flicker_grace_ms
            && state.app_state == AppState::Background
            && !ids_differ(prev, event)
    })
}

/// The session before was not over. (The one before that is out of reach: it has left the state.)
fn reopen(state: &mut FoldState, event: &Event) {
    let mut session = state.prev.take().expect("there is one before");
    session.end_reason = "".into();
    session.ended_at_ms = 0;
    state.app_state = AppState::Foreground;
    take(&mut state.known, &mut session, event);
    state.open = Some(session);
}

fn on_background(state: &mut FoldState, event: &Event, policy: &Policy, left: &mut Vec<Session>) {
    if let (Some(opened), Some(shown_ms)) = (state.open.as_mut(), state.shown_ms)
        && event.time_ms - shown_ms <= policy.flicker_grace_ms
    {
        // The window that was left went; another one is in front.
        take(&mut state.known, opened, event);
        return;
    }
    state.app_state = AppState::Background;
    if let Some(opened) = state.open.as_mut() {
        take(&mut state.known, opened, event);
        if opened.foreground {
            close(state, end::BACKGROUND, event.time_ms, left);
        }
        return;
    }
    match state.prev.as_mut() {
        Some(prev)
            if &*prev.end_reason == end::INACTIVITY
                || event.time_ms - prev.ended_at_ms <= policy.exit_grace_ms =>
        {
            take(&mut state.known, prev, event);
        }
        _ => {
            open(state, event, policy, start::IMPLICIT, true);
            close(state, end::BACKGROUND, event.time_ms, left);
        }
    }
}

fn on_session_end(state: &mut FoldState, event: &Event, policy: &Policy, left: &mut Vec<Session>) {
    if names_another(state, event) {
        take_for_another(state, event);
    } else if let Some(opened) = state.open.as_mut() {
        take(&mut state.known, opened, event);
        close(state, end::MANUAL, event.time_ms, left);
    } else if let Some(prev) = state.prev.as_mut() {
        take(&mut state.known, prev, event);
    } else {
        open(state, event, policy, start::IMPLICIT, true);
        close(state, end::MANUAL, event.time_ms, left);
    }
}

fn on_failure(state: &mut FoldState, event: &Event, policy: &Policy, left: &mut Vec<Session>) {
    if names_another(state, event) {
        take_for_another(state, event);
        return;
    }
    let reason = event.kind.label();
    if let Some(opened) = state.open.as_mut() {
        take(&mut state.known, opened, event);
        close(state, reason, event.time_ms, left);
    } else {
        match state.prev.as_mut() {
            Some(prev)
                if event.time_ms - prev.ended_at_ms <= policy.exit_grace_ms || ids_equal(prev, event) =>
            {
                sharpen(prev, reason);
                take(&mut state.known, prev, event);
            }
            _ => {
                let foreground = !in_background(state, event);
                open(state, event, policy, start::IMPLICIT, foreground);
                close(state, reason, event.time_ms, left);
            }
        }
    }
    state.app_state = AppState::Unknown;
}

fn on_exit(state: &mut FoldState, event: &Event, policy: &Policy, left: &mut Vec<Session>) {
    if names_another(state, event) {
        take_for_another(state, event);
        return;
    }
    state.app_state = AppState::Unknown;
    if let Some(opened) = state.open.as_mut() {
        take(&mut state.known, opened, event);
        opened.exit_reason = event.exit_reason.clone();
    } else if let Some(prev) = state.prev.as_mut() {
        note_exit(prev, event);
        take(&mut state.known, prev, event);
        return;
    } else {
        open(state, event, policy, start::IMPLICIT, true).exit_reason = event.exit_reason.clone();
    }
    close(state, &event.exit_reason, event.time_ms, left);
}

fn on_activity(state: &mut FoldState, event: &Event, policy: &Policy) {
    if let Some(opened) = state.open.as_mut() {
        take(&mut state.known, opened, event);
        return;
    }
    let mut goes_on = false;
    if let Some(prev) = state.prev.as_mut() {
        // After these the app went on: the next activity is a continuation, and nothing trails.
        goes_on =
            matches!(&*prev.end_reason, end::MANUAL | end::INACTIVITY | end::MAX_DURATION | end::SUPERSEDED);
        if !goes_on && event.time_ms - prev.ended_at_ms <= policy.exit_grace_ms && !ids_differ(prev, event) {
            take(&mut state.known, prev, event);
            return;
        }
    }
    if in_background(state, event) {
        open(state, event, policy, start::BACKGROUND, false);
    } else {
        open(state, event, policy, if goes_on { start::CONTINUATION } else { start::IMPLICIT }, true);
    }
    state.app_state = event.stated.or(state.app_state);
}

/// Whether an end is of a session that the device had before the open one: what the next process reports.
fn names_another(state: &FoldState, event: &Event) -> bool {
    state.open.as_ref().is_some_and(|opened| ids_differ(opened, event)) && state.known.contains(&event.client)
}

/// An end that names another session ends nothing; where that session is the one before, it is told so.
fn take_for_another(state: &mut FoldState, event: &Event) {
    let opened = state.open.as_mut().expect("a session is open");
    let Some(prev) = state.prev.as_mut().filter(|prev| prev.client == event.client) else {
        count(opened, event);
        return;
    };
    count_event(opened, event);
    add_counters(prev, event);
    if event.kind == Kind::SessionEnd {
        return;
    }
    let is_exit = event.kind == Kind::Exit;
    let reason = if is_exit { &*event.exit_reason } else { event.kind.label() };
    if &*prev.end_reason == end::SUPERSEDED {
        prev.end_reason = reason.into();
    }
    sharpen(prev, reason);
    if is_exit && prev.exit_reason.is_empty() {
        prev.exit_reason = reason.into();
    }
}

/// Whether a session that this event opens is a background one.
fn in_background(state: &FoldState, event: &Event) -> bool {
    event.stated.or(state.app_state) == AppState::Background
}

/// Open a session at an event and give it the event.
fn open<'a>(
    state: &'a mut FoldState,
    event: &Event,
    policy: &Policy,
    reason: &str,
    foreground: bool,
) -> &'a mut Session {
    let none = super::empty();
    let mut session = Box::new(Session {
        first_event_id: event.id.text(),
        started_at_ms: event.time_ms,
        start_reason: reason.into(),
        foreground,
        resource: event.resource.clone(),
        last_ms: event.time_ms,
        ended_at_ms: 0,
        end_reason: none.clone(),
        exit_reason: none.clone(),
        cold_start: false,
        client: none.clone(),
        user: none.clone(),
        event_count: 0,
        counters: [0; super::event::COUNTERS],
        stitched_first_event_id: none.clone(),
        stitched_index: 1,
        user_id: none,
        user_ids: Vec::new(),
    });
    state.stitched = Some(join(state.stitched.take(), &mut session, policy));
    take(&mut state.known, &mut session, event);
    state.open.insert(session)
}

/// Close the open session; it becomes the one before, and that one leaves the state.
fn close(state: &mut FoldState, reason: &str, at_ms: i64, left: &mut Vec<Session>) {
    let mut session = state.open.take().expect("a session is open");
    session.end_reason = reason.into();
    session.ended_at_ms = at_ms;
    note_end(&mut state.stitched, &session);
    if let Some(before) = state.prev.replace(session) {
        left.push(*before);
    }
    state.shown_ms = None;
}
